#include "graph/program.h"

namespace pcc {

void ask_for_moments(Program& program, const Backend& backend, Device& device) {
  for (Node& node : program.nodes) {
    auto* const norm = std::get_if<NormActDesc>(&node.desc);
    if (!norm || norm->use_global_stats) continue;
    const Operand& x = node.ins[0];
    const int producer = at(program.values, x.value).producer;
    // What lasts may be written from outside.
    if (producer < 0 || at(program.values, x.value).keep) continue;
    Node& from = at(program.nodes, producer);
    auto* const conv = std::get_if<ConvDesc>(&from.desc);
    if (!conv || conv->moments > 0 || x.shape != at(program.values, x.value).shape) continue;
    OpSite site;
    site.name = from.name;
    site.device = &device;
    for (const Operand& in : from.ins) site.in.push_back(program.spec_of(in));
    site.out.push_back(at(program.values, x.value).spec());
    ConvDesc wanted = *conv;
    wanted.moments = norm->groups;
    if (!backend.gives_moments(wanted, site)) continue;
    *conv = wanted;
    norm->moments = true;
    Value moments;
    moments.shape = {norm->groups, x.shape[1], 2};
    moments.producer = producer;
    moments.layer = at(program.values, x.value).layer;
    Operand operand;
    operand.value = static_cast<int>(program.values.size());
    operand.shape = moments.shape;
    from.outs.push_back(operand.value);
    node.ins.push_back(std::move(operand));
    program.values.push_back(std::move(moments));
  }
}

}  // namespace pcc
