// The end of a convolution's weight gradient: the sums of its shares are added up.
#pragma once

#include "backends/cuda/reduce.cuh"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

inline constexpr int kJoinThreads = 128;
// Blocks for it: 32 sums each at a time.
inline int64_t joining_blocks(const WeightSums& it) {
  return std::min<int64_t>((it.weights + it.biases + kWarp - 1) / kWarp, 132);
}

// By the block-th of so many blocks of kJoinThreads, the warps of which take every fourth share.
// room: shared memory for one number for each thread.
__device__ inline void join_sums(const WeightSums& it, int64_t block, int64_t blocks,
                                 double* room) {
  constexpr int kWarps = kJoinThreads / kWarp;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const int64_t count = it.weights + it.biases;
  for (int64_t first = block * kWarp; first < count; first += blocks * kWarp) {
    const int64_t i = first + lane;
    double sum = 0;
    if (i < count)
      for (int share = warp; share < it.shares; share += kWarps)
        sum += static_cast<double>(it.sums[share * count + i]);
    room[thread] = sum;
    __syncthreads();
    if (warp == 0 && i < count) {
      for (int other = 1; other < kWarps; ++other) sum += room[other * kWarp + lane];
      if (i < it.weights)
        Gradient{it.dw, it.adds_dw}.give(i, sum);
      else
        Gradient{it.dbias, it.adds_dbias}.give(i - it.weights, sum);
    }
    __syncthreads();
  }
}

}  // namespace pcc::cuda
