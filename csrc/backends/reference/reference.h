// The reference backend: loops that read like the formulas, in float and double, on any processor;
// convolutions and inner products go through one matrix product (matrix.h). It answers every
// descriptor, in plain layouts, and is the yardstick of the others. Its results do not depend on
// the number of threads.
#pragma once

#include "ops/op.h"

namespace pcc {

std::unique_ptr<const Backend> make_reference_backend();

}  // namespace pcc
