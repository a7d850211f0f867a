// Who gets a gradient: what layers under a loss have parameters, or bottoms that have, and what
// propagate_down and force_backward say. Source: Caffe's net.cpp, Init.
#include <algorithm>
#include <set>

#include "graph/steps.h"

namespace pcc {

namespace {

class GradientFlow {
 public:
  explicit GradientFlow(Built& built) : built_(built) {}

  void resolve() {
    forwards();
    backwards();
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

 private:
  void forwards() {
    std::map<int, bool> blob_needs;  // by blob: the latest version decides
    for (LayerInfo& info : built_.layers) {
      const Attributes& attributes = info.layer->spec().attributes;
      const auto propagate = propagate_down(info, attributes);
      info.bottom_need_backward.assign(info.bottoms.size(), false);
      info.need_backward = false;
      for (size_t b = 0; b < info.bottoms.size(); ++b) {
        // As in Caffe's Init: propagate_down rules over what the layer sends down, not over whether
        // a gradient comes to it.
        bool need = blob_needs[info.bottom_blobs[b]];
        info.need_backward |= need;
        if (!propagate.empty()) need = propagate[b];
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
        warn_of_idle_loss(*info);
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

  void warn_of_idle_loss(const LayerInfo& info) {
    for (size_t t = 0; t < info.tops.size(); ++t)
      if (info.loss_weights[t] != 0)
        built_.warnings.push_back(concat(
            info.layer->spec().title(), ": its loss '", info.tops[t],
            "' is read by a layer that sends no gradient back, so that nothing learns from it, as "
            "in Caffe. To learn from it, write its loss_weight out"));
  }

  Built& built_;
};

}  // namespace

void resolve_gradients(Built& built, bool force_backward) {
  GradientFlow flow(built);
  flow.resolve();
  if (force_backward) flow.force();
  for (const LayerInfo& info : built.layers)
    for (const int p : info.params) {
      Param& param = at(built.program.params, p);
      param.want_gradient =
          info.need_backward && !param.statistic && (param.lr_mult != 0 || force_backward);
    }
}

}  // namespace pcc
