// Loops over values whose channels lie side by side, sixteen bytes of a line of them at a time, and
// sums over the lines in an order that is fixed by the shapes alone.
#pragma once

#include "backends/cuda/last_block.cuh"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

// Where the i-th of a value's elements, or packs of them, lies: behind each line of `each`, the
// channels of a pixel, `skip` are other values'.
struct Gaps {
  int each = 1, skip = 0;

  Gaps() = default;
  Gaps(const Tensor& tensor, int of_pack) {
    if (!tensor.pitch) return;
    each = static_cast<int>(tensor.shape()[1]) / of_pack;
    skip = static_cast<int>(tensor.pitch) / of_pack - each;
  }
  __device__ int64_t operator()(int64_t i) const {
    return skip ? (*this)(i, divide(i, each).whole) : i;
  }
  // In that line. A wider value's elements are fewer than 2^31.
  __device__ int64_t operator()(int64_t i, int64_t line) const {
    return i + static_cast<int>(line) * skip;
  }
};

// A value a pack P at a time: by its number, or by that and the line's. Null: there is none.
template <typename P>
struct Packs {
  NumberOf<P>* data = nullptr;
  Gaps gaps;

  Packs() = default;
  explicit Packs(const Tensor& tensor)
      : data(static_cast<NumberOf<P>*>(tensor.data)), gaps(tensor, P::kCount) {}
  __device__ explicit operator bool() const { return data != nullptr; }
  template <typename... At>
  __device__ P operator()(At... at) const {
    return P(data + gaps(at...) * P::kCount);
  }
  template <typename... At>
  __device__ void put(const P& pack, At... at) const {
    pack.store(data + gaps(at...) * P::kCount);
  }
};

// reduce.cuh's Parts, a pack P at a time.
template <typename P>
struct PackParts {
  int count = 0;
  Packs<P> part[Parts::kMost];

  explicit PackParts(const std::vector<Tensor>& parts) {
    for (const Tensor& each : parts) part[count++] = Packs<P>(each);
  }
  template <typename... At>
  __device__ P operator()(At... at) const {
    P sum = part[0](at...);
    PCC_UNROLL
    for (int k = 1; k < Parts::kMost; ++k) {
      if (k >= count) continue;
      const P more = part[k](at...);
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) sum.x[n] += more.x[n];
    }
    return sum;
  }
};

// A value seen as (groups, lines, packs of channels). A block takes `width` packs of `rows` lines
// at a time.
struct Lines {
  int64_t groups, lines, dim;
  int packs, width, rows;

  // count: channels in a pack, by which dim divides.
  Lines(int64_t groups, int64_t lines, int64_t dim, int count)
      : groups(groups),
        lines(lines),
        dim(dim),
        packs(static_cast<int>(dim) / count),
        width(std::min(packs, kBlock)),
        rows(kBlock / width) {}
  int64_t sums() const { return groups * dim; }
  int64_t chunks() const { return (packs + width - 1) / width; }
  // Blocks of a group, each with `each` lines for a thread or more, where there are not too many.
  int64_t blocks(int64_t each, int64_t most) const {
    return std::clamp<int64_t>((lines + rows * each - 1) / (rows * each), 1,
                               std::max<int64_t>(most / (groups * chunks()), 1));
  }
  int64_t shares() const { return blocks(4, 528); }
  int64_t scratch_bytes() const { return sums() * shares() * static_cast<int64_t>(sizeof(Sums)); }
};

// body.start(group, pack): what a thread knows of its channels; body(start, i, line) for the i-th
// pack of the value, in its line.
template <typename Body>
__global__ void __launch_bounds__(kBlock) each_line(Lines x, Body body) {
  const int row = static_cast<int>(threadIdx.x) / x.width;
  const int pack = static_cast<int>(blockIdx.z) * x.width + static_cast<int>(threadIdx.x) % x.width;
  if (row >= x.rows || pack >= x.packs) return;
  const auto start = body.start(blockIdx.y, pack);
  const int64_t step = int64_t{gridDim.x} * x.rows, first = blockIdx.y * x.lines;
  for (int64_t line = int64_t{blockIdx.x} * x.rows + row; line < x.lines; line += step)
    body(start, (first + line) * x.packs + pack, first + line);
}
template <typename Body>
void for_each_line(const Lines& x, const Body& body) {
  launch(each_line<Body>, {x.blocks(4, 1056), x.groups, x.chunks()}, kBlock, 0, x, body);
}

