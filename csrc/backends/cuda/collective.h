// Collective: sums over the devices of several processes, one device each.
#pragma once

#include <cstdint>
#include <memory>

#include "backends/cuda/runtime.h"
#include "ops/group.h"

namespace pcc::cuda {

class Collective {
 public:
  virtual ~Collective() = default;
  // Asks the stream for it: values become their sum over all ranks, in the same order by all. May
  // be recorded once it was made.
  virtual void sum(Stream& stream, float* values, int64_t count) = 0;
};

// By all ranks at the same time, each on its own device; waits for the others. The sums go on until
// they are there, or the group is aborted. One half of the runtime each: NCCL (nccl.cpp), and, for
// tests, the group itself. Throws a config error without NCCL.
// The group outlives it.
std::unique_ptr<Collective> open_collective(Stream& stream, Group& group);

}  // namespace pcc::cuda
