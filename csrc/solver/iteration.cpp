#include "solver/iteration.h"

namespace pcc {

Iteration::Iteration(std::shared_ptr<Net> net, const UpdateDesc& desc) : net_(std::move(net)) {
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
}

void Iteration::accumulate(StepBlock rates, int32_t passes) {
  rates.parts = passes;
  for (rates.part = 0; rates.part < passes; ++rates.part) net_->accumulate(rates);
}

void Iteration::update(const StepBlock& rates) {
  for (Mirror& history : histories_) history.take_in();
  net_->run_beside(update_, rates);
  for (Mirror& history : histories_) history.give_back();
}

}  // namespace pcc
