// What a net says of its plan: ops, memory, time.
#include <map>

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

// Summing a diff is part of its reader's backward; readers come after, so charge the value's
// producer.
void Net::charge_sums(std::map<const Op*, size_t>& rows) const {
  for (const BackwardStep& step : plan_->backward_steps()) {
    const int producer = step.sum ? at(built_.program.values, step.value).producer : -1;
    if (producer >= 0) rows[step.sum.get()] = rows.at(at(built_.program.nodes, producer).op.get());
  }
}

std::vector<PlanRow> Net::plan_rows() const {
  std::vector<PlanRow> rows;
  std::map<const Op*, size_t> row_of;
  for (const Node& node : built_.program.nodes) {
    PlanRow row;
    row_of[node.op.get()] = rows.size();
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
      if (!value.gone) row.out_bytes += value.spec().bytes();
    }
    const int n = static_cast<int>(rows.size());
    row.forward_work.bytes = plan_->moved(n).forward;
    row.backward_work.bytes = plan_->moved(n).backward;
    const bool multiplies = !node.ins.empty() && !node.outs.empty();
    const int64_t product = multiplies
                                ? flops_of_product(node.desc, node.ins[0].shape,
                                                   at(built_.program.values, node.outs[0]).shape)
                                : 0;
    row.forward_work.flops = product;
    const bool weights =
        !node.params.empty() && at(built_.program.params, node.params[0]).want_gradient;
    if (node.backward)
      row.backward_work.flops = product * (int{weights} + int{node.ins[0].want_gradient});
    rows.push_back(std::move(row));
  }
  charge_sums(row_of);
  for (const BackwardStep& step : plan_->backward_steps())
    if (const auto row = row_of.find(step.sum.get()); step.sum && row != row_of.end())
      rows[row->second].backward_work.bytes += step.bytes;
  const Context device = context(true);
  const auto count = [&](const Course& course, Work PlanRow::* work) {
    std::vector<Call> calls;
    course.each([&](const Call& call, Place place) {
      if (place == Place::device) calls.push_back(call);
    });
    const std::vector<int64_t> launches = device_->launches(calls.data(), calls.size(), device);
    for (size_t i = 0; i < launches.size(); ++i)
      if (const auto row = row_of.find(calls[i].op); row != row_of.end())
        (rows[row->second].*work).launches += launches[i];
  };
  count(plan_->prepare_course(), &PlanRow::forward_work);
  count(plan_->forward_course(), &PlanRow::forward_work);
  count(plan_->backward_course(), &PlanRow::backward_work);
  return rows;
}

int64_t Net::memory_bytes() const {
  return plan_->arena_bytes() + plan_->persistent_bytes() + data_block_.spec.bytes() +
         diff_block_.spec.bytes();
}

std::vector<Net::NodeTime> Net::time_nodes() {
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  const ParamDiffs before(*device_, built_.program.params);
  std::vector<NodeTime> times;
  std::map<const Op*, size_t> rows;
  const std::vector<Node>& nodes = built_.program.nodes;
  for (size_t n = 0; n < nodes.size(); ++n) {
    rows[nodes[n].op.get()] = times.size();
    times.push_back({nodes[n].name, name_of(nodes[n].desc), nodes[n].layers});
    for (const Plan::HostParam& copy : plan_->host_params())
      if (copy.node == static_cast<int>(n)) {
        rows[copy.down.get()] = rows[copy.up.get()] = times.size();
        times.push_back({copy.name, "copy", nodes[n].layers});
      }
  }
  charge_sums(rows);
  step_.parts = 0;
  begin_pass(0, static_cast<int>(built_.layers.size()) - 1);
  const auto charge = [&](double NodeTime::* direction) {
    return [&times, &rows, direction](const Call& call, double seconds) {
      const auto row = rows.find(call.op);
      if (row != rows.end()) times[row->second].*direction += seconds;
    };
  };
  plan_->forward_course().time(*device_, contexts(), charge(&NodeTime::forward));
  plan_->backward_course().time(*device_, contexts(), charge(&NodeTime::backward));
  return times;
}

}  // namespace pcc
