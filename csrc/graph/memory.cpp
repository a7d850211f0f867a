#include "graph/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>

#include "core/check.h"

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

Memory::Memory(int64_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes < kHugePage) {
    const int64_t size = round_up(bytes, kAlign);
    data_ = static_cast<char*>(
        std::aligned_alloc(static_cast<size_t>(kAlign), static_cast<size_t>(size)));
    PCC_CHECK(data_, "out of memory: ", size, " bytes wanted");
    std::memset(data_, 0, static_cast<size_t>(size));
    return;
  }
  // Fresh pages are zero and cost nothing until they are touched: a net is built, and looked at,
  // without paying for the gigabytes that its first step will write.
  // Mapping more than there is may succeed, and end the process later.
  PCC_CHECK(bytes <= available(), "out of memory: ", bytes >> 20, " MiB wanted, ",
            available() >> 20, " MiB are available. Use a smaller batch_size");
  mapped_ = round_up(bytes, kHugePage) + kHugePage;
  void* const base = mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PCC_CHECK(base != MAP_FAILED, "out of memory: ", bytes >> 20,
            " MiB wanted. Use a smaller batch_size");
  base_ = static_cast<char*>(base);
  data_ = base_ + (kHugePage - static_cast<int64_t>(reinterpret_cast<uintptr_t>(base) % kHugePage));
#ifdef MADV_HUGEPAGE
  // A step walks through hundreds of megabytes; with 4 KiB pages address translation costs several
  // per cent.
  madvise(data_, static_cast<size_t>(round_up(bytes, kHugePage)), MADV_HUGEPAGE);
#endif
}

Memory::~Memory() {
  if (base_)
    munmap(base_, static_cast<size_t>(mapped_));
  else
    std::free(data_);
}

Placement place(std::vector<Block>& blocks) {
  Placement sizes;
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;
  for (const size_t index : order) {
    Block& block = blocks[index];
    const int64_t bytes = round_up(block.bytes, kAlign);
    if (block.persistent) {
      block.offset = sizes.persistent;
      sizes.persistent += bytes;
      continue;
    }
    // The lowest gap between the blocks that live at the same time.
    std::vector<std::pair<int64_t, int64_t>> taken;
    for (const size_t other : placed)
      if (blocks[other].first <= block.last && block.first <= blocks[other].last)
        taken.emplace_back(blocks[other].offset,
                           blocks[other].offset + round_up(blocks[other].bytes, kAlign));
    std::sort(taken.begin(), taken.end());
    int64_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (begin - offset >= bytes) break;
      offset = std::max(offset, end);
    }
    block.offset = offset;
    sizes.arena = std::max(sizes.arena, offset + bytes);
    placed.push_back(index);
  }
  return sizes;
}

}  // namespace pcc
