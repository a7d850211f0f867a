#include "layers/host.h"

#include <algorithm>

#include "layers/layer_base.h"

namespace pcc {

namespace {

class HostLayer : public LayerBase {
 public:
  HostLayer(LayerSpec spec, LayerContext context, std::shared_ptr<HostLayerFunction> function)
      : LayerBase(std::move(spec), std::move(context)), function_(std::move(function)) {
    const std::vector<std::string>& bottoms = this->spec().bottoms;
    for (size_t t = 0; t < top_count(); ++t) {
      const auto found = std::find(bottoms.begin(), bottoms.end(), this->spec().tops[t]);
      if (found != bottoms.end())
        over_.emplace_back(static_cast<int>(t), static_cast<int>(found - bottoms.begin()));
    }
  }

  HostLayerFunction* function() const { return function_.get(); }
  Arity arity() const override { return {0, -1, 0, -1, false}; }
  std::vector<ParamDecl> params() const override { return function_->params(); }
  bool varies() const override { return true; }
  void hold(bool held) override { function_->hold(held); }

  void lower(Lowering& to) const override {
    std::vector<ParamId> ids(params().size());
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<ParamId>(i);
    to.tops(to.op(HostOpDesc{function_, over_}, bottoms(to), ids, tops_));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "a layer of one's own");
    tops_ = function_->reshape(bottoms);
    require(tops_.size() == top_count(), "expected shapes of ", top_count(), " tops; got ",
            tops_.size());
    for (const auto& [top, bottom] : over_)
      require(tops_[static_cast<size_t>(top)] == bottoms[static_cast<size_t>(bottom)], "top '",
              spec().tops[static_cast<size_t>(top)], "' is in place and must keep the shape of ",
              bottom_text(static_cast<size_t>(bottom), bottoms[static_cast<size_t>(bottom)]),
              "; got ", tops_[static_cast<size_t>(top)]);
    return tops_;
  }

 private:
  std::shared_ptr<HostLayerFunction> function_;
  std::vector<std::pair<int, int>> over_;
  std::vector<Shape> tops_;
};

}  // namespace

std::unique_ptr<Layer> make_host_layer(LayerSpec spec, LayerContext context,
                                       std::shared_ptr<HostLayerFunction> function) {
  return std::make_unique<HostLayer>(std::move(spec), std::move(context), std::move(function));
}

HostLayerFunction* function_of(const Layer& layer) {
  const auto* host = dynamic_cast<const HostLayer*>(&layer);
  return host ? host->function() : nullptr;
}

}  // namespace pcc
