#include "graph/build.h"

#include <algorithm>
#include <deque>
#include <set>

namespace pcc {

namespace {

template <typename T>
auto& at(T& list, int index) {
  return list[static_cast<size_t>(index)];
}

// Fields that mean something for every layer, or that the Python side and the builder deal with.
const char* const kCommonFields[] = {"name",    "type",        "bottom",        "top",
                                     "phase",   "loss_weight", "param",         "blobs",
                                     "include", "exclude",     "propagate_down"};

bool is_common(const std::string& path) {
  const std::string first = path.substr(0, path.find('.'));
  const bool engine = path.size() > 7 && path.compare(path.size() - 7, 7, ".engine") == 0;
  return engine || std::find(std::begin(kCommonFields), std::end(kCommonFields), first) !=
                       std::end(kCommonFields);
}

std::string shapes_text(const std::vector<std::string>& names, const std::vector<Shape>& shapes) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    text += concat(i ? ", '" : "'", names[i], "' ", shapes[i]);
  return text.empty() ? "none" : text;
}

void check_count(const LayerSpec& spec, const char* what, size_t got, int min, int max) {
  const int count = static_cast<int>(got);
  if (count >= min && (max < 0 || count <= max)) return;
  const std::string expected = min == max ? std::to_string(min)
                               : max < 0  ? "at least " + std::to_string(min)
                                          : concat(min, " to ", max);
  PCC_THROW(config, spec.title(), " takes ", expected, " ", what, "(s), but names ", count);
}

void check_arity(const Layer& layer, size_t bottoms, size_t tops) {
  const Arity arity = layer.arity();
  check_count(layer.spec(), "bottom", bottoms, arity.min_bottoms, arity.max_bottoms);
  check_count(layer.spec(), "top", tops, arity.min_tops, arity.max_tops);
  PCC_CONFIG(!arity.tops_equal_bottoms || bottoms == tops, layer.spec().title(),
             " makes as many tops as it has bottoms, but names ", bottoms, " bottom(s) and ", tops,
             " top(s)");
}

// The gradient flow of Net::Init: who wants one, who contributes to a loss, what propagate_down and
// force_backward say.
class GradientFlow {
 public:
  GradientFlow(Built& built, const NetOptions& options) : built_(built), options_(options) {}

  void resolve() {
    forwards();
    backwards();
    if (options_.force_backward) force();
  }

 private:
  void forwards() {
    std::map<int, bool> blob_needs;  // by blob: the latest version decides
    for (LayerInfo& info : built_.layers) {
      const Attributes& attributes = info.layer->spec().attributes;
      const auto propagate = propagate_down(info, attributes);
      info.bottom_need_backward.assign(info.bottoms.size(), false);
      info.need_backward = false;
      for (size_t b = 0; b < info.bottoms.size(); ++b) {
        bool need = blob_needs[info.bottom_blobs[b]];
        if (!propagate.empty()) need = propagate[b];
        info.need_backward |= need;
        info.bottom_need_backward[b] = need && info.layer->differentiable(static_cast<int>(b));
        PCC_CONFIG(
            !(need && !propagate.empty() && !info.layer->differentiable(static_cast<int>(b))),
            info.layer->spec().title(), ": propagate_down asks for a gradient to bottom '",
            info.bottoms[b], "', to which this layer has none");
      }
      for (const int p : info.params) info.need_backward |= wants(at(built_.program.params, p));
      for (const int blob : info.top_blobs) blob_needs[blob] = info.need_backward;
    }
  }

  static bool wants(const Param& param) { return !param.statistic && param.lr_mult != 0; }

  std::vector<bool> propagate_down(const LayerInfo& info, const Attributes& attributes) const {
    std::vector<bool> flags;
    const size_t count = attributes.size("propagate_down");
    PCC_CONFIG(count == 0 || count == info.bottoms.size(), info.layer->spec().title(),
               ": propagate_down is given ", count, " time(s) for ", info.bottoms.size(),
               " bottom(s)");
    for (const bool flag : attributes.bools("propagate_down")) flags.push_back(flag);
    return flags;
  }

