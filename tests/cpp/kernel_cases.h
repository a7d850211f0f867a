// What the tests of our own kernels share: each case on every instruction set that this processor
// has, and on the simulated CUDA device. With PYCAFFE_CLR_TEST_GPU in the environment, on this
// machine's GPU alone.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

#include "backends/cpu/kernels/loops.h"
#include "op_harness.h"
#include "testing.h"

namespace pcc {

inline bool tests_gpu() { return std::getenv("PYCAFFE_CLR_TEST_GPU") != nullptr; }
inline std::string cuda_backend() { return tests_gpu() ? "cuda" : "cuda_host"; }

// Calls check() once, or, on a GPU, with each of these ways of convolutions chosen in turn
// (PYCAFFE_CLR_CONVOLUTION).
template <typename Check>
void for_each_way(std::initializer_list<const char*> ways, Check check) {
  if (!tests_gpu()) return check();
  for (const char* way : ways) {
    setenv("PYCAFFE_CLR_CONVOLUTION", way, 1);
    check();
  }
  unsetenv("PYCAFFE_CLR_CONVOLUTION");
}

// The CPU backend, and the one of oneDNN where there is one.
inline std::vector<std::string> fast_backends() {
  if (tests_gpu()) return {};
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
  // A GPU's functions, and products that it adds unrounded, are not the host's.
  if (tests_gpu()) tolerance = std::max(tolerance, 1e-4);
  const auto check = [&](const std::string&) {
    CHECK(!compare_with_reference(op, backend_name, tolerance).empty());
  };
  if (backend_name == cuda_backend())
    check("");
  else
    for_each_isa(check);
}

// Of both backends that have kernels of their own for everything.
inline void check_kernels(const OpCase& op, double tolerance = 1e-5) {
  if (!tests_gpu()) check_kernels(op, tolerance, "cpu");
  check_kernels(op, tolerance, cuda_backend());
}

}  // namespace pcc
