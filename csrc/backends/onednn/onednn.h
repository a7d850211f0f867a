// The oneDNN backend: its convolutions, softmax and changes of layout where kernels of our own do
// not serve; everything else is the CPU backend's.
#pragma once

#include "ops/op.h"

namespace pcc {

const Backend& onednn_backend();

}  // namespace pcc
