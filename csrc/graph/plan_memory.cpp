// Of a plan: how long each block of memory lives, and which blocks may be one.
#include <algorithm>

#include "core/out_of_memory.h"
#include "graph/plan.h"

namespace pcc {

int Plan::new_block(int64_t bytes, int step, Place place) {
  Block block;
  block.bytes = bytes;
  block.first = block.last = step;
  block.place = place;
  blocks_.push_back(block);
  parent_.push_back(static_cast<int>(blocks_.size()) - 1);
  return parent_.back();
}

int Plan::find(int block) const {
  while (at(parent_, block) != block) block = at(parent_, block);
  return block;
}

void Plan::use(int block, int step) {
  if (block < 0) return;  // of what has no memory
  Block& root = at(blocks_, find(block));
  root.first = std::min(root.first, step);
  root.last = std::max(root.last, step);
}

void Plan::merge(int from, int into) {
  from = find(from);
  into = find(into);
  if (from == into) return;
  Block& target = at(blocks_, into);
  const Block& source = at(blocks_, from);
  target.first = std::min(target.first, source.first);
  target.last = std::max(target.last, source.last);
  target.persistent |= source.persistent;
  at(parent_, from) = into;
}

void Plan::live() {
  sum_blocks_.resize(backward_.size());
  const int forward_steps = static_cast<int>(program_.nodes.size());
  const int end = forward_steps + static_cast<int>(backward_.size());
  for (size_t v = 0; v < values_.size(); ++v)
    if (readers_[v].empty() && values_[v].data >= 0)
      use(values_[v].data, end);  // an output: read after the pass
  for (int n = 0; n < forward_steps; ++n) {
    const Node& node = at(program_.nodes, n);
    const OpNeeds& needs = at(needs_, n);
    NodeMemory& memory = at(nodes_, n);
    for (const Operand& operand : node.ins) use(at(values_, operand.value).data, n);
    for (const int out : node.outs) use(at(values_, out).data, n);
    if (needs.prepared_bytes) {
      memory.prepared = new_block(needs.prepared_bytes, n, node.place);
      blocks_.back().persistent = true;
    }
    if (needs.forward_scratch)
      memory.forward_scratch = new_block(needs.forward_scratch, n, node.place);
    if (needs.stash_bytes) {
      memory.stash = new_block(needs.stash_bytes, n, node.place);
      // In a kept net backward may run again after one forward pass.
      blocks_.back().persistent = keep_;
    }
    if (memory.backward_step < 0) continue;
    const int step = forward_steps + memory.backward_step;
    const int until = std::min(end, step + needs.backward_lag);
    if (needs.stash_bytes) use(memory.stash, until);
    if (needs.backward_scratch) {
      memory.backward_scratch = new_block(needs.backward_scratch, step, node.place);
      use(memory.backward_scratch, until);
    }
    for (size_t i = 0; i < needs.in.size(); ++i)
      if (needs.in[i]) use(at(values_, node.ins[i].value).data, until);
    for (size_t i = 0; i < needs.out.size(); ++i)
      if (needs.out[i]) use(at(values_, node.outs[i]).data, until);
  }
  // Diff blocks: their first use was not known when they were made.
  for (auto& memory : nodes_)
    for (const int block : memory.din)
      if (block >= 0) at(blocks_, find(block)).first = end;
  for (const auto& list : sum_blocks_)
    if (!list.empty()) at(blocks_, find(list.back())).first = end;
  for (int n = 0; n < forward_steps; ++n) {
    const NodeMemory& memory = at(nodes_, n);
    if (memory.backward_step < 0) continue;
    const int step = forward_steps + memory.backward_step;
    for (const int block : memory.din)
      if (block >= 0) use(block, step);
    for (const auto& list : memory.dout)
      for (const int block : list) use(block, std::min(end, step + at(needs_, n).backward_lag));
  }
  for (size_t s = 0; s < sum_blocks_.size(); ++s)
    for (const int block : sum_blocks_[s]) use(block, forward_steps + static_cast<int>(s));
}

std::shared_ptr<Memory> Plan::allocate(int64_t bytes) const {
  try {
    return device_->allocate(bytes);
  } catch (const OutOfMemory& error) {
    throw OutOfMemory(concat(error.what(), ". Largest in this net: ", largest_buffers()));
  }
}

std::string Plan::largest_buffers() const {
  constexpr size_t kShown = 5;
  struct Named {
    int64_t bytes;
    std::string name;
  };
  std::vector<Named> list;
  std::vector<bool> seen(blocks_.size(), false);
  const auto add = [&](int block, const std::string& name) {
    if (block < 0) return;
    const auto root = static_cast<size_t>(find(block));
    if (seen[root] || blocks_[root].place != Place::device) return;
    seen[root] = true;
    list.push_back({blocks_[root].bytes, name});
  };
  for (size_t v = 0; v < values_.size(); ++v)
    add(values_[v].data, program_.name_of(static_cast<int>(v)));
  for (size_t v = 0; v < values_.size(); ++v) {
    const std::string name = concat("the gradient of ", program_.name_of(static_cast<int>(v)));
    add(values_[v].diff, name);
    for (const Part& part : values_[v].parts) add(part.block, name);
  }
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const NodeMemory& memory = nodes_[n];
    for (const int block :
         {memory.stash, memory.prepared, memory.forward_scratch, memory.backward_scratch})
      add(block, concat("memory of ", program_.nodes[n].name));
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const Named& a, const Named& b) { return a.bytes > b.bytes; });
  std::string text;
  for (size_t i = 0; i < std::min(kShown, list.size()); ++i)
    text += concat(i ? ", " : "", list[i].name, " (", size_text(list[i].bytes), ")");
  return text;
}

