#pragma once

#include "backends/reference/reference_op.h"

namespace pcc::reference {

// For all functions but relu, sigmoid and prelu.
template <typename T>
OpPointer make_activation(const PointwiseDesc& desc, const OpSite& site);

}  // namespace pcc::reference
