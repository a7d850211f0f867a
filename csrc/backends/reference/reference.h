// The reference backend: plain loops that read like the formulas, in float and double, on any
// processor. It answers every descriptor, in plain layouts, and is the yardstick of the others. Its
// results do not depend on the number of threads.
#pragma once

#include "ops/op.h"

namespace pcc {

std::unique_ptr<const Backend> make_reference_backend();

}  // namespace pcc
