// Learning rate and momentum as functions of the iteration: every lr_policy of Caffe, the cyclical
// policies of Smith's reports, and cyclical momentum.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pcc {

// The solver fields that a schedule depends on, under their prototxt names. Unset numbers are 0, as
// in proto2.
struct ScheduleParams {
  std::string lr_policy;
  float base_lr = 0;
  float max_lr = 0;
  bool has_max_lr = true;  // false: the prototxt does not set it, an error for cyclical policies
  float gamma = 0;
  float power = 0;
  int64_t stepsize = 0;
  int64_t max_iter = 0;
  std::vector<int64_t> stepvalues;  // prototxt `stepvalue`, in file order (need not be sorted)
  float momentum = 0;
  // {other bound, half a cycle in iterations}. Any other number of values means constant momentum,
  // as in Caffe with the report's patch.
  std::vector<float> cyclical_momentum;
};

// Known lr_policy names, in the order in which messages list them.
const std::vector<std::string>& lr_policies();

// All results equal Caffe's bit for bit: float and double are mixed as sgd_solver.cpp does it.
// Pure functions of the iteration, whatever the order of calls, except that multistep counts on
// from where `restore` put it. Cheap enough to be called at every step.
class Schedule {
 public:
  // Throws pcc::Error (kind config) on an unknown policy or a setting that the policy cannot use.
  explicit Schedule(ScheduleParams params);

  // Rate of the update made at `iteration` (counted from 0).
  float lr(int64_t iteration) const;

  // Momentum of the update made at `iteration`. Whether an update rule uses it is the solver's
  // business: Caffe cycles momentum for SGD and Nesterov only; the others read `momentum` itself.
  float momentum(int64_t iteration) const;

  // SolverState.current_step as Caffe holds it when `iteration` is about to run: steps taken by the
  // updates before it. 0 for policies without steps.
  int64_t current_step(int64_t iteration) const;

  // Goes on as a run whose next update is `iteration` and whose snapshot held `current_step`. Only
  // multistep depends on it: Caffe advances at most one step per iteration, from the stored step.
  void restore(int64_t iteration, int64_t current_step);

  const ScheduleParams& params() const { return params_; }

 private:
  enum class Policy;

  int64_t multistep_step(int64_t iteration) const;
  float cyclic_lr(int64_t iteration) const;
  float one_cycle_lr(int64_t iteration) const;

  ScheduleParams params_;
  Policy policy_;
  int64_t origin_iteration_ = 0;
  int64_t origin_step_ = 0;
};

}  // namespace pcc
