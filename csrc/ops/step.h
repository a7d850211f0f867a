// The step block: what changes from one pass or iteration to the next, in memory where ops find it.
// An op that was recorded once reads it anew at each replay.
#pragma once

#include <cstdint>

#include "core/random.h"

namespace pcc {

// Written from outside between passes, never by an op.
struct StepBlock {
  uint64_t seed = 0;
  uint32_t net = 0;       // RandomStream::net
  uint64_t pass = 0;      // number of the forward pass
  int64_t iteration = 0;  // updates made before this one
  float lr = 0, momentum = 0, weight_decay = 0;

  // The numbers that an op draws in this pass; stream: OpSite::stream.
  RandomStream random(uint32_t stream) const { return {seed, net, stream, pass}; }
};

// What every call of an op is given. The pointers are the device's own.
struct Context {
  const StepBlock* step = nullptr;
};

}  // namespace pcc
