// Where buffers lie: each lives over an interval of steps, and those that never live together share
// bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace pcc {

struct Block {
  int64_t bytes = 0;
  int first = 0, last = 0;  // steps, inclusive
  bool persistent = false;  // outlives the iteration; never shares
  int64_t offset = 0;       // set by place(), within the arena or the persistent memory
  Place place = Place::device;
  // Of one that lies in another: bytes behind that one's first, and elements from pixel to pixel.
  int64_t shift = 0, pitch = 0;
};

// Gives every block that lies there an offset. Returns the sizes of the arena and of the persistent
// memory.
struct Placement {
  int64_t arena = 0, persistent = 0;
};
Placement place(std::vector<Block>& blocks, Place where = Place::device);

}  // namespace pcc
