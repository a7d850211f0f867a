// What the calls of an op ask of a device: for the model of a step's time.
#pragma once

#include "ops/op.h"

namespace pcc {

struct Work {
  int64_t launches = 0;  // of kernels, copies and fills; 0 on the host
  int64_t bytes = 0;     // read and written: each tensor once, and what the op reads again
  int64_t flops = 0;     // of its products, an addition and a multiplication counted as two
};

// The bytes of one call, forward or backward; parameters' gradients are overwritten.
int64_t bytes_forward(const OpBuffers& buffers, const OpNeeds& needs);
int64_t bytes_backward(const OpBuffers& buffers, const OpNeeds& needs);
// The arithmetic of one product of the op: of forward, and of each gradient of it. 0 where it
// multiplies no matrices.
int64_t flops_of_product(const OpDesc& desc, const Shape& in, const Shape& out);

}  // namespace pcc
