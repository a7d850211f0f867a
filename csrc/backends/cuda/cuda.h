// The CUDA backend: kernels over float32 values in plain layout, over whichever runtime it is
// linked with.
#pragma once

#include <memory>
#include <string>

#include "ops/op.h"

namespace pcc {

// usual: the precision of devices that are opened without one.
std::unique_ptr<const Backend> make_cuda_backend(const std::string& name,
                                                 Precision usual = Precision::fp32);

}  // namespace pcc
