// The CUDA backend: kernels in float32 and plain layout, over whichever runtime it is linked with.
#pragma once

#include <memory>
#include <string>

#include "ops/op.h"

namespace pcc {

std::unique_ptr<const Backend> make_cuda_backend(const std::string& name);

}  // namespace pcc
