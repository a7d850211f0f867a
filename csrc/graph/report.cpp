// What a net says of its plan: ops, memory, time.
#include <chrono>
#include <cstring>

#include "core/parallel.h"
#include "graph/net.h"

namespace pcc {

namespace {

// Puts the parameters' diffs, to which a backward pass adds, back as they were.
class ParamDiffs {
 public:
  explicit ParamDiffs(const std::vector<Param>& params) {
    for (const Param& param : params) {
      if (!param.diff) continue;
      const char* begin = param.diff.as<char>();
      saved_.push_back({param.diff, {begin, begin + param.diff.spec.bytes()}});
    }
  }
  ~ParamDiffs() {
    for (const auto& [diff, bytes] : saved_) std::memcpy(diff.data, bytes.data(), bytes.size());
  }
  ParamDiffs(const ParamDiffs&) = delete;
  ParamDiffs& operator=(const ParamDiffs&) = delete;

 private:
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
      row.out_bytes += value.shape.count() * size_of(options_.dtype);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

int64_t Net::memory_bytes() const {
  return plan_->arena_bytes() + plan_->persistent_bytes() + data_memory_->bytes() +
         diff_memory_->bytes();
}

std::vector<Net::NodeTime> Net::time_nodes() {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  const ThreadScope scope(threads_);
  const ParamDiffs before(built_.program.params);
  std::vector<NodeTime> times;
  take_in(0, false);
  ++state_.pass;
  for (const Node& node : built_.program.nodes) {
    NodeTime row;
    row.name = node.name;
    row.op = name_of(node.desc);
    row.layers = node.layers;
    if (!Program::made_once(node)) {
      const auto begin = Clock::now();
      node.op->forward(context());
      row.forward = seconds(begin);
    }
    times.push_back(std::move(row));
  }
  for (const BackwardStep& step : plan_->backward_steps()) {
    const auto begin = Clock::now();
    if (step.node < 0) {
      step.sum->forward(context());
      // Summing a diff is part of its reader's backward; readers come after, so charge the value's
      // producer.
      const int producer = at(built_.program.values, step.value).producer;
      if (producer >= 0) at(times, producer).backward += seconds(begin);
      continue;
    }
    at(built_.program.nodes, step.node).op->backward(context());
    at(times, step.node).backward += seconds(begin);
  }
  return times;
}

}  // namespace pcc
