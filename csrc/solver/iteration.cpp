#include "solver/iteration.h"

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
  buffers = {};
  buffers.params = {net_->gradients()};
  buffers.dparams.resize(1);
  site.name = "sum over ranks";
  site.params = {buffers.params[0].spec};
  site.want_dparam = {false};
  sum_ = net_->make_beside(AllReduceDesc{group}, site);
  sum_->bind(buffers);
  over_ranks_.calls.push_back({sum_.get()});
}

void Iteration::accumulate(StepBlock rates, int32_t passes) {
  rates.parts = passes;
  for (rates.part = 0; rates.part < passes; ++rates.part) net_->accumulate(rates);
  if (!sum_) return;
  // Where that can be seen at once a bad label must not go into everybody's gradients.
  if (net_->device()->host_visible()) net_->take_error();
  net_->run_beside(over_ranks_, rates, false);
}

void Iteration::update(const StepBlock& rates) {
  for (Mirror& history : histories_) history.take_in();
  net_->run_beside(update_, rates);
  for (Mirror& history : histories_) history.give_back();
}

}  // namespace pcc
