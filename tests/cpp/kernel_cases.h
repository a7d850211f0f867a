// What the tests of our own kernels share: each case on every instruction set that this processor
// has, and on the simulated CUDA device.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels/loops.h"
#include "op_harness.h"
#include "testing.h"

namespace pcc {

// The CPU backend, and the one of oneDNN where there is one.
inline std::vector<std::string> fast_backends() {
  const std::vector<std::string> names = backend_names();
  const bool both = std::find(names.begin(), names.end(), "onednn") != names.end();
  return both ? std::vector<std::string>{"cpu", "onednn"} : std::vector<std::string>{"cpu"};
}

// Calls check(isa) with each instruction set chosen in turn, the best one last.
template <typename Check>
void for_each_isa(Check check) {
  for (const std::string& isa : cpu::loop_isas()) {
    cpu::select_loops(isa);
    check(isa);
  }
}

// Compares with the reference, on every instruction set where the backend chooses by that, and
// demands that the backend answers.
inline void check_kernels(const OpCase& op, double tolerance, const std::string& backend_name) {
  const auto check = [&](const std::string&) {
    CHECK(!compare_with_reference(op, backend_name, tolerance).empty());
  };
  if (backend_name == "cuda_host")
    check("");
  else
    for_each_isa(check);
}

// Of both backends that have kernels of their own for everything.
inline void check_kernels(const OpCase& op, double tolerance = 1e-5) {
  for (const char* name : {"cpu", "cuda_host"}) check_kernels(op, tolerance, name);
}

}  // namespace pcc
