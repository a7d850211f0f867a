// The CUDA backend: kernels over float32 values in plain layout, over whichever runtime it is
// linked with.
#pragma once

#include <memory>
#include <string>

#include "ops/op.h"

namespace pcc {

namespace cuda {

// What convolutions multiply: float32 as it is, on the ordinary cores, or, where there is a kernel
// for it, rounded to tf32 (10 bits of mantissa) or bf16 (7 bits) on the tensor cores. Sums are
// float32.
enum class Precision { fp32, tf32, bf16 };

}  // namespace cuda

std::unique_ptr<const Backend> make_cuda_backend(const std::string& name,
                                                 cuda::Precision precision = cuda::Precision::fp32);

}  // namespace pcc
