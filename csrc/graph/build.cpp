#include "graph/build.h"

#include <algorithm>

#include "graph/steps.h"

namespace pcc {

namespace {

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
      BlobInfo blob{top, {}};
      blob.memory_of = info.layer->shares_memory() ? at(built.blobs, info.bottom_blobs[0]).memory_of
                                                   : latest[top];
      built.blobs.push_back(std::move(blob));
    }
  }
}

// Which tops hold numbers of replica 0 alone. Of the others that have a weight, its part is cut
// out.
void tell_replicas(const LayerInfo& info, const std::vector<Shape>& tops, int64_t replicas,
                   std::vector<BlobInfo>& blobs) {
  const auto& bottoms = info.bottom_blobs;
  const bool first = !bottoms.empty() && std::all_of(bottoms.begin(), bottoms.end(), [&](int b) {
    return at(blobs, b).first_replica;
  });
  for (size_t t = 0; t < tops.size(); ++t) {
    BlobInfo& top = at(blobs, info.top_blobs[t]);
    top.first_replica =
        first || tops[t].axes() == 0 || info.layer->of_first_replica(static_cast<int>(t));
    PCC_CONFIG(info.loss_weights[t] == 0 || top.first_replica || tops[t][0] % replicas == 0,
               info.layer->spec().title(), ": top '", info.tops[t], "' (", tops[t],
               ") has a loss_weight, but its axis 0 does not divide into ", replicas, " replicas");
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

// Parameters that the layers so far have named, and who set the multipliers of each.
struct NamedParam {
  int owner = -1;
  bool lr_set = false, decay_set = false;
};
using NamedParams = std::map<std::string, NamedParam>;

// The first use that writes a multiplier sets it for all; another value later is an error. Written
// multipliers arrive in `lr` and `decay`, unwritten ones as null.
void share_multipliers(const LayerSpec& spec, const std::string& name, NamedParam& named,
                       Param& owner, const double* lr, const double* decay) {
  const auto share = [&](const char* what, bool& set, double& shared, const double* own) {
    if (!own) return;
    PCC_CONFIG(!set || shared == *own, spec.title(), ": shared param '", name, "' has ", what, " ",
               *own, ", but ", shared, " in layer '", owner.layer, "'");
    set = true;
    shared = *own;
  };
  share("lr_mult", named.lr_set, owner.lr_mult, lr);
  share("decay_mult", named.decay_set, owner.decay_mult, decay);
}

// Adds the layer's parameters, resolving `param { name: ... }` to an owner as Net::AppendParam
// does.
void declare_params(Built& built, LayerInfo& info, NamedParams& named) {
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
      const auto [found, is_new] = named.try_emplace(param.name, NamedParam{id, lr_set, decay_set});
      if (!is_new) {
        Param& owner = at(built.program.params, found->second.owner);
        param.owner = found->second.owner;
        const bool permissive = specs[i]->get_string("share_mode") == "PERMISSIVE";
        const bool fits =
            permissive ? owner.shape.count() == param.shape.count() : owner.shape == param.shape;
        PCC_CONFIG(fits, spec.title(), ": shares param '", param.name, "' with layer '",
                   owner.layer, "', whose shape is ", owner.shape, "; here it would be ",
                   param.shape);
        share_multipliers(spec, param.name, found->second, owner, lr_set ? &param.lr_mult : nullptr,
                          decay_set ? &param.decay_mult : nullptr);
      }
    }
    info.params.push_back(id);
    built.program.params.push_back(std::move(param));
  }
}

// Once all are declared: every use has its owner's multipliers.
void spread_multipliers(Program& program) {
  for (Param& param : program.params) {
    const Param& owner = at(program.params, param.owner);
    param.lr_mult = owner.lr_mult;
    param.decay_mult = owner.decay_mult;
  }
}

// On a reshape: parameters stay.
void check_params_stay(const LayerInfo& info, const Program& program) {
  const std::vector<ParamDecl> decls = info.layer->params();
  for (size_t i = 0; i < decls.size(); ++i) {
    const Shape& before = at(program.params, info.params[i]).shape;
    PCC_CONFIG(decls[i].shape == before, info.layer->spec().title(),
               ": the new input shape would change parameter ", i, " from ", before, " to ",
               decls[i].shape);
  }
}

