#include "solver/solver.h"

#include <chrono>
#include <cmath>

#include "core/parallel.h"

namespace pcc {

Solver::Solver(std::shared_ptr<Net> net, SolverParams params)
    : net_(std::move(net)),
      params_(std::move(params)),
      rule_(update_rule(params_.type)),
      schedule_(params_.schedule) {
  PCC_CONFIG(params_.iter_size >= 1, "iter_size must be at least 1, not ", params_.iter_size);
  PCC_CONFIG(params_.regularization_type == "L2" || params_.regularization_type == "L1",
             "regularization_type \"", params_.regularization_type, "\" is unknown; known: L1, L2");
  PCC_CONFIG(rule_.momentum || params_.schedule.momentum == 0, "momentum cannot be used with type ",
             params_.type, "; it is ", params_.schedule.momentum);
  PCC_CONFIG(
      rule_.rule != UpdateDesc::Rule::rmsprop || (params_.rms_decay >= 0 && params_.rms_decay < 1),
      "rms_decay must be at least 0 and less than 1, not ", params_.rms_decay);
  UpdateDesc desc;
  desc.rule = rule_.rule;
  desc.delta = params_.delta;
  desc.momentum2 = params_.momentum2;
  desc.rms_decay = params_.rms_decay;
  desc.l1 = params_.regularization_type == "L1";
  desc.clip = params_.clip_gradients;
  desc.iter_size = params_.iter_size;
  for (const int p : net_->learnable()) {
    const Param& param = net_->params()[static_cast<size_t>(p)];
    // Under force_backward what does not learn has a gradient, too, which counts when clipping.
    if (param.statistic || (param.lr_mult == 0 && !param.want_gradient)) continue;
    UpdateSegment segment;
    segment.offset = net_->offset(p);
    segment.count = param.shape.count();
    segment.lr_mult = static_cast<float>(param.lr_mult);
    segment.decay_mult = static_cast<float>(param.decay_mult);
    desc.segments.push_back(segment);
  }
  const Tensor data = net_->data_block(), diff = net_->diff_block();
  Device& device = *net_->device();
  OpBuffers buffers;
  buffers.params = {data, diff};
  for (int k = 0; k < rule_.histories; ++k) {
    histories_.emplace_back(net_->device(), device.allocate(data.spec.bytes()));
    buffers.params.push_back({histories_.back().block()->data(), data.spec});
  }
  buffers.dparams.resize(buffers.params.size());
  OpSite site;
  site.name = "update";
  site.device = &device;
  site.params.assign(buffers.params.size(), data.spec);
  site.want_dparam.assign(buffers.params.size(), false);
  update_ = net_->backend().make(desc, site);
  if (!update_) {
    net_->note_fallback("update (" + name_of(OpDesc{desc}) + ")");
    update_ = backend("reference").make(desc, site);
  }
  PCC_CHECK(update_, "no backend makes the update");
  scratch_ = device.allocate(update_->needs().forward_scratch);
  buffers.scratch = scratch_->data();
  update_->bind(buffers);
}

double Solver::forward_backward() {
  net_->clear_param_diffs();
  double loss = 0;
  for (int64_t i = 0; i < params_.iter_size; ++i) {
    loss += net_->forward();
    net_->backward();
  }
  return loss / static_cast<double>(params_.iter_size);
}

void Solver::apply_update() {
  const ThreadScope scope(net_->threads());
  StepBlock state = net_->state();
  state.iteration = iteration_;
  state.lr = lr();
  state.momentum = rule_.cyclical_momentum ? momentum() : params_.schedule.momentum;
  state.weight_decay = params_.weight_decay;
  net_->take_in_params();
  for (Mirror& history : histories_) history.take_in();
  const Call call{update_.get(), false};
  net_->device()->run(&call, 1, Context{&state});
  net_->give_back_params();
  for (Mirror& history : histories_) history.give_back();
  ++iteration_;
}

Solver::Run Solver::run(int64_t count, double seconds, const std::function<void()>& poll) {
  const auto begin = std::chrono::steady_clock::now();
  Run run;
  run.losses.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const double loss = forward_backward();
    if (!std::isfinite(loss)) {
      run.losses.push_back(loss);
      run.diverged = true;
      break;
    }
    apply_update();
    run.losses.push_back(loss);
    if (poll) poll();
    if (stop_.exchange(false)) {
      run.stopped = true;
      break;
    }
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > seconds)
      break;
  }
  return run;
}

Net::HostParam Solver::history(int param, int k) {
  PCC_CONFIG(k >= 0 && k < rule_.histories, "a solver of type ", params_.type, " keeps ",
             rule_.histories, " per parameter, counted from 0; there is no history ", k);
  const Param& owner = net_->params()[static_cast<size_t>(param)];
  const DType dtype = net_->options().dtype;
  Net::HostParam view;
  view.memory = histories_[static_cast<size_t>(k)].view();
  view.tensor = {view.memory->data() + net_->offset(param) * size_of(dtype),
                 {owner.shape, dtype, Layout::plain}};
  return view;
}

}  // namespace pcc
