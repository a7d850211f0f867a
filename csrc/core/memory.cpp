#include "core/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "core/out_of_memory.h"

namespace pcc {

namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t kHugePage = 2 << 20;

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// What the system could give now, in bytes; the largest number where it does not say.
int64_t available() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word)
    if (int64_t kibibytes = 0; word == "MemAvailable:" && file >> kibibytes) return kibibytes << 10;
  return std::numeric_limits<int64_t>::max();
}

}  // namespace

HostMemory::HostMemory(int64_t bytes) : Memory(bytes) {
  if (bytes == 0) return;
  if (bytes < kHugePage) {
    const int64_t size = round_up(bytes, kAlign);
    data_ = static_cast<char*>(
        std::aligned_alloc(static_cast<size_t>(kAlign), static_cast<size_t>(size)));
    if (!data_) throw OutOfMemory(concat("out of memory: ", size_text(size), " wanted"));
    std::memset(data_, 0, static_cast<size_t>(size));
    return;
  }
  // Fresh pages are zero and cost nothing until they are touched: a net is built, and looked at,
  // without paying for the gigabytes that its first step will write.
  // Mapping more than there is may succeed, and end the process later.
  const auto refuse = [&] {
    throw OutOfMemory(concat("out of memory: ", size_text(bytes), " wanted, ",
                             size_text(available()), " are available. Use a smaller batch_size"));
  };
  if (bytes > available()) refuse();
  mapped_ = round_up(bytes, kHugePage) + kHugePage;
  void* const base = mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) refuse();
  base_ = static_cast<char*>(base);
  data_ = base_ + (kHugePage - static_cast<int64_t>(reinterpret_cast<uintptr_t>(base) % kHugePage));
#ifdef MADV_HUGEPAGE
  // A step walks through hundreds of megabytes; with 4 KiB pages address translation costs several
  // per cent.
  madvise(data_, static_cast<size_t>(round_up(bytes, kHugePage)), MADV_HUGEPAGE);
#endif
}

HostMemory::~HostMemory() {
  if (base_)
    munmap(base_, static_cast<size_t>(mapped_));
  else
    std::free(data_);
}

}  // namespace pcc
