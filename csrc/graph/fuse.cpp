#include <algorithm>

#include "graph/program.h"

namespace pcc {

namespace {

// Grows one fused node at a time, from a BatchNorm forwards.
class Chain {
 public:
  Chain(Program& program, const std::vector<std::vector<std::pair<int, int>>>& readers,
        std::vector<bool>& gone)
      : program_(program), readers_(readers), gone_(gone) {}

  void grow(int start) {
    head_ = start;
    if (is_scale())
      absorb([](NormActDesc& norm, const Node& node) {
        norm.gain = true;
        norm.shift = std::get<AffineDesc>(node.desc).bias;
      });
    if (const int other = addend(); other >= 0) {
      const Operand operand = at(at(program_.nodes, next()).ins, other);
      absorb([](NormActDesc& norm, const Node&) { norm.add = true; });
      at(program_.nodes, head_).ins.push_back(operand);
    }
    if (is_relu())
      absorb([](NormActDesc& norm, const Node& node) {
        norm.relu = true;
        norm.negative_slope = std::get<PointwiseDesc>(node.desc).a;
      });
  }

 private:
  const Node& head() const { return at(program_.nodes, head_); }

  // The only reader of the chain's output, or -1: someone else sees the value, or it must be kept.
  int next() const {
    const int out = head().outs[0];
    const auto& list = at(readers_, out);
    if (list.size() != 1 || at(program_.values, out).keep) return -1;
    // Another chain took the reader, a sum of both: this one ends here.
    if (gone_[static_cast<size_t>(list[0].first)]) return -1;
    const Node& reader = at(program_.nodes, list[0].first);
    const Operand& operand = at(reader.ins, list[0].second);
    if (operand.shape != at(program_.values, out).shape) return -1;
    return list[0].first;
  }

  bool is_scale() const {
    const int reader = next();
    if (reader < 0) return false;
    const auto* affine = std::get_if<AffineDesc>(&at(program_.nodes, reader).desc);
    const Shape& shape = head().ins[0].shape;
    return affine && affine->scale && !affine->scale_from_input && !affine->bias_from_input &&
           shape.axes() >= 2 && affine->outer == shape[0] && affine->dim == shape[1];
  }

  // The slot of the other input of a plain two-way sum that reads the chain's output, or -1.
  int addend() const {
    const int reader = next();
    if (reader < 0) return -1;
    const Node& node = at(program_.nodes, reader);
    const auto* sum = std::get_if<EltwiseDesc>(&node.desc);
    if (!sum || sum->operation != EltwiseDesc::Operation::sum || node.ins.size() != 2) return -1;
    if (std::any_of(sum->coeff.begin(), sum->coeff.end(), [](double c) { return c != 1; }))
      return -1;
    const int mine = node.ins[0].value == head().outs[0] ? 0 : 1;
    const Operand& other = at(node.ins, 1 - mine);
    if (other.value == head().outs[0] || other.shape != head().ins[0].shape) return -1;
    // A gradient that stops at one of the two inputs is left to the unfused ops.
    if (!at(node.ins, mine).want_gradient && other.want_gradient) return -1;
    return 1 - mine;
  }

  bool is_relu() const {
    const int reader = next();
    if (reader < 0) return false;
    const auto* pointwise = std::get_if<PointwiseDesc>(&at(program_.nodes, reader).desc);
    return pointwise && pointwise->function == PointwiseDesc::Function::relu;
  }

  // Moves the chain's head to the reader's place, so that everything it reads has been made by
  // then.
  template <typename Change>
  void absorb(Change change) {
    const int place = next();
    Node& from = at(program_.nodes, head_);
    Node& into = at(program_.nodes, place);
    NormActDesc norm = std::get<NormActDesc>(from.desc);
    change(norm, into);
    from.layers.insert(from.layers.end(), into.layers.begin(), into.layers.end());
    from.params.insert(from.params.end(), into.params.begin(), into.params.end());
    from.name += "+" + into.name;
    from.outs = into.outs;
    from.desc = norm;
    into = std::move(from);
    at(program_.values, into.outs[0]).producer = place;
    gone_[static_cast<size_t>(head_)] = true;
    head_ = place;
  }

  Program& program_;
  const std::vector<std::vector<std::pair<int, int>>>& readers_;
  std::vector<bool>& gone_;
  int head_ = -1;
};

}  // namespace

void fuse(Program& program) {
  const auto readers = program.readers();
  std::vector<bool> gone(program.nodes.size(), false);
  Chain chain(program, readers, gone);
  for (size_t n = 0; n < program.nodes.size(); ++n) {
    const auto* norm = std::get_if<NormActDesc>(&program.nodes[n].desc);
    if (norm && !gone[n] && !norm->gain && !norm->add && !norm->relu)
      chain.grow(static_cast<int>(n));
  }
  std::vector<Node> left;
  std::vector<int> place(program.nodes.size(), -1);
  for (size_t n = 0; n < program.nodes.size(); ++n) {
    if (gone[n]) continue;
    place[n] = static_cast<int>(left.size());
    left.push_back(std::move(program.nodes[n]));
  }
  program.nodes = std::move(left);
  for (Value& value : program.values) {
    if (value.producer < 0) continue;
    value.gone = gone[static_cast<size_t>(value.producer)];
    value.producer = at(place, value.producer);
  }
}

}  // namespace pcc
