// What a file of kernels (.cu) includes: CUDA itself under nvcc, and under a host compiler the same
// words with the meanings that they have there, for tests without a GPU.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
// name: a T* to the bytes of dynamic shared memory that the launch asked for.
#define PCC_DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char pcc_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(pcc_dynamic_shared)
// Before a loop over an array that must stay in registers, and so be indexed by constants alone.
#define PCC_UNROLL _Pragma("unroll")
// The same, n turns at a time: where all of them side by side need more registers than there are.
#define PCC_PRAGMA(words) _Pragma(#words)
#define PCC_UNROLL_BY(n) PCC_PRAGMA(unroll n)
#else
#define PCC_UNROLL
#define PCC_UNROLL_BY(n)
#include "backends/cuda/host/dialect.h"
#endif

#include <cstdint>

#include "core/random.h"

namespace pcc::cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullMask = 0xffffffffu;

// The elements of one thread, where a grid of any size goes over `count` of them:
//   for (int64_t i = first_element(); i < count; i += element_stride())
__device__ __forceinline__ int64_t first_element() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ int64_t element_stride() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

}  // namespace pcc::cuda
