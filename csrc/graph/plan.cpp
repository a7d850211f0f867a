#include "graph/plan.h"

#include <algorithm>

#include "graph/transfer.h"

namespace pcc {

Plan::Plan(Program& program, const Backend& backend, std::shared_ptr<Device> device, bool keep,
           bool gradients, const std::vector<std::pair<int, double>>& seeds,
           std::shared_ptr<Memory> lend)
    : program_(program),
      backend_(backend),
      device_(std::move(device)),
      keep_(keep),
      gradients_(gradients) {
  values_.resize(program.values.size());
  nodes_.resize(program.nodes.size());
  for (const Node& node : program.nodes) needs_.push_back(node.op->needs());
  for (size_t v = 0; v < program.values.size(); ++v) {
    const Value& value = program.values[v];
    if (value.gone) continue;
    values_[v].data = new_block(value.spec().bytes(), std::max(0, value.producer));
    Block& block = blocks_.back();
    block.persistent = keep || value.keep || program.from_outside(static_cast<int>(v));
    if (keep && gradients) {
      values_[v].diff = new_block(block.bytes, 0);
      blocks_.back().persistent = true;
    }
  }
  if (gradients) {
    plant_seeds(seeds);
    order_backward();
  }
  live();
  if (!keep) share();
  sizes_ = place(blocks_);
  persistent_ = device_->allocate(sizes_.persistent);
  arena_ =
      lend && lend->bytes() >= sizes_.arena ? std::move(lend) : device_->allocate(sizes_.arena);
  bind();
  line_up();
}

// --- binding

Tensor Plan::tensor(int block, const TensorSpec& spec) const {
  if (block < 0) return {nullptr, spec};
  const Block& root = at(blocks_, find(block));
  const Memory& memory = root.persistent ? *persistent_ : *arena_;
  return {memory.data() + root.offset, spec};
}

void Plan::bind() {
  for (size_t v = 0; v < values_.size(); ++v) {
    const Value& value = program_.values[v];
    const TensorSpec spec = value.spec();
    data_.push_back(tensor(values_[v].data, spec));
    diff_.push_back(tensor(values_[v].diff, spec));
  }
  for (size_t v = 0; v < values_.size(); ++v)
    for (const Part& part : values_[v].parts) {
      if (part.node >= 0) continue;
      const Value& value = program_.values[v];
      fill(*device_, tensor(part.block, {value.shape, value.dtype, Layout::plain}), part.weight);
    }
  for (size_t n = 0; n < nodes_.size(); ++n) {
    const Node& node = program_.nodes[n];
    const NodeMemory& memory = nodes_[n];
    OpBuffers buffers;
    for (size_t i = 0; i < node.ins.size(); ++i) {
      const Operand& operand = node.ins[i];
      const TensorSpec spec = program_.spec_of(operand);
      buffers.in.push_back(tensor(at(values_, operand.value).data, spec));
      buffers.din.push_back(tensor(memory.din.empty() ? -1 : memory.din[i], spec));
    }
    for (size_t i = 0; i < node.outs.size(); ++i) {
      const Value& value = at(program_.values, node.outs[i]);
      const TensorSpec spec = value.spec();
      buffers.out.push_back(tensor(at(values_, node.outs[i]).data, spec));
      buffers.dout.emplace_back();
      if (memory.backward_step >= 0)
        for (const int block : memory.dout[i]) buffers.dout.back().push_back(tensor(block, spec));
    }
    for (const int param : node.params) {
      const Param& owner = at(program_.params, at(program_.params, param).owner);
      buffers.params.push_back(owner.data);
      Tensor diff = owner.diff;
      if (!at(program_.params, param).want_gradient || !gradients_) diff.data = nullptr;
      buffers.dparams.push_back(diff);
      buffers.params.back().spec.shape = buffers.dparams.back().spec.shape =
          at(program_.params, param).shape;
    }
    buffers.stash = tensor(memory.stash, {}).data;
    buffers.scratch = tensor(memory.forward_scratch, {}).data;
    buffers.backward_scratch = tensor(memory.backward_scratch, {}).data;
    node.op->bind(buffers);
  }
  for (size_t s = 0; s < backward_.size(); ++s) {
    if (!backward_[s].sum) continue;
    OpBuffers buffers;
    const std::vector<int>& list = sum_blocks_[s];
    const Value& value = at(program_.values, backward_[s].value);
    const TensorSpec flat{Shape{value.shape.count()}, value.dtype, Layout::plain};
    for (size_t i = 0; i + 1 < list.size(); ++i) buffers.in.push_back(tensor(list[i], flat));
    buffers.out.push_back(tensor(list.back(), flat));
    buffers.dout.emplace_back();
    buffers.din.assign(buffers.in.size(), Tensor{});
    backward_[s].sum->bind(buffers);
  }
}

// --- running

// The calls of both passes; constants are made here, once.
void Plan::line_up() {
  std::vector<Call> once;
  for (const Node& node : program_.nodes) {
    if (Program::made_once(node)) {
      once.push_back({node.op.get(), false});
      continue;
    }
    forward_.calls.push_back({node.op.get(), false});
    forward_layers_.push_back(node.layers.empty() ? -1 : node.layers.back());
  }
  for (const BackwardStep& step : backward_) {
    const bool is_sum = step.node < 0;
    Op* const op = is_sum ? step.sum.get() : at(program_.nodes, step.node).op.get();
    backward_unit_.calls.push_back({op, !is_sum});
    backward_layers_.push_back(step.layer);
  }
  const StepBlock none;  // constants draw nothing
  device_->run(once.data(), once.size(), Context{&none});
}

void Plan::forward(const Context& context) { device_->run(forward_, context); }
void Plan::backward(const Context& context) { device_->run(backward_unit_, context); }

void Plan::forward(const Context& context, int first_layer, int last_layer) {
  run_layers(forward_, forward_layers_, context, first_layer, last_layer);
}

void Plan::backward(const Context& context, int first_layer, int last_layer) {
  run_layers(backward_unit_, backward_layers_, context, last_layer, first_layer);
}

// The calls of the layers [low, high], in as few runs as can be.
void Plan::run_layers(const Unit& unit, const std::vector<int>& layers, const Context& context,
                      int low, int high) {
  const auto wanted = [&](size_t call) {
    return layers[call] < 0 || (layers[call] >= low && layers[call] <= high);
  };
  for (size_t begin = 0, end; begin < layers.size(); begin = end) {
    end = begin + 1;
    if (!wanted(begin)) continue;
    while (end < layers.size() && wanted(end)) ++end;
    device_->run(unit.calls.data() + begin, end - begin, context);
  }
}

}  // namespace pcc
