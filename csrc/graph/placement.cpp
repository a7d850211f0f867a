#include "graph/placement.h"

#include <algorithm>
#include <numeric>

namespace pcc {

namespace {

// Of every block: enough for vector units,.
constexpr int64_t kAlign = 64;

int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

}  // namespace

Placement place(std::vector<Block>& blocks, Place where) {
  Placement sizes;
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<size_t> placed;
  for (const size_t index : order) {
    Block& block = blocks[index];
    if (block.place != where) continue;
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
