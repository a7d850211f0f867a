// Convolutions of images on the tensor cores.
#pragma once

#include <cstdint>

#include "backends/cuda/conv_way.h"
#include "backends/cuda/prepare.h"

namespace pcc::cuda {

// Of a channel's numbers in a group of samples: the mean, and the biased variance.
struct ChannelMoments {
  float mean, variance;
};

struct ChannelScale;  // channel_scale.cuh

// Sums of shares of a convolution's positions, for each of its weights and then of its biases, that
// are still to be added up. Null: there is none.
struct WeightSums {
  const float* sums = nullptr;
  int64_t weights = 0, biases = 0;
  int shares = 0;
  float *dw = nullptr, *dbias = nullptr;  // null: not wanted
  bool adds_dw = false, adds_dbias = false;
};

// 3x3, 2x2 and 1x1 kernels over images (N, C, H, W), one group, no dilation, one stride for both
// axes. Images lie with their channels last, in the type of the products, to be fast; any other
// works. Weights are float32 (O, C, taps); what backward and forward want of them is prepared once
// for all passes until they change.
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

  // scales: null, or those of the descriptor's prologue, (groups, channels). bias: null where there
  // is none. moments: null, or where those of y go, (groups, channels); scratch: then
  // moments_scratch_bytes().
  void forward(const Tensor& x, const ChannelScale* scales, const void* prepared, const float* bias,
               const Tensor& y, ChannelMoments* moments = nullptr, void* scratch = nullptr) const;
  int64_t moments_scratch_bytes() const;
  // In two steps: the second is join()'s, or rides on a data gradient. scratch:
  // weight_scratch_bytes(), until then.
  WeightSums weight_sums(const Tensor& x, const ChannelScale* scales, const Tensor& dy,
                         bool with_bias, void* scratch) const;
  int64_t weight_scratch_bytes(bool with_bias) const;
  static void join(const WeightSums& sums);
  void data_gradient(const Tensor& dy, const void* prepared, const Tensor& dx,
                     const WeightSums& beside = {}) const;
  // Of x, by forward, or for the gradient of the weights: every number as often as blocks load it.
  int64_t numbers_read(bool weights) const;

 private:
  Direction weights_direction() const;
  Preparation preparation(bool forward, bool data) const;

  bool bf16_;
  int side_;  // of the kernel: 1 to 3
  int prologue_groups_;
  Direction forward_, data_;
};

}  // namespace pcc::cuda
