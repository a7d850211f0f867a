// The CUDA backend: kernels over float32 values in plain layout, over whichever runtime it is
// linked with.
#pragma once

#include <memory>
#include <string>

#include "ops/op.h"

namespace pcc {

// precision: of devices that are opened without one. conv_choice: see choose_conv (conv_way.h);
// PYCAFFE_CLR_CONVOLUTION in the environment takes its place.
std::unique_ptr<const Backend> make_cuda_backend(const std::string& name,
                                                 Precision precision = Precision::fp32,
                                                 const std::string& conv_choice = "first");

}  // namespace pcc
