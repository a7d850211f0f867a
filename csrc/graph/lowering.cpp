// From a layer to nodes: the Lowering that a net's layers write into.
#include <deque>

#include "graph/steps.h"

namespace pcc {

namespace {

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

  int feed(std::shared_ptr<RecordFeed> records, int64_t samples) override {
    built_.feeds.push_back({std::move(records), samples, options_.batches, layer_});
    return static_cast<int>(built_.feeds.size()) - 1;
  }

  std::vector<ValueId> op(OpDesc desc, std::vector<ValueId> ins, std::vector<ParamId> params,
                          std::vector<Shape> outs) override {
    return add_node(std::move(desc), ins, params, outs, ops_++);
  }

  void top(int index, ValueId value) override {
    Operand operand = at(handles_, value);
    const Value& source = at(built_.program.values, operand.value);
    const bool foreign = source.layer != layer_;  // a bottom passed on
    if ((foreign && options_.keep_blobs) || operand.shape != source.shape) {
      // In a net made for looking into, every top has memory of its own; and a top must have its
      // own shape.
      EltwiseDesc copy;
      copy.coeff = {1};
      value = add_node(copy, {value}, {}, {operand.shape}, 0)[0];  // draws nothing
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
  // number: of the op among those that the layer asked for.
  std::vector<ValueId> add_node(OpDesc desc, const std::vector<ValueId>& ins,
                                const std::vector<ParamId>& params, const std::vector<Shape>& outs,
                                uint32_t number) {
    Node node;
    node.desc = std::move(desc);
    node.name = info_.layer->spec().name;
    node.stream = op_stream(node.name.c_str(), number);
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

  ValueId add_value(const Shape& shape, int producer, bool gradient) {
    Value value;
    value.shape = shape;
    value.producer = producer;
    value.layer = layer_;
    value.dtype = options_.dtype;
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
  uint32_t ops_ = 0;
};

}  // namespace

std::vector<int> lower_layer(Built& built, int layer, const NetOptions& options,
                             const std::map<std::string, Shape>& input_shapes) {
  LayerLowering lowering(built, layer, options, input_shapes);
  at(built.layers, layer).layer->lower(lowering);
  return lowering.tops();
}

}  // namespace pcc
