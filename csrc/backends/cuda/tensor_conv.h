// Convolutions of images on the tensor cores.
#pragma once

#include <cstdint>

#include "backends/cuda/conv_way.h"

namespace pcc::cuda {

struct Gradient;

// 3x3 and 1x1 kernels over images (N, C, H, W), one group, no dilation, one stride for both axes.
// Images lie with their channels last, in the type of the products, to be fast; any other works.
// Weights are float32 (O, C, taps); what backward and forward want of them is prepared once for all
// passes until they change.
class TensorConv {
 public:
  // The same convolution forwards, or, from the output's gradient to the input's.
  struct Direction {
    int samples = 0, channels = 0, rows = 0, columns = 0;  // read
    int maps = 0, out_rows = 0, out_columns = 0;           // written
    int stride = 1, pad = 0;
    int spread_bits = 0;  // zeros stand between the pixels that are read: 2^bits - 1
    int groups = 1;       // of samples: none shares a block with another
  };

  static bool covers(const ConvDesc& desc, const OpSite& site, Precision precision);
  TensorConv(const ConvDesc& desc, const OpSite& site, Precision precision);

  // Weights for forward, and behind them for the data gradient.
  int64_t prepared_bytes(bool forward, bool data) const;
  void prepare(const float* w, bool forward, bool data, void* prepared) const;
  int64_t weight_scratch_bytes() const;

  // bias: null where there is none.
  void forward(const Tensor& x, const void* prepared, const float* bias, const Tensor& y) const;
  void data_gradient(const Tensor& dy, const void* prepared, const Tensor& dx) const;
  void weight_gradient(const Tensor& x, const Tensor& dy, const Gradient& dw, void* scratch) const;

 private:
  bool bf16_;
  int side_;  // of the kernel: 1 or 3
  Direction forward_, data_;
};

}  // namespace pcc::cuda
