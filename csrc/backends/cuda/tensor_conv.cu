// Forward and data gradient on the tensor cores: positions of a box (rows of A) from all channels
// and taps (depth) for the maps (columns of B).
#include "backends/cuda/fragments.cuh"
#include "backends/cuda/tensor_moments.cuh"
#include "backends/cuda/tensor_store.cuh"
#include "backends/cuda/weight_sums.cuh"

namespace pcc::cuda {

namespace {

constexpr int kThreads = 128;     // of a block; a warp takes 32 positions and all of its maps
constexpr int64_t kBlocks = 528;  // that run at once on a large GPU

// What a kernel does besides: its first blocks join the weights' sums; the others find the moments
// of what they write.
struct Beside {
  WeightSums sums;
  int joining = 0;  // blocks
  MomentsTo moments;
};

// A block goes over the boxes `share`, + shares ... of the group blockIdx.y, for the maps
// blockIdx.z, channels in chunks of 2^chunk_bits steps. While one patch is multiplied the next one
// is on its way.
template <typename Number, int kSide, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 8 ? 3 : 4)
    convolve(Boxes boxes, Image x, Prologue prologue, const uint4* weights, int steps,
             int chunk_bits, int buffer, const float* bias, Image y, Beside beside) {
  PCC_DYNAMIC_SHARED(uint32_t, room);
  const int joining = beside.joining;
  if (static_cast<int>(blockIdx.x) < joining)
    return join_sums(beside.sums, static_cast<int>(blockIdx.z) * joining + blockIdx.x,
                     joining * static_cast<int>(gridDim.z), reinterpret_cast<double*>(room));
  const int share = static_cast<int>(blockIdx.x) - joining;
  const int shares = static_cast<int>(gridDim.x) - joining;
  using T = typename Number::Stored;
  constexpr int kTaps = kSide * kSide, kHigh = 2;
  constexpr int kGroups = kTiles * 2 / Number::kPerWord;  // of 16 bytes, of a position's maps
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int first_map = static_cast<int>(blockIdx.z) * kTiles * 8;
  const uint4* const fragments =
      weights + static_cast<int64_t>(blockIdx.z) * steps * kTaps * (kTiles / 2) * kWarp + lane;
  const int line = line_of(kWordsOfStep << chunk_bits);
  const int chunks = (steps + (1 << chunk_bits) - 1) >> chunk_bits;
  const int boxes_here = (boxes.of_group() - share + shares - 1) / shares;

  Copies copies;
  const auto box_of = [&](int number) {
    return Box(boxes, blockIdx.y, static_cast<uint32_t>(share + number * shares));
  };
  const auto channel_of = [&](int chunk) {
    return (chunk << chunk_bits) * kWordsOfStep * Number::kPerWord;
  };
  const auto fetch = [&](int number, int chunk, uint32_t* to) {
    if (number < boxes_here)
      box_of(number).template load<Number>(boxes, x, channel_of(chunk), chunk_bits + 1, line, to,
                                           copies);
    copies.end_group();
  };

  int sees[kHigh];  // where this lane's row of A begins
  PCC_UNROLL
  for (int i = 0; i < kHigh; ++i)
    sees[i] = Box::in_patch(boxes, (warp * kHigh + i) * 16 + lane % 16) * line + lane / 16 * 4;
  float sum[kHigh][kTiles][4] = {};
  MomentsOfMaps<Number, kGroups * 4, kThreads> seen;

  fetch(0, 0, room);
  int chunk = 0, number = 0;
  int now = buffer;  // where the patch is, in the room; the other one is the rest of it
  while (number < boxes_here) {
    now = buffer - now;
    uint32_t* const patch = room + now;
    const bool last = chunk + 1 == chunks;
    fetch(last ? number + 1 : number, last ? 0 : chunk + 1, room + (buffer - now));
    copies.template wait<1>();
    if (prologue.scales)
      box_of(number).template normalise<Number>(boxes, x, prologue, blockIdx.y, channel_of(chunk),
                                                chunk_bits + 1, line, patch);
    __syncthreads();
    const int first = chunk << chunk_bits, end = min(first + (1 << chunk_bits), steps);
    for (int step = first; step < end; ++step) {
      const uint4* const of_step = fragments + step * kTaps * (kTiles / 2) * kWarp;
      PCC_UNROLL_BY(3)
      for (int tap = 0; tap < kTaps; ++tap) {
        const int shift = tap_shift<kSide>(boxes, tap) * line + (step - first) * kWordsOfStep;
        uint32_t a[kHigh][4];
        PCC_UNROLL
        for (int i = 0; i < kHigh; ++i) {
          load_matrices(a[i], patch + sees[i] + shift);
          Number::round(a[i]);
        }
        PCC_UNROLL
        for (int pair = 0; pair < kTiles / 2; ++pair) {
          const uint4 words = of_step[(tap * (kTiles / 2) + pair) * kWarp];
          const uint32_t b[2][2] = {{words.x, words.y}, {words.z, words.w}};
          PCC_UNROLL
          for (int j = 0; j < 2; ++j) PCC_UNROLL
          for (int i = 0; i < kHigh; ++i) Number::multiply(a[i], b[j], sum[i][pair * 2 + j]);
        }
      }
    }
    __syncthreads();
    if (++chunk < chunks) continue;

    // The box is done. Through shared memory, where the patch was, to lines of maps.
    PCC_UNROLL
    for (int i = 0; i < kHigh; ++i) PCC_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      const int map = first_map + j * 8 + 2 * t;
      const float add[2] = {bias && map < y.channels ? bias[map] : 0.0f,
                            bias && map + 1 < y.channels ? bias[map + 1] : 0.0f};
      PCC_UNROLL
      for (int half = 0; half < 2; ++half) {
        float* const two = sum[i][j] + 2 * half;
        const float values[2] = {two[0] + add[0], two[1] + add[1]};
        uint32_t* const to =
            patch + ((warp * kHigh + i) * 16 + half * 8 + g) * line_of(kGroups * 4);
        if constexpr (Number::kPerWord == 2) {
          to[j * 4 + t] = Number::pack(values);
        } else {
          to[j * 8 + 2 * t] = __float_as_uint(values[0]);
          to[j * 8 + 2 * t + 1] = __float_as_uint(values[1]);
        }
        two[0] = two[1] = 0;
      }
    }
    __syncthreads();
    const Box box = box_of(number);
    if (y.vectors)
      store_vectors<T, kGroups, kThreads>(boxes, box, patch, first_map, y);
    else
      store_numbers<T, kGroups, kThreads>(boxes, box, patch, first_map, y);
    if (beside.moments.to) seen.add(boxes, box, patch, number == 0);
    __syncthreads();
    chunk = 0;
    ++number;
  }
  if (beside.moments.to)
    seen.give(reinterpret_cast<float4*>(room), first_map, y.channels, share, shares,
              beside.moments);
}

