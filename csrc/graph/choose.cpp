#include <map>

#include "graph/program.h"
#include "graph/transfer_op.h"
#include "ops/host.h"

namespace pcc {

namespace {

class Chooser {
  using Readers = std::vector<std::vector<std::pair<int, int>>>;

 public:
  Chooser(Program& program, const Backend& backend, Device& device, bool gradients,
          std::vector<std::string>* fallbacks)
      : program_(program),
        backend_(backend),
        device_(device),
        gradients_(gradients),
        fallbacks_(fallbacks) {}

  void run() {
    const Readers readers = program_.readers();
    std::vector<Node> todo = std::move(program_.nodes);
    program_.nodes.clear();
    for (size_t n = 0; n < todo.size(); ++n) {
      todo[n].number = static_cast<uint32_t>(n);
      defer(todo[n], readers, todo);
      place(std::move(todo[n]));
    }
  }

 private:
  OpSite site_of(const Node& node) const {
    OpSite site;
    site.name = node.name;
    site.number = node.number;
    site.stream = node.stream;
    site.device = &device_;
    for (const Operand& operand : node.ins) {
      site.in.push_back(program_.spec_of(operand));
      site.want_din.push_back(gradients_ && operand.want_gradient);
    }
    for (const int out : node.outs) {
      const Value& value = at(program_.values, out);
      site.out.push_back({value.shape, value.dtype, Layout::plain});
    }
    for (const int param : node.params) {
      const Param& use = at(program_.params, param);
      site.params.push_back({use.shape, use.dtype, Layout::plain});
      site.want_dparam.push_back(gradients_ && at(program_.params, param).want_gradient);
    }
    return site;
  }

  // Where all who read a BatchNorm with ReLU are convolutions that had rather make of its input
  // what they read than have that written, they do.
  void defer(Node& node, const Readers& readers, std::vector<Node>& todo) {
    auto* const norm = std::get_if<NormActDesc>(&node.desc);
    if (!norm || !norm->relu || norm->negative_slope != 0 || norm->add) return;
    Value& y = at(program_.values, node.outs[0]);
    const Operand x = node.ins[0];
    if (y.keep || x.shape != y.shape || x.shape != at(program_.values, x.value).shape) return;
    const TensorSpec lies = program_.spec_of(x);
    const int64_t groups = norm->use_global_stats ? 1 : norm->groups;
    const auto& those = at(readers, node.outs[0]);
    int64_t cost = 0;
    for (const auto& [reader, slot] : those) {
      const auto* const conv = std::get_if<ConvDesc>(&at(todo, reader).desc);
      if (!conv || at(at(todo, reader).ins, slot).shape != y.shape) return;
      ConvDesc wanted = *conv;
      wanted.prologue = groups;
      OpSite site = site_of(at(todo, reader));
      site.in[0] = lies;
      const std::optional<int64_t> its = backend_.prologue_cost(wanted, site);
      if (!its) return;
      cost += *its;
    }
    // What it saves: that x is read to write y. The readers read one or the other.
    if (cost >= 2 * lies.bytes()) return;
    norm->deferred = true;
    y.gone = true;
    Value scales;
    scales.shape = {groups, y.shape[1], 3};
    scales.layer = y.layer;
    Operand operand;
    operand.value = static_cast<int>(program_.values.size());
    operand.shape = scales.shape;
    node.outs.push_back(operand.value);
    program_.values.push_back(std::move(scales));
    for (const auto& [reader, slot] : those) {
      Node& conv = at(todo, reader);
      std::get<ConvDesc>(conv.desc).prologue = groups;
      conv.ins.push_back(x);
      conv.ins.back().want_gradient = false;
      conv.ins.push_back(operand);
    }
  }

