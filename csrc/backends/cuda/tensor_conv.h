// Convolutions of images on the tensor cores.
#pragma once

#include <cstdint>

#include "backends/cuda/conv_way.h"

namespace pcc::cuda {

struct Gradient;

// 3x3 and 1x1 kernels over images (N, C, H, W), one group, no dilation, one stride for both axes.
// Weights are float32 (O, C, taps); what backward and forward want of them is prepared once for all
// passes until they change.
class TensorConv {
 public:
  // The same convolution forwards, or, from the output's gradient to the input's.
  struct Direction {
    int samples = 0, channels = 0, rows = 0, columns = 0;  // read
    int maps = 0, out_rows = 0, out_columns = 0;           // written
    int stride = 1, pad = 0;
  };

  static bool covers(const ConvDesc& desc, const OpSite& site, Precision precision, ConvStep step);
  TensorConv(const ConvDesc& desc, const OpSite& site, Precision precision);

  int64_t prepared_bytes(ConvStep step) const;
  int64_t weight_scratch_bytes() const;

  // Of a step of its own; weights has nothing to prepare.
  void prepare(ConvStep step, const float* w, void* prepared) const;
  // bias: null where there is none.
  void forward(const float* x, const void* prepared, const float* bias, float* y) const;
  void data_gradient(const float* dy, const void* prepared, float* dx) const;
  // In tf32, as bf16 would be another rounding of what is summed over all positions.
  void weight_gradient(const float* x, const float* dy, const Gradient& dw, void* scratch) const;

 private:
  Precision precision_;
  int side_;  // of the kernel: 1 or 3
  Direction forward_, data_;
};

}  // namespace pcc::cuda
