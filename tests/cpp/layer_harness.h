// Builds one layer from prototxt text, infers its shapes and lowers it into a record of what it
// asked for.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "graph/layer.h"
#include "spec_text.h"

namespace pcc {

struct LoweredOp {
  OpDesc desc;
  std::vector<ValueId> ins;
  std::vector<ParamId> params;
  std::vector<ValueId> outs;
};

// A Lowering that only remembers. Values 0, 1, .. are the bottoms.
class RecordedLowering : public Lowering {
 public:
  explicit RecordedLowering(std::vector<Shape> bottoms) : shapes_(std::move(bottoms)) {}

  ValueId bottom(int index) const override { return index; }
  const Shape& shape(ValueId value) const override {
    return shapes_.at(static_cast<size_t>(value));
  }
  std::vector<ValueId> op(OpDesc desc, std::vector<ValueId> ins, std::vector<ParamId> params,
                          std::vector<Shape> outs) override {
    std::vector<ValueId> ids;
    for (Shape& shape : outs) ids.push_back(add(std::move(shape)));
    ops.push_back({std::move(desc), std::move(ins), std::move(params), ids});
    return ids;
  }
  ValueId view(ValueId value, const Shape& shape) override {
    PCC_CHECK(this->shape(value).count() == shape.count(), "a view changes the number of elements");
    views[static_cast<ValueId>(shapes_.size())] = value;
    return add(shape);
  }
  void top(int index, ValueId value) override {
    PCC_CHECK(tops.count(index) == 0, "top ", index, " is set twice");
    tops[index] = value;
  }
  ValueId input(const Shape& shape) override {
    inputs.push_back(add(shape));
    return inputs.back();
  }

  int feed(std::shared_ptr<RecordFeed> records, int64_t samples) override {
    PCC_CHECK(records != nullptr && samples > 0, "no records to feed");
    return feeds++;
  }

  int feeds = 0;
  std::vector<LoweredOp> ops;
  std::map<ValueId, ValueId> views;  // view -> what it is a view of
  std::map<int, ValueId> tops;
  std::vector<ValueId> inputs;

 private:
  ValueId add(Shape shape) {
    shapes_.push_back(std::move(shape));
    return static_cast<ValueId>(shapes_.size()) - 1;
  }

  std::vector<Shape> shapes_;
};

// A layer, built and lowered for the given bottoms. Bottoms are named b0, b1, .. and tops t0, t1,
// .. unless the text names some.
struct BuiltLayer {
  BuiltLayer(const std::string& text, std::vector<Shape> bottoms, LayerContext context = {},
             int tops = 1)
      : lowered(bottoms) {
    LayerSpec spec = parse_layer("name: 'x' " + text);
    if (spec.bottoms.empty())
      for (size_t i = 0; i < bottoms.size(); ++i) spec.bottoms.push_back("b" + std::to_string(i));
    if (spec.tops.empty())
      for (int i = 0; i < tops; ++i) spec.tops.push_back("t" + std::to_string(i));
    layer = make_layer(std::move(spec), std::move(context));
    shapes = layer->infer_shapes(bottoms);
    params = layer->params();
    layer->lower(lowered);
    PCC_CHECK(shapes.size() == lowered.tops.size(), "not every top was set");
    for (const auto& [index, value] : lowered.tops)
      PCC_CHECK(lowered.shape(value) == shapes[static_cast<size_t>(index)], "top ", index,
                " was lowered as ", lowered.shape(value), " and inferred as ",
                shapes[static_cast<size_t>(index)]);
  }

  // The only op, as the descriptor that it should be.
  template <typename Desc>
  const Desc& only() const {
    PCC_CHECK(lowered.ops.size() == 1, "expected one op; there are ", lowered.ops.size());
    return std::get<Desc>(lowered.ops[0].desc);
  }

  std::unique_ptr<Layer> layer;
  std::vector<Shape> shapes;
  std::vector<ParamDecl> params;
  RecordedLowering lowered;
};

inline LayerContext test_phase() {
  LayerContext context;
  context.train = false;
  return context;
}

inline LayerContext with_replicas(int64_t replicas) {
  LayerContext context;
  context.replicas = replicas;
  return context;
}

}  // namespace pcc
