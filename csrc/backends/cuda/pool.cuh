// Windows of pooling, wherever channels lie.
#pragma once

#include "backends/cuda/divisor.cuh"
#include "ops/op.h"
#include "ops/window.h"

namespace pcc::cuda {

// One axis of the planes: 0 their rows, 1 their columns.
struct Axis {
  int64_t size = 1, windows = 1, kernel = 1, stride = 1, pad = 0;

  Axis() = default;
  Axis(const PoolDesc& desc, const OpSite& site, int i)
      : size(site.in[0].shape[2 + i]),
        windows(site.out[0].shape[2 + i]),
        kernel(desc.kernel[i]),
        stride(desc.stride[i]),
        pad(desc.pad[i]) {}
  __device__ Window window(int64_t index) const { return {index, kernel, stride, pad, size}; }
  // The windows that hold pixel `at`.
  __device__ int64_t first(int64_t at) const {
    const int64_t before = at + pad - kernel;
    return before < 0 ? 0 : divide(before, stride).whole + 1;
  }
  __device__ int64_t end(int64_t at) const {
    const int64_t last = divide(at + pad, stride).whole;
    return last < windows ? last + 1 : windows;
  }
};

}  // namespace pcc::cuda