// In which the boxes of a group are dealt out.
int64_t shares_of(const Boxes& boxes) {
  const int64_t others = int64_t{boxes.d.groups} * blocks_of_maps(boxes.d.maps);
  return std::clamp<int64_t>(kBlocks / others, 1, boxes.of_group());
}

template <typename Number>
void convolve_for(const Boxes& boxes, int side, const Tensor& x, const Prologue& prologue,
                  const void* weights, const float* bias, const Tensor& y, Beside beside) {
  const Direction& d = boxes.d;
  const int tiles = tiles_for(d.maps), steps = steps_of(d.channels, Number::kPerWord);
  const DType type = Number::kPerWord == 2 ? DType::bf16 : DType::f32;
  // What is stored last lies where the patch was.
  const int tile = kPositions * line_of(tiles * 8 / Number::kPerWord);
  constexpr int kRoom = 96 << 8;  // words of shared memory
  const auto buffer_for = [&](int bits) {
    return std::max(tile, boxes.patch_elements() * line_of(kWordsOfStep << bits));
  };
  int chunk_bits = 0;
  while (chunk_bits < 2 && 1 << chunk_bits < steps && 2 * buffer_for(chunk_bits + 1) <= kRoom)
    ++chunk_bits;
  const int buffer = buffer_for(chunk_bits);
  const auto kernel = with_side(side, [&](auto constant) {
    constexpr int kSide = decltype(constant)::value;
    return tiles == 8   ? convolve<Number, kSide, 8>
           : tiles == 4 ? convolve<Number, kSide, 4>
                        : convolve<Number, kSide, 2>;
  });
  const int64_t of_maps = blocks_of_maps(d.maps);
  if (beside.sums.sums)
    beside.joining = static_cast<int>((joining_blocks(beside.sums) + of_maps - 1) / of_maps);
  launch(kernel, {beside.joining + shares_of(boxes), d.groups, of_maps}, kThreads,
         int64_t{8} * buffer, boxes, Image(x, type), prologue, static_cast<const uint4*>(weights),
         steps, chunk_bits, buffer, bias, Image(y, type), beside);
}

