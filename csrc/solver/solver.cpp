#include "solver/solver.h"

#include <algorithm>
#include <chrono>

namespace pcc {

Solver::Solver(std::shared_ptr<Net> net, SolverParams params, std::shared_ptr<Group> group)
    : net_(std::move(net)),
      group_(std::move(group)),
      params_(std::move(params)),
      rule_(update_rule(params_.type)),
      schedule_(params_.schedule),
      step_(net_, update(), group_) {
  PCC_CONFIG(!group_ || (group_->rank() == net_->options().rank &&
                         group_->ranks() == net_->options().ranks),
             "the net is not that of rank ", group_->rank(), " of ", group_->ranks());
}

// What the parameters ask for, once it is checked.
UpdateDesc Solver::update() const {
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
  return desc;
}

StepBlock Solver::rates() const {
  StepBlock rates;
  rates.iteration = iteration_;
  rates.lr = lr();
  rates.momentum = rule_.cyclical_momentum ? momentum() : params_.schedule.momentum;
  rates.weight_decay = params_.weight_decay;
  return rates;
}

void Solver::forget_halt() {
  if (halted_) net_->clear_halt();
  halted_ = false;
}

void Solver::accumulate() {
  forget_halt();
  if (group_ && group_->leads()) group_->begin();
  step_.accumulate(rates(), static_cast<int32_t>(params_.iter_size));
}

// The whole of one at once, where that can be.
bool Solver::iterate() {
  forget_halt();
  if (!step_.whole(rates(), static_cast<int32_t>(params_.iter_size))) return false;
  ++iteration_;
  return true;
}

double Solver::forward_backward() {
  const InUse::Run alone(net_->in_use());
  accumulate();
  net_->take_error();
  const StepReport& said = net_->report();
  halted_ = said.halt != Halt::none;
  return said.losses[iteration_ % StepReport::kLosses];
}

void Solver::apply_update() {
  const InUse::Run alone(net_->in_use());
  step_.update(rates());
  ++iteration_;
}

// Reads what the iterations from `first` up to `made`, of which the passes were made, reported.
// Where one of them went wrong, stands as if none had been made after it, nor its update: they
// changed no weight.
bool Solver::read(int64_t first, int64_t made, std::vector<double>& losses) {
  const StepReport& said = net_->report();
  halted_ = said.halt != Halt::none;
  const int64_t end = halted_ ? said.iteration + 1 : made;
  for (int64_t i = first; i < end; ++i) losses.push_back(said.losses[i % StepReport::kLosses]);
  if (!halted_) return true;
  net_->rewind((made - end) * params_.iter_size);
  iteration_ = said.iteration;
  net_->take_error();
  return false;
}

Solver::Run Solver::run(int64_t count, double seconds, const std::function<void()>& poll,
                        const std::function<void()>& on_gradients) {
  const InUse::Run alone(net_->in_use());
  const auto begin = std::chrono::steady_clock::now();
  // Where reading costs nothing every iteration is looked at; else none before the last, or before
  // the report would be written over.
  const bool watch = net_->device()->host_visible();
  Run run;
  run.losses.reserve(static_cast<size_t>(std::min<int64_t>(count, 1 << 20)));
  int64_t unread = iteration_, made = iteration_;
  for (int64_t i = 0; i < count; ++i) {
    made = iteration_ + 1;
    if (on_gradients || group_ || !iterate()) {
      accumulate();
      if (watch && net_->report().halt != Halt::none) break;
      if (on_gradients) on_gradients();
      apply_update();
    }
    net_->device()->pace();
    if (poll) poll();
    if (stop_.exchange(false)) {
      run.stopped = true;
      break;
    }
    if (iteration_ - unread == StepReport::kLosses) {
      if (!read(unread, made, run.losses)) break;
      unread = iteration_;
    }
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() > seconds)
      break;
  }
  if (!halted_) read(unread, made, run.losses);
  if (group_) group_->check();  // else what was read may be of sums that never came
  run.diverged = halted_;
  return run;
}

void Solver::follow() {
  using Clock = std::chrono::steady_clock;
  constexpr std::chrono::seconds kUnseen(1);
  constexpr int kPatienceMs = 10;
  const InUse::Run alone(net_->in_use());
  Clock::time_point seen = Clock::now();
  while (true) {
    // What was asked for is done before the host waits for long: others may need it.
    if (!group_->hears(kPatienceMs)) net_->device()->sync();
    if (!group_->begins()) break;
    accumulate();
    apply_update();
    net_->device()->pace();
    if (Clock::now() - seen < kUnseen) continue;
    net_->take_error();
    seen = Clock::now();
  }
  net_->take_error();
}

Net::HostParam Solver::history(int param, int k) {
  const InUse::Look look(net_->in_use());
  PCC_CONFIG(k >= 0 && k < rule_.histories, "a solver of type ", params_.type, " keeps ",
             rule_.histories, " per parameter, counted from 0; there is no history ", k);
  const Param& owner = net_->params()[static_cast<size_t>(param)];
  const DType dtype = net_->options().dtype;
  Net::HostParam view;
  view.memory = step_.history(k).view();
  view.tensor = {view.memory->data() + net_->offset(param) * size_of(dtype),
                 {owner.shape, dtype, Layout::plain}};
  return view;
}

}  // namespace pcc