  void backwards() {
    std::set<std::string> under_loss, skip;
    for (auto info = built_.layers.rbegin(); info != built_.layers.rend(); ++info) {
      bool contributes = false, skips = true;
      for (size_t t = 0; t < info->tops.size(); ++t) {
        if (info->loss_weights[t] != 0 || under_loss.count(info->tops[t])) contributes = true;
        if (!skip.count(info->tops[t])) skips = false;
        if (contributes && !skips) break;
      }
      if (info->need_backward && skips) {
        info->need_backward = false;
        std::fill(info->bottom_need_backward.begin(), info->bottom_need_backward.end(), false);
      }
      if (!contributes) info->need_backward = false;
      if (!info->layer->has_backward()) info->need_backward = false;
      for (size_t b = 0; b < info->bottoms.size(); ++b) {
        if (contributes)
          under_loss.insert(info->bottoms[b]);
        else
          info->bottom_need_backward[b] = false;
        if (!info->bottom_need_backward[b]) skip.insert(info->bottoms[b]);
      }
    }
  }

  void force() {
    for (LayerInfo& info : built_.layers) {
      if (!info.layer->has_backward()) continue;
      info.need_backward = true;
      for (size_t b = 0; b < info.bottoms.size(); ++b)
        if (info.layer->allow_force_backward(static_cast<int>(b)))
          info.bottom_need_backward[b] = true;
    }
  }

  Built& built_;
  const NetOptions& options_;
};

// The Lowering that a layer writes into. Handles are what the layer sees as values: a value under a
// shape.
class LayerLowering : public Lowering {
 public:
  LayerLowering(Built& built, int layer, const NetOptions& options,
                const std::map<std::string, Shape>& input_shapes)
      : built_(built),
        layer_(layer),
        options_(options),
        input_shapes_(input_shapes),
        info_(at(built.layers, layer)) {
    tops_.assign(info_.tops.size(), -1);
  }

  ValueId bottom(int index) const override {
    Operand operand;
    operand.value = at(info_.bottom_values, index);
    operand.shape = at(built_.program.values, operand.value).shape;
    operand.want_gradient =
        info_.bottom_need_backward[static_cast<size_t>(index)] && info_.need_backward;
    handles_.push_back(operand);
    return static_cast<ValueId>(handles_.size()) - 1;
  }

  const Shape& shape(ValueId value) const override { return at(handles_, value).shape; }

  ValueId view(ValueId value, const Shape& shape) override {
    Operand operand = at(handles_, value);
    PCC_CHECK(operand.shape.count() == shape.count(), info_.layer->spec().title(), ": a view of ",
              operand.shape, " as ", shape);
    operand.shape = shape;
    handles_.push_back(operand);
    return static_cast<ValueId>(handles_.size()) - 1;
  }

  // Inputs come in the order of the tops; Net::reshape may have given them other shapes than the
  // prototxt.
  ValueId input(const Shape& shape) override {
    const size_t top = inputs_++;
    const auto wanted =
        top < info_.tops.size() ? input_shapes_.find(info_.tops[top]) : input_shapes_.end();
    return add_value(wanted == input_shapes_.end() ? shape : wanted->second, -1, false);
  }

  std::vector<ValueId> op(OpDesc desc, std::vector<ValueId> ins, std::vector<ParamId> params,
                          std::vector<Shape> outs) override {
    Node node;
    node.desc = std::move(desc);
    node.name = info_.layer->spec().name;
    node.stream = hash_name(node.name.c_str());
    node.layers.push_back(layer_);
    bool gradient = false;
    for (const ValueId in : ins) {
      node.ins.push_back(at(handles_, in));
      gradient |= node.ins.back().want_gradient;
    }
    for (const ParamId param : params) {
      node.params.push_back(at(info_.params, param));
      gradient |= at(built_.program.params, node.params.back()).want_gradient;
    }
    const int place = static_cast<int>(built_.program.nodes.size());
    std::vector<ValueId> made;
    for (const Shape& shape : outs) {
      made.push_back(add_value(shape, place, gradient));
      node.outs.push_back(at(handles_, made.back()).value);
    }
    built_.program.nodes.push_back(std::move(node));
    return made;
  }

