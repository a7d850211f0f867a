// What a BatchNorm makes of a channel's numbers in a group of samples, wherever that is computed,
// in one and the same way: whether y is written or made by those who read x, and for the sign that
// backward finds again, no bit differs.
#pragma once

#include "backends/cuda/kernel.h"

namespace pcc::cuda {

struct ChannelScale {
  float mean, scale, shift;

  __device__ float operator()(float x) const { return fmaf(x - mean, scale, shift); }
};

}  // namespace pcc::cuda
