#include "graph/merge.h"

#include <algorithm>
#include <set>

namespace pcc {

namespace {

// Whether each sample's output depends on that sample alone, or is a mean over all predictions.
struct Separate {
  bool operator()(const ConvDesc&) const { return true; }
  bool operator()(const PoolDesc&) const { return true; }
  bool operator()(const LrnDesc&) const { return true; }
  bool operator()(const NormActDesc& d) const { return d.use_global_stats; }
  bool operator()(const AffineDesc& d) const { return !d.scale_from_input && !d.bias_from_input; }
  bool operator()(const PointwiseDesc&) const { return true; }
  bool operator()(const EltwiseDesc&) const { return true; }
  bool operator()(const ConcatDesc& d) const { return d.axis > 0; }
  bool operator()(const SliceDesc& d) const { return d.axis > 0; }
  bool operator()(const GemmDesc&) const { return true; }
  bool operator()(const SoftmaxDesc& d) const { return d.axis > 0; }
  bool operator()(const SoftmaxLossDesc& d) const {
    return d.axis > 0 && !d.has_ignore_label && d.normalization != Normalization::none;
  }
  bool operator()(const AccuracyDesc& d) const { return d.axis > 0 && !d.has_ignore_label; }
  bool operator()(const TransformDesc& d) const { return !d.mirror && !d.train; }
  bool operator()(const FieldDesc&) const { return true; }
  template <typename Desc>
  bool operator()(const Desc&) const {
    return false;
  }
};

bool gives_mean(const OpDesc& desc) {
  return std::holds_alternative<SoftmaxLossDesc>(desc) ||
         std::holds_alternative<AccuracyDesc>(desc);
}

// Whether b is a with twice as many samples.
bool doubled(const Shape& a, const Shape& b) {
  if (a.axes() == 0 || a.axes() != b.axes() || b[0] != 2 * a[0]) return false;
  return a.count(1) == b.count(1);
}

Built lowered(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
              NetOptions options, int64_t batches) {
  options.batches = batches;
  Built built;
  make_layers(specs, feeds, options, built);
  lower_layers(options, {}, built);
  return built;
}

}  // namespace

bool may_merge(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
               const NetOptions& options) {
  if (options.train || options.replicas > 1 || options.ranks > 1) return false;
  const Built one = lowered(specs, feeds, options, 1);
  const Program& program = one.program;
  const auto separate = [](const Node& node) { return std::visit(Separate{}, node.desc); };
  if (one.feeds.empty() || !one.inputs.empty() ||
      !std::all_of(program.nodes.begin(), program.nodes.end(), separate))
    return false;
  const Built two = lowered(specs, feeds, options, 2);
  if (two.program.nodes.size() != program.nodes.size()) return false;
  std::set<int> means;
  for (size_t n = 0; n < program.nodes.size(); ++n) {
    const Node &a = program.nodes[n], &b = two.program.nodes[n];
    for (size_t i = 0; i < a.ins.size(); ++i)
      if (!doubled(a.ins[i].shape, b.ins[i].shape)) return false;
    for (size_t o = 0; o < a.outs.size(); ++o)
      if (o == 0 && gives_mean(a.desc))
        means.insert(a.outs[o]);
      else if (!doubled(at(program.values, a.outs[o]).shape,
                        at(two.program.values, b.outs[o]).shape))
        return false;
  }
  const auto is_mean = [&](int value) { return means.count(value) > 0; };
  for (const LayerInfo& layer : one.layers)
    for (size_t t = 0; t < layer.tops.size(); ++t)
      if (layer.loss_weights[t] != 0 && !is_mean(layer.top_values[t])) return false;
  return std::all_of(one.outputs.begin(), one.outputs.end(),
                     [&](int blob) { return is_mean(at(one.blobs, blob).versions.back().value); });
}

}  // namespace pcc
