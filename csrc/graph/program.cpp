#include "graph/program.h"

namespace pcc {

TensorSpec Program::spec_of(const Operand& operand) const {
  const Value& value = at(values, operand.value);
  return {operand.shape, value.dtype, operand.shape == value.shape ? value.layout : Layout::plain,
          value.place};
}

bool Program::made_once(const Node& node) const {
  if (const auto* way = std::get_if<TransferDesc>(&node.desc)) {
    const int producer = at(values, node.ins[0].value).producer;
    return !way->to_host && producer >= 0 && made_once(at(nodes, producer));
  }
  const auto* made = std::get_if<FillDesc>(&node.desc);
  return made && made->filler.type == FillerDesc::Type::constant;
}

std::string Program::name_of(int value) const {
  const std::string& blob = at(values, value).blob;
  return blob.empty() ? "value " + std::to_string(value) : blob;
}

bool Program::from_outside(int value) const {
  const int producer = at(values, value).producer;
  return producer < 0 || made_once(at(nodes, producer));
}

std::vector<std::vector<std::pair<int, int>>> Program::readers() const {
  std::vector<std::vector<std::pair<int, int>>> readers(values.size());
  for (size_t n = 0; n < nodes.size(); ++n)
    for (size_t slot = 0; slot < nodes[n].ins.size(); ++slot)
      readers[static_cast<size_t>(nodes[n].ins[slot].value)].push_back(
          {static_cast<int>(n), static_cast<int>(slot)});
  return readers;
}

}  // namespace pcc
