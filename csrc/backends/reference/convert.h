#pragma once

#include <memory>

#include "ops/op.h"

namespace pcc::reference {

// ReorderDesc between any two layouts and types.
std::unique_ptr<Op> make_convert(const OpSite& site);

}  // namespace pcc::reference