// The shape of every blob, from the first layer on; parameters, which are declared the first time.
// at_layer: the one that it has come to.
void infer_all(const NetOptions& options, const std::map<std::string, Shape>& input_shapes,
               bool first_time, Built& built, int& at_layer) {
  NamedParams named;
  std::vector<Shape> shapes(built.blobs.size());
  for (at_layer = 0; at_layer < static_cast<int>(built.layers.size()); ++at_layer) {
    LayerInfo& info = at(built.layers, at_layer);
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
    tell_replicas(info, tops, options.replicas, built.blobs);
    if (first_time)
      declare_params(built, info, named);
    else
      check_params_stay(info, built.program);
    for (const std::string& field : spec.attributes.unread())
      if (!is_common(field))
        built.warnings.push_back(concat(spec.title(), ": field ", field,
                                        " is set, but this layer type does not use it"));
  }
}

// Tops that keep the shapes that they had: of a layer that is not lowered.
std::vector<int> keep_tops(const std::vector<std::vector<BlobInfo::Version>>& before, int layer,
                           const NetOptions& options, Built& built) {
  std::vector<int> values;
  for (const int blob : at(built.layers, layer).top_blobs) {
    Value value;
    for (const BlobInfo::Version& version : at(before, blob))
      if (version.layer == layer) value.shape = version.shape;
    value.layer = layer;
    value.dtype = options.dtype;
    values.push_back(static_cast<int>(built.program.values.size()));
    built.program.values.push_back(std::move(value));
  }
  return values;
}

// Values and nodes of every layer. Returns for each blob the value that nobody has read, or -1.
std::vector<int> lower_all(const NetOptions& options,
                           const std::map<std::string, Shape>& input_shapes, Built& built) {
  std::vector<std::vector<BlobInfo::Version>> before;
  for (BlobInfo& blob : built.blobs) before.push_back(std::exchange(blob.versions, {}));
  std::vector<int> latest(built.blobs.size(), -1), unread = latest;
  for (size_t l = 0; l < built.layers.size(); ++l) {
    LayerInfo& info = built.layers[l];
    info.bottom_values.clear();
    for (const int blob : info.bottom_blobs) info.bottom_values.push_back(at(latest, blob));
    const int layer = static_cast<int>(l);
    const bool fits = built.unfit < 0 || layer < built.unfit;
    info.top_values = fits ? lower_layer(built, layer, options, input_shapes)
                           : keep_tops(before, layer, options, built);
    for (const int blob : info.bottom_blobs) at(unread, blob) = -1;
    for (size_t t = 0; t < info.tops.size(); ++t) {
      const int blob = info.top_blobs[t], value = info.top_values[t];
      Value& made = at(built.program.values, value);
      if (made.blob.empty()) made.blob = info.tops[t];
      at(built.blobs, blob).versions.push_back({layer, value, made.shape});
      at(latest, blob) = at(unread, blob) = value;
      // A loss is read after the pass, though a later layer may read it, too.
      made.keep |= info.loss_weights[t] != 0;
      // A Split of an input passes the same value on; the input is still one.
      if (made.producer < 0 && made.layer == layer && fits) built.inputs.push_back(blob);
    }
  }
  return unread;
}

// What nobody reads is an output, and stays to be looked at, as do the blobs that were asked for.
void keep_outputs(const std::vector<int>& unread, const NetOptions& options, Built& built) {
  for (size_t blob = 0; blob < unread.size(); ++blob)
    if (unread[blob] >= 0) {
      built.outputs.push_back(static_cast<int>(blob));
      at(built.program.values, unread[blob]).keep = true;
    }
  // Caffe's order, in which logs number them: it takes them from a std::set of their names.
  std::sort(built.outputs.begin(), built.outputs.end(),
            [&](int a, int b) { return at(built.blobs, a).name < at(built.blobs, b).name; });
  for (const std::string& name : options.keep) {
    const auto found = std::find_if(built.blobs.begin(), built.blobs.end(),
                                    [&](const BlobInfo& b) { return b.name == name; });
    PCC_CONFIG(found != built.blobs.end(), "keep: the net has no blob '", name, "'");
    at(built.program.values, found->versions.back().value).keep = true;
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
    context.dtype = options.dtype;
    context.replicas = options.replicas;
    context.ranks = options.ranks;
    context.batches = options.batches;
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
  built.program.params = std::move(params);
  built.feeds.clear();
  built.inputs.clear();
  built.outputs.clear();
  built.warnings.clear();
  // Shapes and parameters first: the gradient flow needs every lr_mult, and lowering needs the
  // flow.
  built.unfit = -1;
  int layer = 0;
  try {
    infer_all(options, input_shapes, first_time, built, layer);
  } catch (const Error& error) {
    if (first_time || error.kind() != ErrorKind::config) throw;
    built.unfit = layer;
    built.why = std::current_exception();
  }
  spread_multipliers(built.program);
  for (Param& param : built.program.params) param.dtype = options.dtype;
  resolve_gradients(built, options.force_backward);
  keep_outputs(lower_all(options, input_shapes, built), options, built);
}

}  // namespace pcc
