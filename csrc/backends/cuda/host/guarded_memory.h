// Memory that code has no access to but while it is open, as a GPU's memory: any other access ends
// the process.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

namespace pcc {

// The memory of one device. Threads may share it.
class GuardedMemory : public std::enable_shared_from_this<GuardedMemory> {
 public:
  // Zeroed, 256-byte aligned, with bytes behind it that are never open. Throws an engine error
  // where the machine has not as much.
  char* allocate(int64_t bytes);
  void free(char* memory) noexcept;
  int64_t bytes() const;  // of all that is allocated, in whole pages

  // May nest.
  void open();
  void close();
  struct Access {
    explicit Access(GuardedMemory& memory) : memory(memory) { memory.open(); }
    ~Access() { memory.close(); }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;
    GuardedMemory& memory;
  };

  // Whose memory lies there; null: nobody's.
  static std::shared_ptr<GuardedMemory> owner_of(const void* address);

 private:
  struct Mapping {
    char* begin;
    int64_t bytes;  // in whole pages, without the one behind
  };
  void protect(int rights);  // all of it
  static void protect(const Mapping& mapping, int rights);

  mutable std::mutex mutex_;
  std::map<char*, Mapping> mappings_;  // by what allocate gave
  int open_ = 0;
};

}  // namespace pcc
