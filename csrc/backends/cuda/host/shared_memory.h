// The shared memory of the block that runs now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pcc::cuda::host {

class SharedMemory {
 public:
  struct Range {
    char* begin = nullptr;
    size_t bytes = 0;
  };
  // For blocks of that kernel, which ask for so many bytes at its launch.
  void open(const void* kernel, int64_t bytes);
  // NaNs everywhere but in `keep`: no block may read what it did not write.
  void poison(const Range& keep);
  void* dynamic() { return begin_; }
  bool intact() const;  // nothing was written behind what was asked for
  void close();

 private:
  std::vector<uint32_t> memory_;
  char* begin_ = nullptr;
  int64_t bytes_ = 0;
  // Where the __shared__ variables of the kernel's library lie, among others of it, and what was
  // there before the launch.
  Range own_;
  std::vector<char> before_;
  const void* kernel_ = nullptr;
};

}  // namespace pcc::cuda::host
