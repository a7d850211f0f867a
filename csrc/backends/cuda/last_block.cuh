// The end of a kernel that one of its blocks makes from what all have found, in an order that does
// not know which of them it was. Source: CUDA C++ programming guide, memory fence functions.
#pragma once

#include "backends/cuda/kernel.h"

namespace pcc::cuda {

// Whether `blocks` - 1 others have come before, which all threads of a block learn together: what
// those wrote before they came can then be read. The counter is 0 again behind the last.
__device__ __forceinline__ bool is_last_of(unsigned blocks, uint32_t* counter) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(counter, blocks - 1) == blocks - 1;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

}  // namespace pcc::cuda
