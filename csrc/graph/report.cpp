// What a net says of its plan: ops, memory, time.
#include <chrono>

#include "core/parallel.h"
#include "graph/net.h"

namespace pcc {

namespace {

// Puts the parameters' diffs, to which a backward pass adds, back as they were.
class ParamDiffs {
 public:
  ParamDiffs(Device& device, const std::vector<Param>& params) : device_(device) {
    for (const Param& param : params) {
      if (!param.diff) continue;
      saved_.push_back(
          {param.diff, std::vector<char>(static_cast<size_t>(param.diff.spec.bytes()))});
      device.download(saved_.back().second.data(), param.diff.data, param.diff.spec.bytes());
    }
  }
  ~ParamDiffs() {
    for (const auto& [diff, bytes] : saved_)
      device_.upload(diff.data, bytes.data(), static_cast<int64_t>(bytes.size()));
  }
  ParamDiffs(const ParamDiffs&) = delete;
  ParamDiffs& operator=(const ParamDiffs&) = delete;

 private:
  Device& device_;
  std::vector<std::pair<Tensor, std::vector<char>>> saved_;
};

}  // namespace

std::vector<PlanRow> Net::plan_rows() const {
  std::vector<PlanRow> rows;
  for (const Node& node : built_.program.nodes) {
    PlanRow row;
    row.op = name_of(node.desc);
    row.implementation = node.op->implementation();
    row.backend = node.backend;
    row.backward = node.backward;
    for (const int l : node.layers) row.layers.push_back(at(built_.layers, l).layer->spec().name);
    for (const Operand& in : node.ins)
      row.ins.push_back(concat(in.shape, " ", name_of(at(built_.program.values, in.value).layout)));
    for (const int out : node.outs) {
      const Value& value = at(built_.program.values, out);
      row.outs.push_back(concat(value.shape, " ", name_of(value.layout)));
      row.out_bytes += value.spec().bytes();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

int64_t Net::memory_bytes() const {
  return plan_->arena_bytes() + plan_->persistent_bytes() + data_block_.spec.bytes() +
         diff_block_.spec.bytes();
}

std::vector<Net::NodeTime> Net::time_nodes() {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  const ParamDiffs before(*device_, built_.program.params);
  std::vector<NodeTime> times;
  step_.parts = 0;
  begin_pass(0, static_cast<int>(built_.layers.size()) - 1);
  HostDevice host;
  const auto timed = [&](Op* op, Call::Action action, Place place) {
    const Call call{op, action};
    const bool on_host = place == Place::host;
    const auto begin = Clock::now();
    (on_host ? host : *device_).run(&call, 1, on_host ? contexts().host : context());
    device_->sync();
    return seconds(begin);
  };
  for (const Node& node : built_.program.nodes) {
    NodeTime row;
    row.name = node.name;
    row.op = name_of(node.desc);
    row.layers = node.layers;
    if (!Program::made_once(node))
      row.forward = timed(node.op.get(), Call::Action::forward, node.place);
    times.push_back(std::move(row));
  }
  for (const BackwardStep& step : plan_->backward_steps()) {
    if (step.node >= 0) {
      at(times, step.node).backward +=
          timed(at(built_.program.nodes, step.node).op.get(), Call::Action::backward,
                at(built_.program.nodes, step.node).place);
      continue;
    }
    // Summing a diff is part of its reader's backward; readers come after, so charge the value's
    // producer.
    const double taken =
        timed(step.sum.get(), Call::Action::forward, at(built_.program.values, step.value).place);
    const int producer = at(built_.program.values, step.value).producer;
    if (producer >= 0) at(times, producer).backward += taken;
  }
  return times;
}

}  // namespace pcc