template <typename Body>
auto with_number(bool bf16, const Body& body) {
  return bf16 ? body(Bf16()) : body(Tf32());
}

}  // namespace

bool TensorConv::covers(const ConvDesc& desc, const OpSite& site, Precision precision) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto both = [](const std::vector<int64_t>& list, int64_t value) {
    return list.size() == 2 && list[0] == value && list[1] == value;
  };
  return precision != Precision::fp32 && !desc.transposed && desc.group == 1 &&
         (both(desc.kernel, 3) || both(desc.kernel, 2) || both(desc.kernel, 1)) &&
         both(desc.dilation, 1) && (both(desc.stride, 1) || both(desc.stride, 2)) &&
         both(desc.pad, desc.pad[0]) && site.in[0].shape.count() < kMost &&
         site.out[0].shape.count() < kMost;
}

TensorConv::TensorConv(const ConvDesc& desc, const OpSite& site, Precision precision)
    : bf16_(precision == Precision::bf16),
      side_(static_cast<int>(desc.kernel[0])),
      prologue_groups_(static_cast<int>(desc.prologue)) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  const auto size = [](const Shape& shape, int axis) { return static_cast<int>(shape[axis]); };
  const int stride = static_cast<int>(desc.stride[0]), pad = static_cast<int>(desc.pad[0]);
  forward_ = {.samples = size(x, 0),
              .channels = size(x, 1),
              .rows = size(x, 2),
              .columns = size(x, 3),
              .maps = size(y, 1),
              .out_rows = size(y, 2),
              .out_columns = size(y, 3),
              .stride = stride,
              .pad = pad,
              .groups = static_cast<int>(std::max<int64_t>({desc.moments, desc.prologue, 1}))};
  data_ = {.samples = size(y, 0),
           .channels = size(y, 1),
           .rows = size(y, 2),
           .columns = size(y, 3),
           .maps = size(x, 1),
           .out_rows = size(x, 2),
           .out_columns = size(x, 3),
           .pad = side_ - 1 - pad,
           .spread_bits = stride - 1};
}

Preparation TensorConv::preparation(bool forward, bool data) const {
  return {.maps = forward_.maps,
          .channels = forward_.channels,
          .side = static_cast<int8_t>(side_),
          .bf16 = bf16_,
          .forward = forward,
          .data = data};
}

int64_t TensorConv::prepared_bytes(bool forward, bool data) const {
  return 4 * prepared_words(preparation(forward, data));
}

void TensorConv::prepare(const float* w, bool forward, bool data, void* prepared) const {
  Preparation it = preparation(forward, data);
  it.w = w;
  it.to = static_cast<uint32_t*>(prepared);
  cuda::prepare(it);
}

int64_t TensorConv::moments_scratch_bytes() const {
  return int64_t{forward_.groups} * forward_.maps * shares_of(Boxes(forward_, side_)) *
         static_cast<int64_t>(sizeof(float4));
}

void TensorConv::forward(const Tensor& x, const ChannelScale* scales, const void* prepared,
                         const float* bias, const Tensor& y, ChannelMoments* moments,
                         void* scratch) const {
  Beside beside;
  if (moments) beside.moments = {moments, static_cast<float4*>(scratch), counters()};
  with_number(bf16_, [&](auto number) {
    convolve_for<decltype(number)>(Boxes(forward_, side_), side_, x, {scales, prologue_groups_},
                                   prepared, bias, y, beside);
  });
}

void TensorConv::data_gradient(const Tensor& dy, const void* prepared, const Tensor& dx,
                               const WeightSums& beside) const {
  with_number(bf16_, [&](auto number) {
    convolve_for<decltype(number)>(Boxes(data_, side_), side_, dy, {}, prepared, nullptr, dx,
                                   Beside{beside});
  });
}

}  // namespace pcc::cuda
