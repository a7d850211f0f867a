// Loops over elements, and sums and other folds in an order that is fixed by the shapes alone: the
// same bits from every run, in whatever order the threads come.
#pragma once

#include <algorithm>

#include "backends/cuda/cuda_op.h"
#include "backends/cuda/kernel.h"

namespace pcc::cuda {

template <typename Body>
__global__ void __launch_bounds__(kBlock) each_element(int64_t count, Body body) {
  for (int64_t i = first_element(); i < count; i += element_stride()) body(i);
}

// body(i) for each i below count, in any order. Body: a struct of numbers and device pointers.
template <typename Body>
void for_each(int64_t count, const Body& body) {
  if (count > 0) launch(each_element<Body>, grid_for(count), kBlock, 0, count, body);
}

// A body: copies an array, or adds it to what is there.
struct Copy {
  const float* from;
  float* to;
  bool adds = false;
  __device__ void operator()(int64_t i) const { to[i] = adds ? to[i] + from[i] : from[i]; }
};

// i / by and what is left, of numbers below 2^32, as element numbers are: 64-bit division is a long
// function on a device.
struct Quotient {
  uint32_t whole, rest;
};
__device__ __forceinline__ Quotient divide(int64_t i, int64_t by) {
  const auto n = static_cast<uint32_t>(i), d = static_cast<uint32_t>(by);
  return {n / d, n % d};
}

// ReLU with a slope below 0, so that NaN stays NaN and no -0 appears.
__device__ __forceinline__ float leaky(float x, float slope) {
  const float above = x < 0 ? 0.0f : x, below = x < 0 ? x : 0.0f;
  return above + slope * below;
}

// Two sums over the same numbers.
struct Sums {
  double a = 0, b = 0;
  __device__ Sums operator+(const Sums& other) const { return {a + other.a, b + other.b}; }
};

template <typename T>
__device__ T shuffle_xor(T value, int lanes) {
  return __shfl_xor_sync(kFullMask, value, lanes);
}
inline __device__ Sums shuffle_xor(const Sums& value, int lanes) {
  return {shuffle_xor(value.a, lanes), shuffle_xor(value.b, lanes)};
}

// Folds: associative and commutative.
struct Add {
  template <typename T>
  __device__ T operator()(const T& x, const T& y) const {
    return x + y;
  }
};
struct Greatest {
  template <typename T>
  __device__ T operator()(const T& x, const T& y) const {
    return x < y ? y : x;
  }
};

// The fold of the values of `lanes` neighbouring threads (a power of 2, at most a warp), on each of
// them. All threads of the warp call it.
template <typename T, typename Fold>
__device__ T warp_fold(T value, Fold fold, int lanes = kWarp) {
  for (int apart = lanes / 2; apart > 0; apart /= 2) value = fold(value, shuffle_xor(value, apart));
  return value;
}

// The fold of the values of a block's threads, on all of them; all of them call it. room: shared
// memory for one T for each thread; the block has whole warps.
template <typename T, typename Fold>
__device__ T block_fold(T value, Fold fold, T* room) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  __syncthreads();  // an earlier fold may still be read there
  room[thread] = value;
  __syncthreads();
  if (thread < kWarp) {
    for (int other = thread + kWarp; other < threads; other += kWarp)
      value = fold(value, room[other]);
    value = warp_fold(value, fold);
    if (thread == 0) room[0] = value;
  }
  __syncthreads();
  return room[0];
}
template <typename T>
__device__ T block_sum(T value, T* room) {
  return block_fold(value, Add{}, room);
}

// A value that is the sum of several, as the gradient of an output is of what its readers send;
// they are added up in order.
struct Parts {
  static constexpr int kMost = 4;

  int count = 0;
  const float* part[kMost] = {};

  explicit Parts(const std::vector<Tensor>& parts) {
    for (const Tensor& each : parts) part[count++] = each.as<float>();
  }
  __device__ float operator()(int64_t i) const {
    float sum = part[0][i];
    for (int k = 1; k < kMost; ++k)  // of a fixed length, that is unrolled
      if (k < count) sum += part[k][i];
    return sum;
  }
  // Of an op that takes them.
  static void taken(OpNeeds& needs) {
    needs.sums_parts = true;
    needs.max_parts = kMost;
  }
};

// Where a gradient goes that is one number for each channel: over what is there, or added to it.
// Null: it is not wanted.
struct Gradient {
  float* to;
  bool adds;
  __device__ void give(int64_t d, double sum) const {
    if (to) to[d] = static_cast<float>((adds ? static_cast<double>(to[d]) : 0.0) + sum);
  }
};

// A value seen as (groups, outer, dim, inner), summed over outer and inner: what there is one
// number of for each channel. d counts the groups' channels through.
struct Channels {
  int64_t outer = 1, dim = 1, inner = 1, groups = 1;

