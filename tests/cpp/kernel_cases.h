// What the tests of the CPU backend's own kernels share: each case on every instruction set that
// this processor has.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels/loops.h"
#include "op_harness.h"
#include "testing.h"

namespace pcc {

// Skips the test where this build has no such backend.
inline void need_backend(const std::string& name) {
  const std::vector<std::string> names = backend_names();
  if (std::find(names.begin(), names.end(), name) == names.end())
    SKIP(concat("this build has no backend ", name));
}

// Calls check(isa) with each instruction set chosen in turn, the best one last.
template <typename Check>
void for_each_isa(Check check) {
  for (const std::string& isa : cpu::loop_isas()) {
    cpu::select_loops(isa);
    check(isa);
  }
}

// Compares with the reference on every instruction set, and demands that the backend answers.
inline void check_kernels(const OpCase& op, double tolerance = 1e-5,
                          const std::string& backend_name = "cpu") {
  for_each_isa([&](const std::string&) {
    CHECK(!compare_with_reference(op, backend_name, tolerance).empty());
  });
}

}  // namespace pcc
