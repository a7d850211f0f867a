// Where things lie in an op's private memory.
#pragma once

#include <cstdint>

namespace pcc::cpu {

// Hands out consecutive 64-byte aligned pieces of a buffer that is not there yet.
class Pieces {
 public:
  int64_t take(int64_t bytes) {
    const int64_t offset = total_;
    total_ += (bytes + 63) / 64 * 64;
    return offset;
  }
  int64_t total() const { return total_; }

 private:
  int64_t total_ = 0;
};

inline void* at(void* base, int64_t offset) { return static_cast<char*>(base) + offset; }

}  // namespace pcc::cpu