  void top(int index, ValueId value) override {
    Operand operand = at(handles_, value);
    const Value& source = at(built_.program.values, operand.value);
    const bool foreign = source.layer != layer_;  // a bottom passed on
    if ((foreign && !options_.fuse) || operand.shape != source.shape) {
      // In a net made for looking into, every top has memory of its own; and a top must have its
      // own shape.
      EltwiseDesc copy;
      copy.coeff = {1};
      value = op(copy, {value}, {}, {operand.shape})[0];
      operand = at(handles_, value);
    }
    at(tops_, index) = operand.value;
  }

  // Call after Layer::lower.
  const std::vector<int>& tops() const {
    for (size_t t = 0; t < tops_.size(); ++t)
      PCC_CHECK(tops_[t] >= 0, info_.layer->spec().title(), " did not lower its top ", t);
    return tops_;
  }

 private:
  ValueId add_value(const Shape& shape, int producer, bool gradient) {
    Value value;
    value.shape = shape;
    value.producer = producer;
    value.layer = layer_;
    value.gradient = gradient;
    Operand operand;
    operand.value = static_cast<int>(built_.program.values.size());
    operand.shape = shape;
    operand.want_gradient = gradient;
    built_.program.values.push_back(std::move(value));
    handles_.push_back(operand);
    return static_cast<ValueId>(handles_.size()) - 1;
  }

