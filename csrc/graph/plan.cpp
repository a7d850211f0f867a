#include "graph/plan.h"

#include <algorithm>

namespace pcc {

Plan::Plan(Program& program, const Backend& backend, DType dtype, bool keep, bool gradients,
           const std::vector<std::pair<int, double>>& seeds, std::shared_ptr<Memory> lend)
    : program_(program), backend_(backend), dtype_(dtype), keep_(keep), gradients_(gradients) {
  values_.resize(program.values.size());
  nodes_.resize(program.nodes.size());
  for (const Node& node : program.nodes) needs_.push_back(node.op->needs());
  for (size_t v = 0; v < program.values.size(); ++v) {
    const Value& value = program.values[v];
    if (value.gone) continue;
    values_[v].data = new_block(value.shape.count() * size_of(dtype), std::max(0, value.producer));
    Block& block = blocks_.back();
    block.persistent = keep || value.keep || program.from_outside(static_cast<int>(v));
    if (keep && gradients) {
      values_[v].diff = new_block(block.bytes, 0);
      blocks_.back().persistent = true;
    }
  }
  if (gradients) {
    plant_seeds(seeds);
    order_backward();
  }
  live();
  if (!keep) share();
  sizes_ = place(blocks_);
  persistent_ = std::make_shared<Memory>(sizes_.persistent);
  arena_ = lend && lend->bytes() >= sizes_.arena ? std::move(lend)
                                                 : std::make_shared<Memory>(sizes_.arena);
  bind();
  const StepBlock none;  // constants draw nothing
  for (const Node& node : program.nodes)
    if (Program::made_once(node)) node.op->forward(Context{&none});
}

int Plan::new_block(int64_t bytes, int step) {
  Block block;
  block.bytes = bytes;
  block.first = block.last = step;
  blocks_.push_back(block);
  parent_.push_back(static_cast<int>(blocks_.size()) - 1);
  return parent_.back();
}

int Plan::find(int block) const {
  while (at(parent_, block) != block) block = at(parent_, block);
  return block;
}

void Plan::use(int block, int step) {
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

// --- the backward pass

void Plan::plant_seeds(const std::vector<std::pair<int, double>>& seeds) {
  for (const auto& [value, weight] : seeds) {
    Part seed;
    seed.weight = weight;
    seed.block = keep_ ? at(values_, value).diff
                       : new_block(at(program_.values, value).shape.count() * size_of(dtype_), 0);
    at(blocks_, seed.block).persistent = true;
    at(values_, value).parts.push_back(seed);
  }
}

void Plan::order_backward() {
  for (int node = static_cast<int>(program_.nodes.size()) - 1; node >= 0; --node)
    if (at(program_.nodes, node).backward) add_backward(node);
  // In a kept net the diffs of the inputs are wanted too (force_backward), and those that layers
  // without a backward step get.
  if (keep_)
    for (size_t v = 0; v < values_.size(); ++v) {
      const int producer = program_.values[v].producer;
      if (producer < 0 || !at(program_.nodes, producer).backward)
        collect_diff(static_cast<int>(v), false, 1);
    }
}

// The blocks that make up the diff of `value`; adds a step that sums them where the reader of the
// diff cannot.
std::vector<int> Plan::collect_diff(int value, bool parts_welcome, int max_parts) {
  ValueMemory& memory = at(values_, value);
  std::sort(memory.parts.begin(), memory.parts.end(), [](const Part& a, const Part& b) {
    return std::pair(a.node, a.slot) < std::pair(b.node, b.slot);
  });
  std::vector<int> parts;
  for (const Part& part : memory.parts) parts.push_back(part.block);
  if (keep_) {
    // The value's own diff is the sum; without parts it is what the user puts there.
    if (parts.empty() || (parts.size() == 1 && parts[0] == memory.diff)) return {memory.diff};
  } else {
    if (parts.empty()) return {};
    if (parts.size() == 1) {
      memory.diff = parts[0];
      return parts;
    }
    if (parts_welcome && static_cast<int>(parts.size()) <= max_parts) return parts;
    memory.diff = new_block(at(program_.values, value).shape.count() * size_of(dtype_), 0);
  }
  BackwardStep step;
  step.value = value;
  for (const Part& part : memory.parts)
    if (part.node >= 0 && step.layer < 0) step.layer = at(program_.nodes, part.node).layers.front();
  const Value& summed = at(program_.values, value);
  if (step.layer < 0) step.layer = summed.layer;  // of seeds alone
  OpSite site;
  site.name = "diff of " + (summed.blob.empty() ? "value " + std::to_string(value) : summed.blob);
  const Shape flat{summed.shape.count()};
  site.in.assign(parts.size(), {flat, dtype_, Layout::plain});
  site.out.assign(1, {flat, dtype_, Layout::plain});
  site.want_din.assign(parts.size(), false);
  step.sum = backend_.make(SumDesc{}, site);
  if (!step.sum) step.sum = backend("reference").make(SumDesc{}, site);
  PCC_CHECK(step.sum, "no backend sums ", site.name);
  sum_blocks_.resize(backward_.size());
  parts.push_back(memory.diff);
  sum_blocks_.push_back(parts);
  backward_.push_back(std::move(step));
  return {memory.diff};
}

void Plan::add_backward(int index) {
  const Node& node = at(program_.nodes, index);
  const OpNeeds& needs = at(needs_, index);
  NodeMemory& memory = at(nodes_, index);
  const bool passes = std::find(needs.passes_dout.begin(), needs.passes_dout.end(), true) !=
                      needs.passes_dout.end();
  bool any = false;
  for (const int out : node.outs) {
    memory.dout.push_back(collect_diff(out, needs.sums_parts && !passes, needs.max_parts));
    any |= !memory.dout.back().empty();
  }
  memory.din.assign(node.ins.size(), -1);
  if (!any) return;  // no gradient arrives: nothing to do, and nothing to send on

  memory.backward_step = static_cast<int>(backward_.size());
  BackwardStep step;
  step.node = index;
  step.layer = node.layers.empty() ? -1 : node.layers.back();
  backward_.push_back(std::move(step));
  for (size_t slot = 0; slot < node.ins.size(); ++slot) {
    const Operand& operand = node.ins[slot];
    if (!operand.want_gradient) continue;
    ValueMemory& source = at(values_, operand.value);
    Part part;
    part.node = index;
    part.slot = static_cast<int>(slot);
    if (!needs.passes_dout.empty() && needs.passes_dout[slot] && !keep_) {
      part.block = memory.dout[0][0];
      memory.din[slot] = part.block;
    } else if (!needs.passes_dout.empty() && needs.passes_dout[slot]) {
      // A kept net copies what would be passed on, so that every diff can be looked at.
      part.block = new_block(operand.shape.count() * size_of(dtype_), 0);
      at(blocks_, part.block).persistent = true;
      OpSite site;
      site.name = "diff of " + node.name;
      const Shape flat{operand.shape.count()};
      site.in.assign(1, {flat, dtype_, Layout::plain});
      site.out = site.in;
      site.want_din.assign(1, false);
      BackwardStep copy;
      copy.layer = node.layers.empty() ? -1 : node.layers.front();
      copy.sum = backend("reference").make(SumDesc{}, site);
      copy.value = operand.value;
      sum_blocks_.resize(backward_.size());
      sum_blocks_.push_back({memory.dout[0][0], part.block});
      backward_.push_back(std::move(copy));
    } else {
      part.block = new_block(operand.shape.count() * size_of(dtype_), 0);
      at(blocks_, part.block).persistent = keep_;
      memory.din[slot] = part.block;
    }
    source.parts.push_back(part);
  }
}

// --- lifetimes

void Plan::live() {
  sum_blocks_.resize(backward_.size());
  const int forward_steps = static_cast<int>(program_.nodes.size());
  const int end = forward_steps + static_cast<int>(backward_.size());
  const auto readers = program_.readers();
  for (size_t v = 0; v < values_.size(); ++v)
    if (readers[v].empty() && values_[v].data >= 0)
      use(values_[v].data, end);  // an output: read after the pass
  for (int n = 0; n < forward_steps; ++n) {
    const Node& node = at(program_.nodes, n);
    const OpNeeds& needs = at(needs_, n);
    NodeMemory& memory = at(nodes_, n);
    for (const Operand& operand : node.ins) use(at(values_, operand.value).data, n);
    for (const int out : node.outs) use(at(values_, out).data, n);
    if (needs.forward_scratch) memory.forward_scratch = new_block(needs.forward_scratch, n);
    if (needs.stash_bytes) {
      memory.stash = new_block(needs.stash_bytes, n);
      // In a kept net backward may run again after one forward pass.
      blocks_.back().persistent = keep_;
    }
    if (memory.backward_step < 0) continue;
    const int step = forward_steps + memory.backward_step;
    if (needs.stash_bytes) use(memory.stash, step);
    if (needs.backward_scratch) memory.backward_scratch = new_block(needs.backward_scratch, step);
    for (size_t i = 0; i < needs.in.size(); ++i)
      if (needs.in[i]) use(at(values_, node.ins[i].value).data, step);
    for (size_t i = 0; i < needs.out.size(); ++i)
      if (needs.out[i]) use(at(values_, node.outs[i]).data, step);
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
      for (const int block : list) use(block, step);
  }
  for (size_t s = 0; s < sum_blocks_.size(); ++s)
    for (const int block : sum_blocks_[s]) use(block, forward_steps + static_cast<int>(s));
}

// Lets an op write over an input, or over the diff it reads, that nobody needs afterwards.
void Plan::share() {
  const int forward_steps = static_cast<int>(program_.nodes.size());
  for (int n = 0; n < forward_steps; ++n) {
    const Node& node = at(program_.nodes, n);
    const int slot = at(needs_, n).in_place;
    if (slot < 0 || slot >= static_cast<int>(node.ins.size())) continue;
    const int from = find(at(values_, at(node.ins, slot).value).data);
    const int to = find(at(values_, node.outs[0]).data);
    const Block& block = at(blocks_, from);
    if (block.persistent || at(blocks_, to).persistent || block.last != n ||
        block.bytes != at(blocks_, to).bytes)
      continue;
    const bool twice = std::count_if(node.ins.begin(), node.ins.end(), [&](const Operand& o) {
                         return find(at(values_, o.value).data) == from;
                       }) > 1;
    if (!twice) merge(to, from);
  }
  for (size_t s = 0; s < backward_.size(); ++s) {
    const int n = backward_[s].node;
    if (n < 0) continue;
    const int slot = at(needs_, n).diff_in_place;
    const NodeMemory& memory = at(nodes_, n);
    if (slot < 0 || slot >= static_cast<int>(memory.din.size()) || at(memory.din, slot) < 0)
      continue;
    if (memory.dout[0].size() != 1) continue;
    const int from = find(memory.dout[0][0]), to = find(at(memory.din, slot));
    const Block& block = at(blocks_, from);
    if (from == to || block.persistent || block.last != forward_steps + static_cast<int>(s) ||
        block.bytes != at(blocks_, to).bytes)
      continue;
    merge(to, from);
  }
  // Merged blocks take no place of their own.
  for (size_t b = 0; b < blocks_.size(); ++b)
    if (parent_[b] != static_cast<int>(b)) {
      blocks_[b].bytes = 0;
      blocks_[b].persistent = false;
    }
}

// --- binding

Tensor Plan::tensor(int block, const TensorSpec& spec) const {
  if (block < 0) return {nullptr, spec};
  const Block& root = at(blocks_, find(block));
  const Memory& memory = root.persistent ? *persistent_ : *arena_;
  return {memory.data() + root.offset, spec};
}

void Plan::bind() {
  for (size_t v = 0; v < values_.size(); ++v) {
    const Value& value = program_.values[v];
    const TensorSpec spec{value.shape, dtype_, value.layout};
    data_.push_back(tensor(values_[v].data, spec));
    diff_.push_back(tensor(values_[v].diff, spec));
  }
  for (size_t v = 0; v < values_.size(); ++v)
    for (const Part& part : values_[v].parts) {
      if (part.node >= 0) continue;
      const Tensor seed = tensor(part.block, {program_.values[v].shape, dtype_, Layout::plain});
      for (int64_t i = 0; i < seed.count(); ++i)
        if (dtype_ == DType::f32)
          seed.as<float>()[i] = static_cast<float>(part.weight);
        else
          seed.as<double>()[i] = part.weight;
    }
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = program_.nodes[n];
    const NodeMemory& memory = nodes_[n];
    OpBuffers buffers;
    for (size_t i = 0; i < node.ins.size(); ++i) {
      const Operand& operand = node.ins[i];
      const Value& value = at(program_.values, operand.value);
      const TensorSpec spec{operand.shape, dtype_,
                            operand.shape == value.shape ? value.layout : Layout::plain};
      buffers.in.push_back(tensor(at(values_, operand.value).data, spec));
      buffers.din.push_back(tensor(memory.din.empty() ? -1 : memory.din[i], spec));
    }
    for (size_t i = 0; i < node.outs.size(); ++i) {
      const Value& value = at(program_.values, node.outs[i]);
      const TensorSpec spec{value.shape, dtype_, value.layout};
      buffers.out.push_back(tensor(at(values_, node.outs[i]).data, spec));
      buffers.dout.emplace_back();
      if (memory.backward_step >= 0)
        for (const int block : memory.dout[i]) buffers.dout.back().push_back(tensor(block, spec));
    }
    for (const int param : node.params) {
      const Param& owner = at(program_.params, at(program_.params, param).owner);
      buffers.params.push_back(owner.data);
      Tensor diff = owner.diff;
      if (!at(program_.params, param).want_gradient || !gradients_) diff.data = nullptr;
      buffers.dparams.push_back(diff);
      buffers.params.back().spec.shape = buffers.dparams.back().spec.shape =
          at(program_.params, param).shape;
    }
    buffers.stash = tensor(memory.stash, {}).data;
    buffers.scratch = tensor(memory.forward_scratch, {}).data;
    buffers.backward_scratch = tensor(memory.backward_scratch, {}).data;
    node.op->bind(buffers);
  }
  for (size_t s = 0; s < backward_.size(); ++s) {
    if (!backward_[s].sum) continue;
    OpBuffers buffers;
    const std::vector<int>& list = sum_blocks_[s];
    const TensorSpec flat{Shape{at(program_.values, backward_[s].value).shape.count()}, dtype_,
                          Layout::plain};
    for (size_t i = 0; i + 1 < list.size(); ++i) buffers.in.push_back(tensor(list[i], flat));
    buffers.out.push_back(tensor(list.back(), flat));
    buffers.dout.emplace_back();
    buffers.din.assign(buffers.in.size(), Tensor{});
    backward_[s].sum->bind(buffers);
  }
}

// --- running

void Plan::forward(const Context& context, int first_layer, int last_layer) {
  for (const Node& node : program_.nodes) {
    const int layer = node.layers.empty() ? first_layer : node.layers.back();
    if (Program::made_once(node)) continue;
    if (layer >= first_layer && layer <= last_layer) node.op->forward(context);
  }
}

void Plan::backward(const Context& context, int first_layer, int last_layer) {
  for (const BackwardStep& step : backward_) {
    if (step.layer > first_layer || step.layer < last_layer) continue;
    if (step.node >= 0)
      at(program_.nodes, step.node).op->backward(context);
    else
      step.sum->forward(context);
  }
}

}  // namespace pcc
