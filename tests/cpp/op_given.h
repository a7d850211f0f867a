// What a case gives an op, with sensible values for all that it leaves empty.
#pragma once

#include <string>
#include <vector>

#include "op_harness.h"

namespace pcc {

// A CHECK that says what is wrong.
void check_that(bool right, const std::string& what);
// Those wanted, or, where none were named, all `count`.
std::vector<bool> all_or(const std::vector<bool>& wanted, size_t count);
// The values at `index` that were given, or random ones.
Values pick(const std::vector<Values>& given, size_t index, int64_t count, uint64_t seed);
// The site of the case, everything plain and in dtype.
OpSite site_of(const OpCase& op, DType dtype);

}  // namespace pcc