  void place(Node node) {
    const OpSite site = site_of(node);
    const FormChoice choice = backend_.forms(node.desc, site);
    PCC_CHECK(choice.in.size() == site.in.size() && choice.out.size() == site.out.size(),
              "backend ", backend_.name(), " voted for ", choice.in.size(), " inputs and ",
              choice.out.size(), " outputs of ", node.name, ", which has ", site.in.size(), " and ",
              site.out.size());
    if (try_make(node, site, choice, backend_)) return;
    const bool meant =
        belongs_on_host(node.desc) || (device_.host_visible() && is_plain_on_host(node.desc));
    if (fallbacks_ && !meant) fallbacks_->push_back(title_of(node.desc, site));
    // The plain loops run on the host: in the device's memory where they can reach it, else on
    // copies.
    const Place place = device_.host_visible() ? Place::device : Place::host;
    FormChoice plain;
    const auto on_host = [&](const TensorSpec& spec) {
      const bool narrow = spec.dtype == DType::bf16;  // for storage only
      return Form{Layout::plain, narrow ? DType::f32 : spec.dtype, place};
    };
    for (const TensorSpec& in : site.in) plain.in.push_back(on_host(in));
    for (const TensorSpec& out : site.out) plain.out.push_back(on_host(out));
    if (place == Place::host) node.place = Place::host;
    const bool made = try_make(node, site, plain, plain_backend());
    PCC_CHECK(made, "no backend can run ", name_of(node.desc), " of ", node.name);
  }

  static void give(TensorSpec& spec, const Form& form) {
    spec.layout = form.layout;
    spec.dtype = form.dtype;
    spec.place = form.place;
  }

  bool try_make(Node& node, OpSite site, const FormChoice& choice, const Backend& maker) {
    for (size_t i = 0; i < site.in.size(); ++i) give(site.in[i], choice.in[i]);
    for (size_t i = 0; i < site.out.size(); ++i) give(site.out[i], choice.out[i]);
    node.op = maker.make(node.desc, site);
    if (!node.op) return false;
    const int layer = node.layers.front();
    node.backend = maker.name();
    node.backward = site.backward();
    for (size_t i = 0; i < node.ins.size(); ++i)
      node.ins[i] = in_form(node.ins[i], choice.in[i], layer);
    const std::vector<int> outs = node.outs;
    for (size_t i = 0; i < outs.size(); ++i)
      if (choice.out[i].place == Place::host) {
        node.outs[i] = host_twin(outs[i], choice.out[i], layer);
      } else {
        Value& out = at(program_.values, outs[i]);
        out.layout = choice.out[i].layout;
        out.dtype = choice.out[i].dtype;
      }
    const std::vector<int> made = node.outs;
    add(std::move(node));
    // What others see of a net lies on the device.
    for (size_t i = 0; i < outs.size(); ++i)
      if (made[i] != outs[i]) bring_back(made[i], outs[i], layer);
    return true;
  }

  void add(Node node) {
    for (const int out : node.outs)
      at(program_.values, out).producer = static_cast<int>(program_.nodes.size());
    program_.nodes.push_back(std::move(node));
  }

  // A value on the host that stands for `value` where it is made there.
  int host_twin(int value, const Form& form, int layer) {
    const Value& of = at(program_.values, value);
    Value twin;
    twin.shape = of.shape;
    twin.gradient = of.gradient;
    twin.layer = layer;
    twin.layout = form.layout;
    twin.dtype = form.dtype;
    twin.place = Place::host;
    program_.values.push_back(std::move(twin));
    return static_cast<int>(program_.values.size()) - 1;
  }

  void bring_back(int twin, int value, int layer) {
    const Value& from = at(program_.values, twin);
    Value& to = at(program_.values, value);
    to.layout = from.layout;
    to.dtype = from.dtype;
    Operand operand;
    operand.value = twin;
    operand.shape = from.shape;
    operand.want_gradient = to.gradient;
    Node copy = transfer(operand, false, layer);
    copy.name = "copy of " + program_.name_of(value);
    copy.outs = {value};
    add(std::move(copy));
  }

