// The CPU backend: kernels of our own, compiled once per instruction set. It runs on every
// processor; on x86-64 it takes the widest vectors that are there.
#pragma once

#include "ops/op.h"

namespace pcc {

std::unique_ptr<const Backend> make_cpu_backend();

}  // namespace pcc
