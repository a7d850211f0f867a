#include "graph/plan.h"

#include <algorithm>
#include <functional>

#include "graph/transfer.h"
#include "graph/transfer_op.h"
#include "graph/work.h"

namespace pcc {

namespace {

// A range of another memory, which lives as long.
class PartOfMemory : public Memory {
 public:
  PartOfMemory(std::shared_ptr<Memory> whole, const Tensor& part)
      : Memory(part.spec.bytes()), whole_(std::move(whole)) {
    data_ = static_cast<char*>(part.data);
  }

 private:
  std::shared_ptr<Memory> whole_;
};

}  // namespace

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
  first_writers_.assign(program.params.size(), -1);
  for (const Node& node : program.nodes) needs_.push_back(node.op->needs());
  for (size_t v = 0; v < program.values.size(); ++v) {
    const Value& value = program.values[v];
    if (value.gone) continue;
    values_[v].data = new_block(value.spec().bytes(), std::max(0, value.producer), value.place);
    Block& block = blocks_.back();
    block.persistent = keep || value.keep || program.from_outside(static_cast<int>(v));
    if (keep && gradients) {
      values_[v].diff = new_block(block.bytes, 0, value.place);
      blocks_.back().persistent = true;
    }
  }
  readers_ = program.readers();
  if (!keep) join_data();
  if (gradients) {
    plant_seeds(seeds);
    order_backward();
  }
  live();
  if (!keep) share();
  sizes_ = place(blocks_);
  const Placement on_host = place(blocks_, Place::host);
  host_persistent_ = std::make_shared<HostMemory>(on_host.persistent);
  host_arena_ = std::make_shared<HostMemory>(on_host.arena);
  persistent_ = allocate(sizes_.persistent);
  arena_ = lend && lend->bytes() >= sizes_.arena ? std::move(lend) : allocate(sizes_.arena);
  bind();
  line_up();
}

// --- binding

Tensor Plan::tensor(int block, const TensorSpec& spec) const {
  if (block < 0) return {nullptr, spec};
  const Block& root = at(blocks_, find(block));
  const bool on_host = root.place == Place::host;
  const Memory& memory = root.persistent ? (on_host ? *host_persistent_ : *persistent_)
                                         : (on_host ? *host_arena_ : *arena_);
  char* data = memory.data() + root.offset;
  for (int part = block; at(parent_, part) != part; part = at(parent_, part))
    data += at(blocks_, part).shift;
  return {data, spec, at(blocks_, block).pitch};
}

std::shared_ptr<Memory> Plan::lasting(const Tensor& tensor) const {
  const char* const begin = static_cast<const char*>(tensor.data);
  const std::less<> before;
  if (!keep_ || before(begin, persistent_->data()) ||
      !before(begin, persistent_->data() + persistent_->bytes()))
    return nullptr;
  return std::make_shared<PartOfMemory>(persistent_, tensor);
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
    buffers.adds = memory.adds;
    for (size_t i = 0; i < node.outs.size(); ++i) {
      const Value& value = at(program_.values, node.outs[i]);
      const TensorSpec spec = value.spec();
      buffers.out.push_back(tensor(at(values_, node.outs[i]).data, spec));
      buffers.dout.emplace_back();
      if (memory.backward_step >= 0)
        for (const int block : memory.dout[i]) buffers.dout.back().push_back(tensor(block, spec));
    }
    for (const int param : node.params) {
      const int writer = at(first_writers_, at(program_.params, param).owner);
      buffers.first.push_back(writer == static_cast<int>(n) &&
                              at(needs_, writer).overwrites_dparams);
      const Param& owner = at(program_.params, at(program_.params, param).owner);
      buffers.params.push_back(owner.data);
      Tensor diff = owner.diff;
      if (!at(program_.params, param).want_gradient || !gradients_) diff.data = nullptr;
      buffers.dparams.push_back(diff);
      buffers.params.back().spec.shape = buffers.dparams.back().spec.shape =
          at(program_.params, param).shape;
      if (node.place == Place::host) {
        buffers.params.back() =
            host_param(static_cast<int>(n), param, buffers.params.back(), false);
        buffers.dparams.back() =
            host_param(static_cast<int>(n), param, buffers.dparams.back(), true);
      }
    }
    buffers.stash = tensor(memory.stash, {}).data;
    buffers.prepared = tensor(memory.prepared, {}).data;
    buffers.scratch = tensor(memory.forward_scratch, {}).data;
    buffers.backward_scratch = tensor(memory.backward_scratch, {}).data;
    node.op->bind(buffers);
    moved_.push_back({bytes_forward(buffers, needs_[n]),
                      memory.backward_step >= 0 ? bytes_backward(buffers, needs_[n]) : 0});
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
    backward_[s].bytes = bytes_forward(buffers, {});
  }
}