  Node transfer(const Operand& operand, bool to_host, int layer) {
    Node copy;
    copy.desc = TransferDesc{to_host};
    copy.name = "copy of " + program_.name_of(operand.value);
    copy.ins = {operand};
    copy.layers = {layer};
    copy.op = std::make_unique<TransferOp>(device_, to_host);
    copy.backend = "host";
    copy.place = Place::host;
    copy.backward = gradients_ && operand.want_gradient;
    return copy;
  }

  // The operand in the wanted form: itself, or a converted copy that all readers of that form
  // share. A view under another shape starts from the plain layout, since blocks of the one shape
  // mean nothing to the other.
  Operand in_form(const Operand& operand, const Form& wanted, int layer) {
    const Value& value = at(program_.values, operand.value);
    if (operand.shape == value.shape) return converted(operand, wanted, layer);
    Operand whole = operand;
    whole.shape = value.shape;
    whole = converted(whole, {Layout::plain, value.dtype, value.place}, layer);
    whole.shape = operand.shape;
    return converted(whole, wanted, layer);
  }

  // Between places the form is changed on the device.
  Operand converted(const Operand& operand, const Form& wanted, int layer) {
    const TensorSpec now = program_.spec_of(operand);
    if (Form{now.layout, now.dtype, now.place} == wanted) return operand;
    if (now.place == wanted.place) return copied(operand, wanted, layer);
    if (wanted.place == Place::host)
      return copied(converted(operand, {wanted.layout, wanted.dtype, now.place}, layer), wanted,
                    layer);
    return converted(copied(operand, {now.layout, now.dtype, wanted.place}, layer), wanted, layer);
  }

  Operand copied(const Operand& operand, const Form& wanted, int layer) {
    auto [found, is_new] = copies_.try_emplace(
        {operand.value, operand.shape.dims(), wanted, operand.want_gradient}, -1);
    if (is_new) {
      Value copy;
      copy.shape = operand.shape;
      copy.layer = layer;
      copy.gradient = operand.want_gradient;
      copy.dtype = wanted.dtype;
      copy.layout = wanted.layout;
      copy.place = wanted.place;
      Node node = at(program_.values, operand.value).place == wanted.place
                      ? reorder(operand, wanted, layer)
                      : transfer(operand, wanted.place == Place::host, layer);
      found->second = static_cast<int>(program_.values.size());
      node.outs.push_back(found->second);
      program_.values.push_back(std::move(copy));
      add(std::move(node));
    }
    Operand changed = operand;
    changed.value = found->second;
    return changed;
  }

  Node reorder(const Operand& operand, const Form& wanted, int layer) {
    Node node;
    node.desc = ReorderDesc{};
    node.name = "reorder " + program_.name_of(operand.value);
    node.ins.push_back(operand);
    node.layers.push_back(layer);
    node.place = wanted.place;
    OpSite site = site_of(node);
    site.out.push_back(site.in[0]);
    give(site.out[0], wanted);
    const Backend& own = wanted.place == Place::host ? plain_backend() : backend_;
    MadeOp made = make_op(own, node.desc, site, fallbacks_);
    PCC_CHECK(made.backend == own.name() || device_.host_visible(), "backend ", own.name(),
              " cannot change ", site.in[0], " to ", site.out[0], " for ", node.name);
    node.op = std::move(made.op);
    node.backend = std::move(made.backend);
    node.backward = site.backward();
    return node;
  }

  struct CopyKey {
    int value;
    std::vector<int64_t> shape;
    Form form;
    bool gradient;
    auto operator<=>(const CopyKey&) const = default;
  };

  Program& program_;
  const Backend& backend_;
  Device& device_;
  bool gradients_;
  std::vector<std::string>* fallbacks_;
  std::map<CopyKey, int> copies_;
};

}  // namespace

void choose_ops(Program& program, const Backend& backend, Device& device, bool gradients,
                std::vector<std::string>* fallbacks) {
  Chooser(program, backend, device, gradients, fallbacks).run();
}

}  // namespace pcc
