// The step block: what changes from one pass or iteration to the next, in memory where ops find it.
// An op that was recorded once reads it anew at each replay.
#pragma once

#include <cstdint>

#include "core/random.h"
#include "ops/records.h"

namespace pcc {

// Written from outside between passes, never by an op.
struct StepBlock {
  uint64_t seed = 0;
  uint32_t net = 0;       // RandomStream::net
  uint64_t pass = 0;      // number of the forward pass
  int64_t iteration = 0;  // updates made before this one
  float lr = 0, momentum = 0, weight_decay = 0;
  // Which of the passes of one iteration this is (iter_size); parts 0: it belongs to none, and
  // nobody keeps its loss.
  int32_t part = 0, parts = 0;
  // Where several processes train together: which of the equal shares of each batch this one has.
  uint64_t share = 0;

  // The numbers that an op draws in this pass; stream: OpSite::stream. elements: how many it draws
  // for a share of the batch, so that each share has those that it would have within the whole.
  constexpr RandomStream random(uint32_t stream, int64_t elements) const {
    return {seed, net, stream, pass, share * static_cast<uint64_t>(elements)};
  }
};

// What goes wrong in an op. It is seen where the report is read next; until then no update is made.
enum class Halt : int32_t { none, diverged, label };

// The first thing that went wrong.
struct Trouble {
  Halt halt = Halt::none;
  uint32_t site = 0;      // OpSite::number
  int64_t iteration = 0;  // at which
  int64_t sample = 0, classes = 0;
  double label = 0;

  constexpr void bad_label(const StepBlock& step, uint32_t at_site, int64_t at_sample, double bad,
                           int64_t of_classes) {
    if (halt != Halt::none) return;
    halt = Halt::label;
    site = at_site;
    iteration = step.iteration;
    sample = at_sample;
    label = bad;
    classes = of_classes;
  }
};

// Written by ops, read from outside from time to time.
struct StepReport : Trouble {
  static constexpr int64_t kLosses = 1024;

  // Of the latest iterations, at iteration % kLosses: the mean loss of their passes.
  double losses[kLosses] = {};
};

// What every call of an op is given. The pointers are the device's own.
struct Context {
  const StepBlock* step = nullptr;
  StepReport* report = nullptr;
  const RecordBatch* feeds = nullptr;  // by TransformDesc::feed
  // The pass is the first of an iteration, whose gradients take the place of what is there. Always
  // the same for one unit.
  bool first = false;
};

}  // namespace pcc
