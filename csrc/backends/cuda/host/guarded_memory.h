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
  // The same, of the one block that the address lies in; of none where it is not this memory's.
  void open(const void* address);
  void close(const void* address);
  struct BlockAccess {
    BlockAccess(GuardedMemory& memory, const void* address) : memory(memory), address(address) {
      memory.open(address);
    }
    ~BlockAccess() { memory.close(address); }
    BlockAccess(const BlockAccess&) = delete;
    BlockAccess& operator=(const BlockAccess&) = delete;
    GuardedMemory& memory;
    const void* address;
  };

  // Whose memory lies there; null: nobody's.
  static std::shared_ptr<GuardedMemory> owner_of(const void* address);

 private:
  struct Mapping {
    char* begin;
    int64_t bytes;  // in whole pages, without the one behind
    int open = 0;   // how often, by itself
  };
  Mapping* mapping_of(const void* address);
  void protect(int rights);  // all that is not open by itself
  static void protect(const Mapping& mapping, int rights);

  mutable std::mutex mutex_;
  std::map<char*, Mapping> mappings_;  // by what allocate gave
  int open_ = 0;
};

}  // namespace pcc
