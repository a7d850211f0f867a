// Of a plan: values, and diffs, that lie where an op would copy them to, among the channels of its
// output, or come from, among those of its output's diff.
#include <algorithm>

#include "graph/plan.h"

namespace pcc {

void Plan::lay(int block, int into, const Among& place) {
  Block& part = at(blocks_, block);
  part.shift = place.first * size_of(place.dtype);
  part.pitch = place.pitch;
  Block& root = at(blocks_, find(into));
  root.first = std::min(root.first, part.first);
  root.last = std::max(root.last, part.last);
  at(parent_, block) = into;
}

// Whether all who read or write a value, or its diff, do so where it would lie. place: in the block
// `into`; -1: one of its own.
bool Plan::may_lie(int value, int into, Among place) const {
  const Value& of = at(program_.values, value);
  if (of.gone || of.producer < 0 || of.layout != Layout::nhwc || of.place != Place::device ||
      program_.made_once(at(program_.nodes, of.producer)))
    return false;
  if (of.shape.count() / of.shape[1] * place.pitch >= int64_t{1} << 31) return false;
  for (; into >= 0 && at(parent_, into) != into; into = at(parent_, into))
    place.first += at(blocks_, into).shift / size_of(place.dtype);
  const auto fits = [&](int node) {
    const int unit = at(needs_, node).channel_unit;
    return unit > 0 && place.first % unit == 0 && place.pitch % unit == 0;
  };
  const auto reads_there = [&](const std::pair<int, int>& reader) {
    const Node& node = at(program_.nodes, reader.first);
    return fits(reader.first) && at(node.ins, reader.second).shape == of.shape;
  };
  const auto& readers = at(readers_, value);
  return fits(of.producer) && std::all_of(readers.begin(), readers.end(), reads_there);
}

// Where the operands of a node that joins them would lie in that block of its output or its diff;
// -1: one of its own.
std::vector<Plan::Among> Plan::joined(const Node& node, int into) const {
  const Value& out = at(program_.values, node.outs[0]);
  const int64_t pitch = into >= 0 ? at(blocks_, into).pitch : 0;
  Among place{0, pitch > 0 ? pitch : out.shape[1], out.dtype};
  std::vector<Among> places;
  for (const Operand& operand : node.ins) {
    places.push_back(place);
    place.first += operand.shape[1];
  }
  return places;
}

namespace {

bool reads_once(const Node& node, int value) {
  return std::count_if(node.ins.begin(), node.ins.end(),
                       [&](const Operand& operand) { return operand.value == value; }) == 1;
}

}  // namespace

// From the last to the first: where an output lies is settled before its parts are.
void Plan::join_data() {
  for (int n = static_cast<int>(program_.nodes.size()) - 1; n >= 0; --n) {
    if (!at(needs_, n).joins_channels) continue;
    const Node& node = at(program_.nodes, n);
    const int into = at(values_, node.outs[0]).data;
    // What lasts may be read and written from outside.
    if (at(blocks_, find(into)).persistent) continue;
    const std::vector<Among> places = joined(node, into);
    for (size_t slot = 0; slot < node.ins.size(); ++slot) {
      const int value = node.ins[slot].value, block = at(values_, value).data;
      if (find(block) == block && !at(blocks_, block).persistent && reads_once(node, value) &&
          may_lie(value, into, places[slot]))
        lay(block, into, places[slot]);
    }
  }
}

// Whether the diff of an operand may lie in that of the output that a node joins: none has come for
// it as yet, and those that others send will be added to it.
bool Plan::may_join_diff(int index, size_t slot) const {
  const Node& node = at(program_.nodes, index);
  const Operand& operand = node.ins[slot];
  if (keep_ || !at(needs_, index).joins_channels || !operand.want_gradient ||
      !reads_once(node, operand.value) || !at(values_, operand.value).parts.empty())
    return false;
  const auto has = [](const std::vector<bool>& flags, int i) {
    return static_cast<size_t>(i) < flags.size() && flags[static_cast<size_t>(i)];
  };
  const auto adds = [&](const std::pair<int, int>& reader) {
    const auto [other, of_other] = reader;
    return other == index || !at(at(program_.nodes, other).ins, of_other).want_gradient ||
           has(at(needs_, other).adds_din, of_other);
  };
  const auto& readers = at(readers_, operand.value);
  if (!std::all_of(readers.begin(), readers.end(), adds)) return false;
  // Of several parts there will be a sum. One that was passed on, or lasts, others may read.
  const std::vector<Part>& parts = at(values_, node.outs[0]).parts;
  if (parts.empty()) return false;
  const Part& part = parts[0];
  const bool only = parts.size() == 1;
  if (only && (part.node < 0 || has(at(needs_, part.node).passes_dout, part.slot))) return false;
  const int whole = only ? part.block : -1;
  return may_lie(operand.value, whole, joined(node, whole)[slot]);
}

// The block of such a diff; -1: it has one of its own.
int Plan::join_diff(int index, size_t slot) {
  if (!may_join_diff(index, slot)) return -1;
  const int whole = at(nodes_, index).dout[0][0];
  const int block = new_block(0, 0);
  lay(block, whole, joined(at(program_.nodes, index), whole)[slot]);
  return block;
}

// The diff that a value has in that of what was joined, for others to add to; -1: none.
int Plan::joined_diff(int value) const {
  for (const Part& part : at(values_, value).parts)
    if (part.node >= 0 && at(needs_, part.node).joins_channels && at(blocks_, part.block).pitch > 0)
      return part.block;
  return -1;
}

}  // namespace pcc
