// Where things lie in an op's private memory.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pcc::cpu {

inline constexpr int64_t kFloat = sizeof(float);

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

// How many parts a sum over a batch may be cut into, of `parts` that threads would like: each has
// sums of its own, which take no more than 64 MiB together however many threads there are.
inline int64_t sum_parts(int64_t parts, int64_t bytes_each) {
  constexpr int64_t kMost = 64 << 20;
  return std::clamp<int64_t>(kMost / bytes_each, 1, parts);
}

inline void* at(void* base, int64_t offset) { return static_cast<char*>(base) + offset; }

}  // namespace pcc::cpu
