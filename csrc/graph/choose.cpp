#include <map>

#include "graph/program.h"

namespace pcc {

namespace {

class Chooser {
 public:
  Chooser(Program& program, const Backend& backend, Device& device, bool training,
          std::vector<std::string>* fallbacks)
      : program_(program),
        backend_(backend),
        device_(device),
        training_(training),
        fallbacks_(fallbacks) {}

  void run() {
    std::vector<Node> todo = std::move(program_.nodes);
    program_.nodes.clear();
    for (Node& node : todo) place(std::move(node));
  }

 private:
  OpSite site_of(const Node& node) const {
    OpSite site;
    site.name = node.name;
    site.number = static_cast<uint32_t>(program_.nodes.size());
    site.stream = node.stream;
    site.training = training_;
    site.device = &device_;
    for (const Operand& operand : node.ins) {
      site.in.push_back(program_.spec_of(operand));
      site.want_din.push_back(training_ && operand.want_gradient);
    }
    for (const int out : node.outs) {
      const Value& value = at(program_.values, out);
      site.out.push_back({value.shape, value.dtype, Layout::plain});
    }
    for (const int param : node.params) {
      const Param& use = at(program_.params, param);
      site.params.push_back({use.shape, use.dtype, Layout::plain});
      site.want_dparam.push_back(training_ && at(program_.params, param).want_gradient);
    }
    return site;
  }

  void place(Node node) {
    OpSite site = site_of(node);
    const LayoutChoice choice = backend_.layouts(node.desc, site);
    PCC_CHECK(choice.in.size() == site.in.size() && choice.out.size() == site.out.size(),
              "backend ", backend_.name(), " voted for ", choice.in.size(), " inputs and ",
              choice.out.size(), " outputs of ", node.name, ", which has ", site.in.size(), " and ",
              site.out.size());
    if (try_make(node, site, choice, backend_)) return;
    if (fallbacks_ && backend_.name() != "reference")
      fallbacks_->push_back(node.name + " (" + name_of(node.desc) + ")");
    const LayoutChoice plain{std::vector<Layout>(site.in.size(), Layout::plain),
                             std::vector<Layout>(site.out.size(), Layout::plain)};
    const bool made = try_make(node, site, plain, backend("reference"));
    PCC_CHECK(made, "no backend can run ", name_of(node.desc), " of ", node.name);
  }

  bool try_make(Node& node, OpSite site, const LayoutChoice& choice, const Backend& maker) {
    for (size_t i = 0; i < site.in.size(); ++i) site.in[i].layout = choice.in[i];
    for (size_t i = 0; i < site.out.size(); ++i) site.out[i].layout = choice.out[i];
    node.op = maker.make(node.desc, site);
    if (!node.op) return false;
    node.backend = maker.name();
    node.backward = site.backward();
    for (size_t i = 0; i < node.ins.size(); ++i)
      node.ins[i] = in_layout(node.ins[i], choice.in[i], node.layers.front());
    for (size_t i = 0; i < node.outs.size(); ++i) {
      Value& out = at(program_.values, node.outs[i]);
      out.layout = choice.out[i];
      out.producer = static_cast<int>(program_.nodes.size());
    }
    program_.nodes.push_back(std::move(node));
    return true;
  }

  // The operand in the wanted layout: itself, or a reordered copy that all readers of that layout
  // share. A view under another shape starts from the plain layout, since blocks of the one shape
  // mean nothing to the other.
  Operand in_layout(const Operand& operand, Layout wanted, int layer) {
    const Value value = at(program_.values, operand.value);
    if (operand.shape == value.shape)
      return value.layout == wanted ? operand : reordered(operand, wanted, layer);
    Operand whole = operand;
    whole.shape = value.shape;
    if (value.layout != Layout::plain) whole = reordered(whole, Layout::plain, layer);
    whole.shape = operand.shape;
    return wanted == Layout::plain ? whole : reordered(whole, wanted, layer);
  }

  Operand reordered(const Operand& operand, Layout wanted, int layer) {
    auto [found, is_new] = copies_.try_emplace(
        {operand.value, operand.shape.dims(), wanted, operand.want_gradient}, -1);
    if (is_new) {
      const Value value = at(program_.values, operand.value);
      Node reorder;
      reorder.desc = ReorderDesc{};
      reorder.name =
          "reorder " + (value.blob.empty() ? "value " + std::to_string(operand.value) : value.blob);
      reorder.ins.push_back(operand);
      reorder.layers.push_back(layer);
      Value copy;
      copy.shape = operand.shape;
      copy.layer = layer;
      copy.gradient = operand.want_gradient;
      copy.dtype = value.dtype;
      copy.layout = wanted;
      found->second = static_cast<int>(program_.values.size());
      reorder.outs.push_back(found->second);
      program_.values.push_back(copy);
      OpSite site = site_of(reorder);
      site.out[0].layout = wanted;
      for (const Backend* maker : {&backend_, &backend("reference")}) {
        reorder.op = maker->make(reorder.desc, site);
        reorder.backend = maker->name();
        if (reorder.op) break;
      }
      reorder.backward = site.backward();
      at(program_.values, found->second).producer = static_cast<int>(program_.nodes.size());
      program_.nodes.push_back(std::move(reorder));
    }
    Operand changed = operand;
    changed.value = found->second;
    return changed;
  }

  struct CopyKey {
    int value;
    std::vector<int64_t> shape;
    Layout layout;
    bool gradient;
    auto operator<=>(const CopyKey&) const = default;
  };

  Program& program_;
  const Backend& backend_;
  Device& device_;
  bool training_;
  std::vector<std::string>* fallbacks_;
  std::map<CopyKey, int> copies_;
};

}  // namespace

void choose_ops(Program& program, const Backend& backend, Device& device, bool training,
                std::vector<std::string>* fallbacks) {
  Chooser(program, backend, device, training, fallbacks).run();
}

}  // namespace pcc
