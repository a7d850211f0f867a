// Of a plan: the order of the backward pass, and which diffs are summed where.
#include <algorithm>

#include "graph/plan.h"

namespace pcc {

void Plan::plant_seeds(const std::vector<std::pair<int, double>>& seeds) {
  for (const auto& [value, weight] : seeds) {
    Part seed;
    seed.weight = weight;
    seed.block = keep_ ? at(values_, value).diff
                       : new_block(at(program_.values, value).spec().bytes(), 0,
                                   at(program_.values, value).place);
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

// The sum of so many parts of a value's diff, each in the value's own layout.
std::unique_ptr<Op> Plan::make_sum(const std::string& of, size_t parts, const Value& value) {
  OpSite site;
  site.name = "diff of " + of;
  site.device = device_.get();
  const TensorSpec flat{Shape{value.shape.count()}, value.dtype, Layout::plain};
  site.in.assign(parts, flat);
  site.out.assign(1, flat);
  site.want_din.assign(parts, false);
  const Backend& own = value.place == Place::host ? plain_backend() : backend_;
  return make_op(own, SumDesc{}, site, &fallbacks_).op;
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
    memory.diff =
        new_block(at(program_.values, value).spec().bytes(), 0, at(program_.values, value).place);
  }
  BackwardStep step;
  step.value = value;
  for (const Part& part : memory.parts)
    if (part.node >= 0 && step.layer < 0) step.layer = at(program_.nodes, part.node).layers.front();
  const Value& summed = at(program_.values, value);
  if (step.layer < 0) step.layer = summed.layer;  // of seeds alone
  step.sum = make_sum(program_.name_of(value), parts.size(), summed);
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
  bool any = false, joins = false;
  for (size_t slot = 0; slot < node.ins.size(); ++slot) joins |= may_join_diff(index, slot);
  for (const int out : node.outs) {
    memory.dout.push_back(
        collect_diff(out, needs.sums_parts && !passes && !joins, needs.max_parts));
    any |= !memory.dout.back().empty();
  }
  memory.din.assign(node.ins.size(), -1);
  memory.adds.assign(node.ins.size(), false);
  if (!any) return;  // no gradient arrives: nothing to do, and nothing to send on

  memory.backward_step = static_cast<int>(backward_.size());
  BackwardStep step;
  step.node = index;
  step.layer = node.layers.empty() ? -1 : node.layers.back();
  backward_.push_back(std::move(step));
  for (const int param : node.params) {
    const Param& use = at(program_.params, param);
    int& writer = at(first_writers_, use.owner);
    if (use.want_gradient && writer < 0 && !at(program_.params, use.owner).borrowed) writer = index;
  }
  for (size_t slot = 0; slot < node.ins.size(); ++slot) {
    const Operand& operand = node.ins[slot];
    if (!operand.want_gradient) continue;
    ValueMemory& source = at(values_, operand.value);
    Part part;
    part.node = index;
    part.slot = static_cast<int>(slot);
    if (const int block = joined_diff(operand.value); block >= 0) {
      memory.din[slot] = block;
      memory.adds[slot] = true;
      continue;
    }
    if (const int block = join_diff(index, slot); block >= 0) {
      part.block = memory.din[slot] = block;
    } else if (!needs.passes_dout.empty() && needs.passes_dout[slot] && !keep_) {
      part.block = memory.dout[0][0];
      memory.din[slot] = part.block;
    } else if (!needs.passes_dout.empty() && needs.passes_dout[slot]) {
      // A kept net copies what would be passed on, so that every diff can be looked at.
      part.block =
          new_block(program_.spec_of(operand).bytes(), 0, at(program_.values, operand.value).place);
      at(blocks_, part.block).persistent = true;
      BackwardStep copy;
      copy.layer = node.layers.empty() ? -1 : node.layers.front();
      copy.sum = make_sum(node.name, 1, at(program_.values, operand.value));
      copy.value = operand.value;
      sum_blocks_.resize(backward_.size());
      sum_blocks_.push_back({memory.dout[0][0], part.block});
      backward_.push_back(std::move(copy));
    } else {
      part.block =
          new_block(program_.spec_of(operand).bytes(), 0, at(program_.values, operand.value).place);
      at(blocks_, part.block).persistent = keep_;
      memory.din[slot] = part.block;
    }
    source.parts.push_back(part);
  }
}

}  // namespace pcc
