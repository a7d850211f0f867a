// The CPU backend: oneDNN's primitives for convolutions, products and reorders, own kernels for
// what oneDNN lacks or does slowly (fused BatchNorm chains, LRN, losses, data transformation, the
// update). float32 only.
#pragma once

#include "ops/op.h"

namespace pcc {

const Backend& onednn_backend();

}  // namespace pcc