  Built& built_;
  int layer_;
  const NetOptions& options_;
  const std::map<std::string, Shape>& input_shapes_;
  LayerInfo& info_;
  mutable std::deque<Operand>
      handles_;  // a deque: layers hold references to shapes while values are added
  std::vector<int> tops_;
  size_t inputs_ = 0;
};

// Which blob each bottom and top is: an in-place top is another version of the blob, any other name
// twice is an error.
void name_blobs(Built& built) {
  std::map<std::string, int> latest;
  for (LayerInfo& info : built.layers) {
    const LayerSpec& spec = info.layer->spec();
    for (const std::string& bottom : spec.bottoms) {
      const auto found = latest.find(bottom);
      PCC_CONFIG(found != latest.end(), spec.title(), ": bottom '", bottom,
                 "' is not the top of any earlier layer of this phase");
      info.bottom_blobs.push_back(found->second);
    }
    for (const std::string& top : info.tops) {
      const bool in_place =
          std::find(spec.bottoms.begin(), spec.bottoms.end(), top) != spec.bottoms.end();
      const auto found = latest.find(top);
      PCC_CONFIG(in_place || found == latest.end(), spec.title(), ": top '", top,
                 "' is made by an earlier layer already; a layer may only reuse the name of its "
                 "own bottom");
      if (in_place) {
        info.top_blobs.push_back(found->second);
        continue;
      }
      latest[top] = static_cast<int>(built.blobs.size());
      info.top_blobs.push_back(latest[top]);
      built.blobs.push_back({top, {}});
    }
  }
}

void set_loss_weights(LayerInfo& info) {
  const LayerSpec& spec = info.layer->spec();
  const std::vector<double> weights = spec.attributes.doubles("loss_weight");
  PCC_CONFIG(weights.empty() || weights.size() == info.tops.size(), spec.title(),
             ": loss_weight is given ", weights.size(), " time(s) for ", info.tops.size(),
             " top(s)");
  for (size_t t = 0; t < info.tops.size(); ++t)
    info.loss_weights.push_back(
        weights.empty() ? info.layer->default_loss_weight(static_cast<int>(t)) : weights[t]);
}

// Adds the layer's parameters, resolving `param { name: ... }` to an owner as Net::AppendParam
// does.
void declare_params(Built& built, LayerInfo& info, std::map<std::string, int>& named) {
  const LayerSpec& spec = info.layer->spec();
  const std::vector<ParamDecl> decls = info.layer->params();
  const auto& specs = spec.attributes.subs("param");
  PCC_CONFIG(specs.size() <= decls.size(), spec.title(), " has ", decls.size(),
             " parameter blob(s), but ", specs.size(), " param { } entries");
  for (size_t i = 0; i < decls.size(); ++i) {
    Param param;
    param.layer = spec.name;
    param.index = static_cast<int>(i);
    param.shape = decls[i].shape;
    param.filler = decls[i].filler;
    param.statistic = decls[i].statistic;
    const int id = static_cast<int>(built.program.params.size());
    param.owner = id;
    bool lr_set = false, decay_set = false;
    if (i < specs.size()) {
      param.name = specs[i]->get_string("name");
      lr_set = specs[i]->has("lr_mult");
      decay_set = specs[i]->has("decay_mult");
      param.lr_mult = specs[i]->get_double("lr_mult");
      param.decay_mult = specs[i]->get_double("decay_mult");
    }
    if (param.statistic) {
      PCC_CONFIG(!lr_set || param.lr_mult == 0, spec.title(),
                 ": its statistics are not learned; param ", i, " must have lr_mult 0, but has ",
                 param.lr_mult);
      param.lr_mult = param.decay_mult = 0;
    }
    if (!param.name.empty()) {
      const auto [found, is_new] = named.try_emplace(param.name, id);
      if (!is_new) {
        Param& owner = at(built.program.params, found->second);
        param.owner = found->second;
        const bool permissive = specs[i]->get_string("share_mode") == "PERMISSIVE";
        const bool fits =
            permissive ? owner.shape.count() == param.shape.count() : owner.shape == param.shape;
        PCC_CONFIG(fits, spec.title(), ": shares param '", param.name, "' with layer '",
                   owner.layer, "', whose shape is ", owner.shape, "; here it would be ",
                   param.shape);
        PCC_CONFIG(!lr_set || param.lr_mult == owner.lr_mult, spec.title(), ": shared param '",
                   param.name, "' has lr_mult ", param.lr_mult, ", but ", owner.lr_mult,
                   " in layer '", owner.layer, "'");
        PCC_CONFIG(!decay_set || param.decay_mult == owner.decay_mult, spec.title(),
                   ": shared param '", param.name, "' has decay_mult ", param.decay_mult, ", but ",
                   owner.decay_mult, " in layer '", owner.layer, "'");
        param.lr_mult = owner.lr_mult;
        param.decay_mult = owner.decay_mult;
      }
    }
    info.params.push_back(id);
    built.program.params.push_back(std::move(param));
  }
}

}  // namespace

void make_layers(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
                 const NetOptions& options, Built& built) {
  PCC_CONFIG(!specs.empty(), "the net has no layers in phase ", options.train ? "TRAIN" : "TEST",
             "; check the include and exclude rules of its layers");
  for (const LayerSpec& spec : specs) {
    LayerContext context;
    context.train = options.train;
    context.replicas = options.replicas;
    if (const auto feed = feeds.find(spec.name); feed != feeds.end()) context.feed = feed->second;
    LayerInfo info;
    info.layer = make_layer(spec, context);
    info.bottoms = spec.bottoms;
    info.tops = spec.tops;
    if (info.layer->auto_top()) {
      const Arity arity = info.layer->arity();
      for (int t = static_cast<int>(info.tops.size()); t < arity.min_tops; ++t)
        info.tops.push_back("(automatic)");
    }
    check_arity(*info.layer, info.bottoms.size(), info.tops.size());
    set_loss_weights(info);
    built.layers.push_back(std::move(info));
  }
  name_blobs(built);
}

