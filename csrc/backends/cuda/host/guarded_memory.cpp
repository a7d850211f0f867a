#include "backends/cuda/host/guarded_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "core/check.h"

namespace pcc {

namespace {

constexpr int64_t kPage = 4096, kAligned = 256;

int64_t round_up(int64_t bytes, int64_t to) { return (bytes + to - 1) / to * to; }

// Whose a mapping is, by the address where it begins.
struct Owner {
  int64_t bytes;
  std::weak_ptr<GuardedMemory> memory;
};
struct Owners {
  std::mutex mutex;
  std::map<const char*, Owner> by_address;
};
Owners& owners() {
  static Owners* const all = new Owners;
  return *all;
}

}  // namespace

char* GuardedMemory::allocate(int64_t bytes) {
  const int64_t wanted = std::max(kAligned, round_up(bytes, kAligned));
  const int64_t pages = round_up(wanted, kPage);
  void* const base = mmap(nullptr, static_cast<size_t>(pages + kPage), PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PCC_CHECK(base != MAP_FAILED, "out of memory: ", bytes, " bytes wanted");
  char* const begin = static_cast<char*>(base);
  char* const memory = begin + (pages - wanted);
  {
    const std::lock_guard lock(mutex_);
    mappings_[memory] = {begin, pages};
    if (open_ > 0) protect(mappings_[memory], PROT_READ | PROT_WRITE);
  }
  const std::lock_guard lock(owners().mutex);
  owners().by_address[begin] = {pages, weak_from_this()};
  return memory;
}

void GuardedMemory::free(char* memory) noexcept {
  Mapping mapping;
  {
    const std::lock_guard lock(mutex_);
    const auto found = mappings_.find(memory);
    if (found == mappings_.end()) return;
    mapping = found->second;
    mappings_.erase(found);
  }
  {
    const std::lock_guard lock(owners().mutex);
    owners().by_address.erase(mapping.begin);
  }
  munmap(mapping.begin, static_cast<size_t>(mapping.bytes + kPage));
}

int64_t GuardedMemory::bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& [memory, mapping] : mappings_) sum += mapping.bytes;
  return sum;
}

void GuardedMemory::open() {
  const std::lock_guard lock(mutex_);
  if (++open_ == 1) protect(PROT_READ | PROT_WRITE);
}

void GuardedMemory::close() {
  const std::lock_guard lock(mutex_);
  if (--open_ == 0) protect(PROT_NONE);
}

void GuardedMemory::open(const void* address) {
  const std::lock_guard lock(mutex_);
  Mapping* const mapping = mapping_of(address);
  if (mapping && ++mapping->open == 1 && open_ == 0) protect(*mapping, PROT_READ | PROT_WRITE);
}

void GuardedMemory::close(const void* address) {
  const std::lock_guard lock(mutex_);
  Mapping* const mapping = mapping_of(address);
  if (mapping && --mapping->open == 0 && open_ == 0) protect(*mapping, PROT_NONE);
}

GuardedMemory::Mapping* GuardedMemory::mapping_of(const void* address) {
  auto found = mappings_.upper_bound(static_cast<char*>(const_cast<void*>(address)));
  if (found == mappings_.begin()) return nullptr;
  Mapping& mapping = (--found)->second;
  return static_cast<const char*>(address) < mapping.begin + mapping.bytes ? &mapping : nullptr;
}

void GuardedMemory::protect(int rights) {
  for (const auto& [memory, mapping] : mappings_)
    if (mapping.open == 0) protect(mapping, rights);
}

void GuardedMemory::protect(const Mapping& mapping, int rights) {
  PCC_CHECK(mprotect(mapping.begin, static_cast<size_t>(mapping.bytes), rights) == 0,
            "mprotect failed");
}

std::shared_ptr<GuardedMemory> GuardedMemory::owner_of(const void* address) {
  const auto* const byte = static_cast<const char*>(address);
  const std::lock_guard lock(owners().mutex);
  auto found = owners().by_address.upper_bound(byte);
  if (found == owners().by_address.begin()) return nullptr;
  --found;
  return byte < found->first + found->second.bytes ? found->second.memory.lock() : nullptr;
}

}  // namespace pcc