// Lets an op write over an input, or over the diff it reads, that nobody needs afterwards.
void Plan::share() {
  const int forward_steps = static_cast<int>(program_.nodes.size());
  for (int n = 0; n < forward_steps; ++n) {
    const Node& node = at(program_.nodes, n);
    const int slot = at(needs_, n).in_place;
    if (slot < 0 || slot >= static_cast<int>(node.ins.size())) continue;
    const int under = find(at(values_, at(node.ins, slot).value).data);
    const int over = find(at(values_, node.outs[0]).data);
    const Block& block = at(blocks_, under);
    if (block.persistent || at(blocks_, over).persistent || block.last != n ||
        block.bytes != at(blocks_, over).bytes || block.place != at(blocks_, over).place)
      continue;
    const bool twice = std::count_if(node.ins.begin(), node.ins.end(), [&](const Operand& o) {
                         return find(at(values_, o.value).data) == under;
                       }) > 1;
    if (!twice) merge(over, under);
  }
  for (size_t s = 0; s < backward_.size(); ++s) {
    const int n = backward_[s].node;
    if (n < 0) continue;
    const int slot = at(needs_, n).diff_in_place;
    const NodeMemory& memory = at(nodes_, n);
    if (slot < 0 || slot >= static_cast<int>(memory.din.size()) || at(memory.din, slot) < 0 ||
        memory.adds[static_cast<size_t>(slot)])
      continue;
    if (memory.dout[0].size() != 1) continue;
    const int under = find(memory.dout[0][0]), over = find(at(memory.din, slot));
    const Block& block = at(blocks_, under);
    if (under == over || block.persistent || block.last != forward_steps + static_cast<int>(s) ||
        block.bytes != at(blocks_, over).bytes || block.place != at(blocks_, over).place)
      continue;
    merge(over, under);
  }
  // Merged blocks take no place of their own.
  for (size_t b = 0; b < blocks_.size(); ++b)
    if (parent_[b] != static_cast<int>(b)) {
      blocks_[b].bytes = 0;
      blocks_[b].persistent = false;
    }
}

}  // namespace pcc