void lower_layers(const NetOptions& options, const std::map<std::string, Shape>& input_shapes,
                  Built& built) {
  const bool first_time = built.program.params.empty();
  std::vector<Param> params = std::move(built.program.params);
  built.program = Program{};
  if (!first_time) built.program.params = std::move(params);
  built.inputs.clear();
  built.outputs.clear();
  built.warnings.clear();
  std::map<std::string, int> named;
  std::vector<Shape> shapes(built.blobs.size());
  // Shapes and parameters first: the gradient flow needs every lr_mult, and lowering needs the
  // flow.
  for (LayerInfo& info : built.layers) {
    const LayerSpec& spec = info.layer->spec();
    std::vector<Shape> bottoms;
    for (const int blob : info.bottom_blobs) bottoms.push_back(at(shapes, blob));
    std::vector<Shape> tops = info.layer->infer_shapes(bottoms);
    PCC_CHECK(tops.size() == info.tops.size(), spec.title(), " inferred ", tops.size(),
              " shapes for ", info.tops.size(), " tops");
    for (size_t t = 0; t < tops.size(); ++t) {
      if (const auto wanted = input_shapes.find(info.tops[t]);
          wanted != input_shapes.end() && info.bottoms.empty())
        tops[t] = wanted->second;
      for (int axis = 0; axis < tops[t].axes(); ++axis)
        PCC_CONFIG(tops[t][axis] >= 0, spec.title(), ": top '", info.tops[t], "' would have shape ",
                   tops[t], " from bottoms ", shapes_text(info.bottoms, bottoms));
      at(shapes, info.top_blobs[t]) = tops[t];
    }
    if (first_time) {
      declare_params(built, info, named);
    } else {
      const std::vector<ParamDecl> decls = info.layer->params();
      for (size_t i = 0; i < decls.size(); ++i)
        PCC_CONFIG(decls[i].shape == at(built.program.params, info.params[i]).shape, spec.title(),
                   ": the new input shape would change parameter ", i, " from ",
                   at(built.program.params, info.params[i]).shape, " to ", decls[i].shape);
    }
    for (const std::string& field : spec.attributes.unread())
      if (!is_common(field))
        built.warnings.push_back(concat(spec.title(), ": field ", field,
                                        " is set, but this layer type does not use it"));
  }
  GradientFlow(built, options).resolve();
  for (const LayerInfo& info : built.layers)
    for (const int p : info.params) {
      Param& param = at(built.program.params, p);
      param.want_gradient =
          info.need_backward && !param.statistic && (param.lr_mult != 0 || options.force_backward);
    }

  for (BlobInfo& blob : built.blobs) blob.versions.clear();
  std::vector<int> latest(built.blobs.size(), -1);
  std::vector<bool> available(built.blobs.size(), false);
  for (size_t l = 0; l < built.layers.size(); ++l) {
    LayerInfo& info = built.layers[l];
    info.bottom_values.clear();
    for (const int blob : info.bottom_blobs) info.bottom_values.push_back(at(latest, blob));
    LayerLowering lowering(built, static_cast<int>(l), options, input_shapes);
    info.layer->lower(lowering);
    info.top_values = lowering.tops();
    for (const int blob : info.bottom_blobs) available[static_cast<size_t>(blob)] = false;
    for (size_t t = 0; t < info.tops.size(); ++t) {
      const int blob = info.top_blobs[t], value = info.top_values[t];
      Value& made = at(built.program.values, value);
      if (made.blob.empty()) made.blob = info.tops[t];
      at(built.blobs, blob).versions.push_back({static_cast<int>(l), value, made.shape});
      at(latest, blob) = value;
      available[static_cast<size_t>(blob)] = true;
      if (made.producer < 0) built.inputs.push_back(blob);
    }
  }
  for (size_t blob = 0; blob < built.blobs.size(); ++blob)
    if (available[blob]) {
      built.outputs.push_back(static_cast<int>(blob));
      at(built.program.values, at(latest, static_cast<int>(blob))).keep = true;
    }
  for (const std::string& name : options.keep) {
    const auto found = std::find_if(built.blobs.begin(), built.blobs.end(),
                                    [&](const BlobInfo& b) { return b.name == name; });
    PCC_CONFIG(found != built.blobs.end(), "keep: the net has no blob '", name, "'");
    at(built.program.values, found->versions.back().value).keep = true;
  }
}

}  // namespace pcc
