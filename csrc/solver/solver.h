// Solver: the iterations of Caffe's SGDSolver over one train net. Tests, logs and snapshots are the
// caller's (train/ in Python).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "graph/net.h"
#include "ops/rules.h"
#include "solver/iteration.h"
#include "solver/schedule.h"

namespace pcc {

struct SolverParams {
  std::string type = "SGD";  // one of update_rules()
  ScheduleParams schedule;
  float delta = UpdateDesc().delta;
  float momentum2 = UpdateDesc().momentum2;
  float rms_decay = UpdateDesc().rms_decay;
  float weight_decay = 0;
  std::string regularization_type = "L2";
  float clip_gradients = -1;
  int64_t iter_size = 1;
};

class Solver {
 public:
  // group: null, or those with whom the net is trained, of which rank 0 leads: its iterations are
  // everybody's, who stand where it stood when it made the first one.
  Solver(std::shared_ptr<Net> net, SolverParams params, std::shared_ptr<Group> group = nullptr);

  // The first half of an iteration: clears the parameters' diffs, iter_size forward and backward
  // passes. Returns the loss averaged over them (Caffe's display); the loss blob holds that of the
  // last one.
  double forward_backward();
  // The second half: the update at the current lr and momentum; then the iteration is over.
  void apply_update();

  struct Run {
    std::vector<double> losses;  // one per finished iteration
    bool stopped = false;        // by request_stop
    bool diverged = false;  // the last loss is not finite; that iteration's update was not made
  };
  // Up to `count` iterations, or as many as fit into about `seconds`. `on_gradients` is called in
  // each one between gradients and update, and may read and change the diffs; `poll` after each
  // one. What they throw ends the run: the update is made where `poll` threw only.
  Run run(int64_t count, double seconds, const std::function<void()>& poll,
          const std::function<void()>& on_gradients = {});
  void request_stop() { stop_ = true; }
  // For the other ranks: makes the iterations that rank 0 begins, until it ends.
  void follow();

  int64_t iteration() const { return iteration_; }
  // Goes on at `iteration`; current_step is what a snapshot of a multistep run holds.
  void restore(int64_t iteration, int64_t current_step) {
    iteration_ = iteration;
    schedule_.restore(iteration, current_step);
  }
  int64_t current_step() const { return schedule_.current_step(iteration_); }
  float lr() const { return schedule_.lr(iteration_); }
  // What the log shows: Caffe cycles it there under every rule, but uses that for SGD and Nesterov
  // only.
  float momentum() const { return schedule_.momentum(iteration_); }
  // Rates of any iteration, as this solver's updates take them.
  const Schedule& schedule() const { return schedule_; }
  const SolverParams& params() const { return params_; }
  Net& net() { return *net_; }
  // How many histories each parameter has: 2 under AdaDelta and Adam, else 1.
  int histories() const { return rule_.histories; }
  // History k of one learnable parameter (Net::learnable()), as a user's array may look at it.
  Net::HostParam history(int param, int k = 0);

 private:
  UpdateDesc update() const;
  StepBlock rates() const;
  void forget_halt();
  void accumulate();
  bool iterate();
  bool read(int64_t first, int64_t made, std::vector<double>& losses);

  std::shared_ptr<Net> net_;
  std::shared_ptr<Group> group_;
  SolverParams params_;
  const UpdateRule& rule_;
  Schedule schedule_;
  Iteration step_;
  int64_t iteration_ = 0;
  bool halted_ = false;  // by what the latest reading said
  std::atomic<bool> stop_{false};
};

}  // namespace pcc