  int64_t sums() const { return groups * dim; }
  int64_t each() const { return outer * inner; }
  // Where the k-th element of channel d lies.
  __device__ int64_t at(int64_t d, int64_t k) const {
    const Quotient row = divide(k, inner), channel = divide(d, dim);
    return ((channel.whole * outer + row.whole) * dim + channel.rest) * inner + row.rest;
  }
  // A channel's elements are cut in so many shares, each summed by one block of so many threads.
  int64_t shares() const { return std::clamp<int64_t>((each() + 8191) / 8192, 1, 64); }
  int64_t threads() const {
    const int64_t share = (each() + shares() - 1) / shares();
    return std::min<int64_t>((share + kWarp - 1) / kWarp * kWarp, kBlock);
  }
  // Bytes for the sums of all shares.
  int64_t scratch_bytes() const { return sums() * shares() * static_cast<int64_t>(sizeof(Sums)); }
};

// share_sums[d * shares + s]: the sum of visit(d, index) over share s of channel d.
template <typename Visit>
__global__ void __launch_bounds__(kBlock)
    sum_shares(Channels x, int64_t shares, int64_t each, Visit visit, Sums* share_sums) {
  PCC_DYNAMIC_SHARED(Sums, room);
  const auto [d, share] = divide(blockIdx.x, shares);
  const int64_t end = each * (share + 1) / shares;
  Sums sums;
  for (int64_t k = each * share / shares + threadIdx.x; k < end; k += blockDim.x)
    sums = sums + visit(d, x.at(d, k));
  sums = block_sum(sums, room);
  if (threadIdx.x == 0) share_sums[blockIdx.x] = sums;
}

// The sums of each channel, still in shares.
struct ChannelSums {
  const Sums* share_sums;
  int64_t shares;
  __device__ Sums operator()(int64_t d) const {
    Sums sums;
    for (int64_t share = 0; share < shares; ++share) sums = sums + share_sums[d * shares + share];
    return sums;
  }
};

// The same where a channel has few elements: one thread for each.
template <typename Visit>
struct SumFew {
  Channels x;
  int64_t each;
  Visit visit;
  Sums* sums;
  __device__ void operator()(int64_t d) const {
    Sums sum;
    for (int64_t k = 0; k < each; ++k) sum = sum + visit(d, x.at(d, k));
    sums[d] = sum;
  }
};

// The sums of visit(d, index) over the elements of each channel d; visit is called once for each
// element, and may write what it likes there. scratch: x.scratch_bytes().
template <typename Visit>
ChannelSums sum_channels(const Channels& x, const Visit& visit, void* scratch) {
  Sums* const share_sums = static_cast<Sums*>(scratch);
  if (x.each() <= kWarp)
    for_each(x.sums(), SumFew<Visit>{x, x.each(), visit, share_sums});
  else
    launch(sum_shares<Visit>, x.sums() * x.shares(), x.threads(),
           x.threads() * static_cast<int64_t>(sizeof(Sums)), x, x.shares(), x.each(), visit,
           share_sums);
  return {share_sums, x.shares()};
}

// A number for each channel: its gradient is the first of the channel's sums.
struct GiveSum {
  ChannelSums sums;
  Gradient to;
  __device__ void operator()(int64_t d) const { to.give(d, sums(d).a); }
};

struct Plain {
  const float* x;
  __device__ Sums operator()(int64_t, int64_t i) const { return {static_cast<double>(x[i]), 0}; }
};

// What was added to every number of a channel of y: its gradient. scratch: y.scratch_bytes().
inline void bias_gradient(const Channels& y, const float* dy, const Gradient& bias, void* scratch) {
  for_each(y.dim, GiveSum{sum_channels(y, Plain{dy}, scratch), bias});
}

// body(d, c, first, end, step) for the rows of a value, each `inner` elements of one channel: the
// elements that a thread takes of them; c: d's number within its group.
template <typename Body>
__global__ void __launch_bounds__(kBlock) each_row(Channels x, int64_t rows, int lanes, Body body) {
  const int64_t stride = divide(element_stride(), lanes).whole;
  for (int64_t row = divide(first_element(), lanes).whole; row < rows; row += stride) {
    const Quotient at = divide(row, x.dim);
    const int64_t d = divide(at.whole, x.outer).whole * x.dim + at.rest;
    body(d, at.rest, row * x.inner + threadIdx.x % lanes, (row + 1) * x.inner, lanes);
  }
}
template <typename Body>
void for_each_row(const Channels& x, const Body& body) {
  const int64_t rows = x.groups * x.outer * x.dim;
  int lanes = 1;  // that share a row, with four elements each or more
  while (lanes < kBlock && lanes * 8 <= x.inner) lanes *= 2;
  launch(each_row<Body>, grid_for(rows * x.inner), kBlock, 0, x, rows, lanes, body);
}

}  // namespace pcc::cuda