// share_sums[d * shares + share]: what visit(start, i, line, a, b) added to a and b, two numbers
// for each channel of a pack, over a share of the lines. The last block of a group then calls
// finish(d) for its channels, by all lanes of a warp together, and, where Finish has that, the last
// of all groups finish.across(c).
template <int kCount, typename Visit, typename Finish>
__global__ void __launch_bounds__(kBlock)
    sum_share_of_lines(Lines x, Visit visit, Finish finish, Sums* share_sums, uint32_t* counters) {
  PCC_DYNAMIC_SHARED(float, room);
  constexpr int kLine = 2 * kCount + 1;
  const int thread = static_cast<int>(threadIdx.x), row = thread / x.width;
  const int first_pack = static_cast<int>(blockIdx.z) * x.width;
  const int pack = first_pack + thread % x.width;
  float a[kCount] = {}, b[kCount] = {};
  if (row < x.rows && pack < x.packs) {
    const auto start = visit.start(blockIdx.y, pack);
    const int64_t step = int64_t{gridDim.x} * x.rows, first = blockIdx.y * x.lines;
    for (int64_t line = int64_t{blockIdx.x} * x.rows + row; line < x.lines; line += step)
      visit(start, (first + line) * x.packs + pack, first + line, a, b);
  }
  PCC_UNROLL
  for (int i = 0; i < kCount; ++i) {
    room[thread * kLine + i] = a[i];
    room[thread * kLine + kCount + i] = b[i];
  }
  __syncthreads();

  // In two steps, so that all threads take part.
  const int channels = min(x.width, x.packs - first_pack) * kCount;
  const int parts = max(kBlock / channels, 1);
  auto* const part_sums = reinterpret_cast<Sums*>(room + kBlock * kLine);
  for (int k = thread; k < parts * channels; k += kBlock) {
    const int channel = k % channels, of = channel / kCount, at = channel % kCount;
    Sums sum;
    for (int r = k / channels; r < x.rows; r += parts) {
      const float* const its = room + (r * x.width + of) * kLine + at;
      sum = sum + Sums{static_cast<double>(its[0]), static_cast<double>(its[kCount])};
    }
    part_sums[k] = sum;
  }
  __syncthreads();
  for (int channel = thread; channel < channels; channel += kBlock) {
    Sums sum;
    for (int part = 0; part < parts; ++part) sum = sum + part_sums[part * channels + channel];
    const int64_t d = blockIdx.y * x.dim + first_pack * kCount + channel;
    share_sums[d * gridDim.x + blockIdx.x] = sum;
  }

  if (!is_last_of(gridDim.x, counters + blockIdx.z * gridDim.y + blockIdx.y)) return;
  const int64_t first = first_pack * kCount;
  for (int channel = thread / kWarp; channel < channels; channel += kBlock / kWarp)
    finish(blockIdx.y * x.dim + first + channel);
  if constexpr (requires { finish.across(first); }) {
    if (!is_last_of(gridDim.y, counters + gridDim.z * gridDim.y + blockIdx.z)) return;
    for (int channel = thread; channel < channels; channel += kBlock)
      finish.across(first + channel);
  }
}

// scratch: x.scratch_bytes(). finish_with(sums): what to do with them, as the kernel says.
template <int kCount, typename Visit, typename Make>
void sum_lines(const Lines& x, const Visit& visit, void* scratch, const Make& finish_with) {
  auto* const share_sums = static_cast<Sums*>(scratch);
  const auto finish = finish_with(ChannelSums{share_sums, x.shares()});
  PCC_CHECK((x.groups + 1) * x.chunks() <= kCounters, x.groups, " groups of ", x.dim,
            " channels are too many to count");
  const int64_t room = int64_t{kBlock} * (2 * kCount + 1) * static_cast<int64_t>(sizeof(float)) +
                       std::max(kBlock, x.width * kCount) * static_cast<int64_t>(sizeof(Sums));
  launch(sum_share_of_lines<kCount, Visit, decltype(finish)>, {x.shares(), x.groups, x.chunks()},
         kBlock, room, x, visit, finish, share_sums, counters());
}

// A warp's sum over the shares of channel d, on each of its lanes.
__device__ inline Sums warp_sum(const ChannelSums& sums, int64_t d) {
  Sums sum;
  for (int64_t share = threadIdx.x % kWarp; share < sums.shares; share += kWarp)
    sum = sum + sums.share_sums[d * sums.shares + share];
  return warp_fold(sum, Add{});
}

// body(i) for each i below count, by all lanes of a warp together.
template <typename Body>
__global__ void __launch_bounds__(kBlock) each_warp(int64_t count, Body body) {
  const int64_t i = divide(first_element(), kWarp).whole;
  if (i < count) body(i);
}
template <typename Body>
void for_each_warp(int64_t count, const Body& body) {
  launch(each_warp<Body>, (count * kWarp + kBlock - 1) / kBlock, kBlock, 0, count, body);
}

}  // namespace pcc::cuda
