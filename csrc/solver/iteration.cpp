#include "solver/iteration.h"

#include <algorithm>
#include <utility>

namespace pcc {

Iteration::Iteration(std::shared_ptr<Net> net, const UpdateDesc& desc,
                     const std::shared_ptr<Group>& group)
    : net_(std::move(net)) {
  const Tensor data = net_->data_block(), diff = net_->diff_block();
  Device& device = *net_->device();
  OpBuffers buffers;
  buffers.params = {data, diff};
  for (int k = 0; k < desc.histories(); ++k) {
    histories_.emplace_back(net_->device(), device.allocate(data.spec.bytes()));
    buffers.params.push_back({histories_.back().block()->data(), data.spec});
  }
  buffers.dparams.resize(buffers.params.size());
  OpSite site;
  site.name = "update";
  site.device = &device;
  site.params.assign(buffers.params.size(), data.spec);
  site.want_dparam.assign(buffers.params.size(), false);
  op_ = net_->make_beside(desc, site);
  scratch_ = device.allocate(op_->needs().forward_scratch);
  buffers.scratch = scratch_->data();
  op_->bind(buffers);
  update_.calls.push_back({op_.get()});
  if (!group) return;
  if (net_->overlaps()) {
    sum_beside(group);
    return;
  }
  sums_.push_back(make_sum({group, AllReduceDesc::Part::whole}, net_->gradients()));
  over_ranks_.calls.push_back({sums_.back().get()});
}

Iteration::~Iteration() {
  if (over_ranks_.calls.empty() && !sums_.empty()) net_->leave_gradients(sums_.back().get());
}

std::unique_ptr<Op> Iteration::make_sum(const AllReduceDesc& desc, const Tensor& values) {
  OpBuffers buffers;
  buffers.params = {values};
  buffers.dparams.resize(1);
  OpSite site;
  site.name = "sum over ranks";
  site.device = net_->device().get();
  site.params = {values.spec};
  site.want_dparam = {false};
  std::unique_ptr<Op> op = net_->make_beside(desc, site);
  op->bind(buffers);
  return op;
}

// Gradients lie in the order of the layers, and are written from the last one on: each part is sent
// round while those before it are computed.
void Iteration::sum_beside(const std::shared_ptr<Group>& group) {
  constexpr int64_t kParts = 8, kLeastBytes = 256 << 10;
  const Tensor all = net_->gradients();
  const int64_t size = size_of(all.spec.dtype);
  const int64_t enough = std::max(kLeastBytes / size, all.count() / kParts);
  Net::Takers takers;
  Net::Takers::Part part;
  int64_t end = all.count();
  const auto close = [&](int64_t begin) {
    const Tensor values{static_cast<char*>(all.data) + begin * size,
                        {Shape{end - begin}, all.spec.dtype, Layout::plain}};
    sums_.push_back(make_sum({group, AllReduceDesc::Part::begin}, values));
    part.op = sums_.back().get();
    takers.parts.push_back(std::exchange(part, {}));
    end = begin;
  };
  const std::vector<int>& learnable = net_->learnable();
  for (auto p = learnable.rbegin(); p != learnable.rend(); ++p) {
    const int64_t begin = net_->offset(*p);
    if (net_->params()[static_cast<size_t>(*p)].statistic) continue;
    part.params.push_back(*p);
    if (end - begin >= enough) close(begin);
  }
  if (end > 0) close(0);
  sums_.push_back(make_sum({group, AllReduceDesc::Part::join}, {nullptr, all.spec}));
  takers.join = sums_.back().get();
  net_->take_gradients(std::move(takers));
}

void Iteration::accumulate(StepBlock rates, int32_t passes) {
  rates.parts = passes;
  for (rates.part = 0; rates.part < passes; ++rates.part) net_->accumulate(rates);
  if (over_ranks_.calls.empty()) return;
  // Where that can be seen at once a bad label must not go into everybody's gradients.
  if (net_->device()->host_visible()) net_->take_error();
  net_->run_beside(over_ranks_, rates, false);
}

bool Iteration::whole(const StepBlock& rates, int32_t passes) {
  for (Mirror& history : histories_) history.take_in();
  Unit* const beside[] = {&update_};
  const bool made = net_->iterate(rates, passes, beside);
  if (made)
    for (Mirror& history : histories_) history.give_back();
  return made;
}

void Iteration::update(const StepBlock& rates) {
  for (Mirror& history : histories_) history.take_in();
  net_->run_beside(update_, rates);
  for (Mirror& history : histories_) history.give_back();
}

}  // namespace pcc
