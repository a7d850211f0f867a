// What the tests of the CPU backend's own kernels share: each case on every instruction set that
// this processor has.
#pragma once

#ifdef PCC_WITH_ONEDNN

#include "backends/onednn/kernels/loops.h"
#include "op_harness.h"
#include "testing.h"

namespace pcc {

// Calls check(isa) with each instruction set chosen in turn, the best one last.
template <typename Check>
void for_each_isa(Check check) {
  for (const std::string& isa : onednn::loop_isas()) {
    onednn::select_loops(isa);
    check(isa);
  }
}

// Compares with the reference on every instruction set, and demands that the backend answers.
inline void check_kernels(const OpCase& op, double tolerance = 1e-5) {
  for_each_isa(
      [&](const std::string&) { CHECK(!compare_with_reference(op, "onednn", tolerance).empty()); });
}

}  // namespace pcc

#endif
