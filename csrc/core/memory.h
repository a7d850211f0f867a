// Memory: an owned range of a device's bytes, and the host's kind of it.
#pragma once

#include <cstdint>

namespace pcc {

// Zeroed, and aligned for vector units. Only ops, and the device that it came from, may follow
// data().
class Memory {
 public:
  explicit Memory(int64_t bytes) : bytes_(bytes) {}
  virtual ~Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 protected:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Where large, aligned for huge pages. Throws an engine error where the machine has not as much.
class HostMemory : public Memory {
 public:
  explicit HostMemory(int64_t bytes);
  ~HostMemory() override;

 private:
  char* base_ = nullptr;  // where large memory was mapped, before alignment
  int64_t mapped_ = 0;
};

}  // namespace pcc