// --- running

// The calls of both passes; constants are made here, once.
void Plan::line_up() {
  Course once;
  for (size_t n = 0; n < program_.nodes.size(); ++n) {
    const Node& node = program_.nodes[n];
    const bool is_once = program_.made_once(node);
    const int layer = node.layers.empty() ? -1 : node.layers.back();
    Course& course = is_once ? once : forward_;
    const auto bring_params = [&](Course& to) {
      for (const HostParam& param : host_params_)
        if (param.node == static_cast<int>(n) && !param.is_diff)
          to.add({param.down.get()}, node.place, layer);
    };
    if (needs_[n].prepared_bytes) {
      bring_params(prepare_);
      prepare_.add({node.op.get(), Call::Action::prepare}, node.place, layer);
    }
    bring_params(course);
    course.add({node.op.get()}, node.place, is_once ? -1 : layer);
    for (const HostParam& param : host_params_)
      if (param.node == static_cast<int>(n) && !param.is_diff)
        course.add({param.up.get()}, node.place, layer);
  }
  backward_course_ = backward_course({});
  const StepBlock none;  // constants draw nothing
  StepReport said;
  const Context context{&none, &said, nullptr};
  once.run(*device_, {context, context});
}

Course Plan::backward_course(const std::function<void(int, Course&)>& after) const {
  Course course;
  const auto add = [&](const BackwardStep& step) {
    if (step.node < 0) {
      const Place place = at(program_.values, step.value).place;
      return course.add({step.sum.get()}, place, step.layer);
    }
    const Node& node = at(program_.nodes, step.node);
    for (const HostParam& param : host_params_)
      if (param.node == step.node) course.add({param.down.get()}, node.place, step.layer);
    course.add({node.op.get(), Call::Action::backward}, node.place, step.layer);
    for (const HostParam& param : host_params_)
      if (param.node == step.node && param.is_diff)
        course.add({param.up.get()}, node.place, step.layer);
  };
  for (size_t s = 0; s < backward_.size(); ++s) {
    add(backward_[s]);
    if (after) after(static_cast<int>(s), course);
  }
  return course;
}

int Plan::written_by(int param) const {
  int last = 0;
  for (size_t s = 0; s < backward_.size(); ++s) {
    const int n = backward_[s].node;
    if (n < 0) continue;
    for (const int used : at(program_.nodes, n).params)
      if (at(program_.params, used).owner == param)
        last = std::max(last, static_cast<int>(s) + at(needs_, n).backward_lag);
  }
  return std::min(last, static_cast<int>(backward_.size()) - 1);
}

// A copy on the host of a parameter, for an op that runs there.
Tensor Plan::host_param(int node, int param, const Tensor& tensor, bool is_diff) {
  if (!tensor) return tensor;
  const Param& use = at(program_.params, param);
  HostParam copy;
  copy.node = node;
  copy.name =
      concat("copy of ", is_diff ? "the diff of " : "", "parameter ", use.index, " of ", use.layer);
  copy.is_diff = is_diff;
  copy.memory = std::make_shared<HostMemory>(tensor.spec.bytes());
  const Tensor host{copy.memory->data(), tensor.spec};
  const auto way = [&](const Tensor& from, const Tensor& to, bool to_host) {
    auto op = std::make_unique<TransferOp>(*device_, to_host);
    OpBuffers buffers;
    buffers.in = {from};
    buffers.out = {to};
    op->bind(buffers);
    return op;
  };
  copy.down = way(tensor, host, true);
  copy.up = way(host, tensor, false);
  host_params_.push_back(std::move(copy));
  return host;
}

}  // namespace pcc
