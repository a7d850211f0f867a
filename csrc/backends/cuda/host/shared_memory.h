// The shared memory of the block that runs now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace pcc::cuda::host {

class SharedMemory {
 public:
  struct Range {
    char* begin = nullptr;
    size_t bytes = 0;
  };
  // `keep`: what is no kernel's among the thread-local variables, and must stay as it is.
  explicit SharedMemory(const Range& keep) : keep_(keep) {}

  // For blocks of that kernel, which ask for so many bytes at its launch.
  void open(const void* kernel, int64_t bytes);
  // NaNs for the next block, which may not read what it did not write.
  void poison() const;
  // After the first and the last block of a launch.
  void learn();
  void* dynamic() { return begin_; }
  bool intact() const;  // nothing was written behind what was asked for
  void close();

 private:
  // Where the __shared__ variables of a kernel lie: among many more of its library, too many to
  // fill for each block. What its blocks write is found out in its 1st, 2nd, 4th, 8th, ... launch,
  // before which there are NaNs everywhere; in the others only that is filled.
  struct Kernel {
    Range library;  // all thread-local variables
    int64_t launches = 0;
    std::vector<bool> written;  // by pieces of them
    std::vector<size_t> used;   // the numbers of those
  };

  Range piece(size_t number) const;
  void fill(size_t number) const;

  const Range keep_;
  std::vector<uint32_t> memory_;
  char* begin_ = nullptr;
  int64_t bytes_ = 0;
  std::map<const void*, Kernel> kernels_;
  Kernel* kernel_ = nullptr;
  bool learns_ = false;
  std::vector<size_t> opened_;  // the pieces that this launch may change
  std::vector<char> before_;    // what was there
};

}  // namespace pcc::cuda::host
