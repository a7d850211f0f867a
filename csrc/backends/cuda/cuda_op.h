// What the CUDA ops share.
#pragma once

#include <algorithm>
#include <string>

#include "backends/cuda/runtime.h"
#include "ops/typed_op.h"

namespace pcc::cuda {

// Threads of a block, where nothing speaks for another number.
inline constexpr int kBlock = 256;

// Blocks of kBlock threads for `count` elements: four for each thread, or, where there are very
// many, more, for first_element and element_stride (kernel.h) to go over.
inline int64_t grid_for(int64_t count) {
  constexpr int64_t kMaxBlocks = 4096;
  return std::clamp<int64_t>((count + 4 * kBlock - 1) / (4 * kBlock), 1, kMaxBlocks);
}

// An op whose tensors lie on the device, over T: float32 in plain layout, but for ops that say
// more. forward and differentiate launch kernels and look at nothing that changes from pass to
// pass: their launches are recorded and replayed.
template <typename T>
class CudaOpOf : public TypedOp<T> {
 public:
  using TypedOp<T>::TypedOp;
  std::string implementation() const override { return "cuda"; }

 protected:
  void clear(const Tensor& tensor) override {
    if (!rehearsed()) current_stream().fill(tensor.data, 0, tensor.spec.bytes());
  }
  // Bytes of dy that are read beyond the first time where each gradient that is wanted reads it.
  int64_t dy_again() const {
    const std::vector<bool>& params = this->site_.want_dparam;
    const int64_t gradients =
        std::count(params.begin(), params.end(), true) + (this->site_.want_din[0] ? 1 : 0);
    return (gradients - 1) * this->site_.out[0].bytes();
  }
  // Whether backward adds that input's gradient to what is there.
  bool adds(size_t in) const { return in < this->buffers_.adds.size() && this->buffers_.adds[in]; }
  // Elements of a tensor.
  int64_t in_count(int i = 0) const { return this->in_shape(i).count(); }
  int64_t out_count(int i = 0) const { return this->out_shape(i).count(); }
};
using CudaOp = CudaOpOf<float>;

}  // namespace pcc::cuda
