#include "solver/schedule.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "core/check.h"

namespace pcc {

enum class Schedule::Policy {
  kFixed,
  kStep,
  kExp,
  kInv,
  kMultistep,
  kPoly,
  kSigmoid,
  kTriangular,
  kTriangular2,
  kExpRange,
  kOneCycle,
};

const std::vector<std::string>& lr_policies() {
  // In the order of Schedule::Policy.
  static const std::vector<std::string> names = {
      "fixed",   "step",       "exp",         "inv",       "multistep", "poly",
      "sigmoid", "triangular", "triangular2", "exp_range", "1cycle"};
  return names;
}

namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// Far above Caffe's 32-bit iterations and low enough for the sums below never to overflow.
constexpr int64_t kMaxIterations = int64_t{1} << 40;

void check_iteration(int64_t iteration) {
  PCC_CONFIG(iteration >= 0 && iteration <= kMaxIterations, "schedule: iteration must lie in 0 to ",
             kMaxIterations, "; got ", iteration);
}

// Position on a triangle wave whose legs have `stepsize` iterations.
struct Wave {
  int64_t cycle;  // number of whole cycles before this one
  double height;  // 0 at the ends of a cycle, 1 at its middle
};

// As in Smith's patch of sgd_solver.cpp: the distance from the middle is a float, the height a
// double. `T` is the type of the prototxt field: an integer for stepsize, a float for momentum.
template <typename T>
Wave wave_at(int64_t iteration, T stepsize) {
  const T cycles = static_cast<T>(iteration) / (2 * stepsize);
  const auto cycle = static_cast<int64_t>(std::min(cycles, static_cast<T>(kMaxIterations)));
  auto x = static_cast<float>(static_cast<T>(iteration) - static_cast<T>(2 * cycle + 1) * stepsize);
  x = x / static_cast<float>(stepsize);
  return {cycle, 1.0 - std::fabs(x)};
}

double clamp01(double value) { return std::min(1.0, std::max(0.0, value)); }

double halved(const Wave& wave) {
  return clamp01(wave.height / std::pow(2.0, static_cast<double>(wave.cycle)));
}

}  // namespace

Schedule::Schedule(ScheduleParams params) : params_(std::move(params)) {
  const ScheduleParams& p = params_;
  const std::vector<std::string>& names = lr_policies();
  const auto found = std::find(names.begin(), names.end(), p.lr_policy);
  PCC_CONFIG(!p.lr_policy.empty(),
             "solver: lr_policy is not set; expected one of: ", joined(names));
  PCC_CONFIG(found != names.end(), "solver: lr_policy \"", p.lr_policy,
             "\" is unknown; known: ", joined(names));
  policy_ = static_cast<Policy>(std::distance(names.begin(), found));

  const auto check_at_least_0 = [](const char* field, float value) {
    PCC_CONFIG(std::isfinite(value) && value >= 0, "solver: ", field,
               " must be a finite number, at least 0; got ", value);
  };
  check_at_least_0("base_lr", p.base_lr);
  check_at_least_0("momentum", p.momentum);

  const bool cyclic = policy_ == Policy::kTriangular || policy_ == Policy::kTriangular2 ||
                      policy_ == Policy::kExpRange || policy_ == Policy::kOneCycle;
  const bool with_gamma = policy_ == Policy::kStep || policy_ == Policy::kExp ||
                          policy_ == Policy::kInv || policy_ == Policy::kMultistep ||
                          policy_ == Policy::kSigmoid || policy_ == Policy::kExpRange;
  if (with_gamma) check_at_least_0("gamma", p.gamma);
  if (policy_ == Policy::kInv || policy_ == Policy::kPoly) {
    PCC_CONFIG(std::isfinite(p.power), "solver: power must be a finite number; got ", p.power);
  }
  if (cyclic || policy_ == Policy::kStep || policy_ == Policy::kSigmoid) {
    PCC_CONFIG(p.stepsize > 0 && p.stepsize <= kMaxIterations, "solver: lr_policy \"", p.lr_policy,
               "\" needs a stepsize of at least 1 iteration; got ", p.stepsize);
  }
  if (cyclic) {
    PCC_CONFIG(p.has_max_lr, "solver: lr_policy \"", p.lr_policy,
               "\" needs max_lr, the rate at the top of the cycle; it is not set");
    check_at_least_0("max_lr", p.max_lr);
  }
  if (policy_ == Policy::kPoly) {
    PCC_CONFIG(p.max_iter > 0, "solver: lr_policy \"poly\" needs a max_iter of at least 1; got ",
               p.max_iter);
  }
  if (p.cyclical_momentum.size() == 2) {
    check_at_least_0("cyclical_momentum", p.cyclical_momentum[0]);
    PCC_CONFIG(std::isfinite(p.cyclical_momentum[1]) && p.cyclical_momentum[1] > 0,
               "solver: the second cyclical_momentum is half a cycle in iterations and must be "
               "greater than 0; got ",
               p.cyclical_momentum[1]);
  }
}

float Schedule::lr(int64_t iteration) const {
  check_iteration(iteration);
  const ScheduleParams& p = params_;
  const auto iter = static_cast<float>(iteration);
  switch (policy_) {
    case Policy::kFixed:
      return p.base_lr;
    case Policy::kStep:
      return static_cast<float>(p.base_lr * std::pow(static_cast<double>(p.gamma),
                                                     static_cast<double>(iteration / p.stepsize)));
    case Policy::kExp:
      return static_cast<float>(
          p.base_lr * std::pow(static_cast<double>(p.gamma), static_cast<double>(iteration)));
    case Policy::kInv:
      return p.base_lr * std::pow(1.0f + p.gamma * iter, -p.power);
    case Policy::kMultistep:
      return static_cast<float>(
          p.base_lr *
          std::pow(static_cast<double>(p.gamma), static_cast<double>(multistep_step(iteration))));
    case Policy::kPoly:
      // A net stepped on from Python beyond max_iter would get NaN for most powers.
      if (iteration > p.max_iter) return 0.0f;
      return p.base_lr * std::pow(1.0f - iter / static_cast<float>(p.max_iter), p.power);
    case Policy::kSigmoid:
      return p.base_lr *
             (1.0f / (1.0f + std::exp(-p.gamma * (iter - static_cast<float>(p.stepsize)))));
    case Policy::kTriangular:
    case Policy::kTriangular2:
    case Policy::kExpRange:
      return cyclic_lr(iteration);
    case Policy::kOneCycle:
      return one_cycle_lr(iteration);
  }
  return p.base_lr;
}

// Source: Smith 2017 (WACV), section 3.
float Schedule::cyclic_lr(int64_t iteration) const {
  const ScheduleParams& p = params_;
  const Wave wave = wave_at(iteration, p.stepsize);
  double height = clamp01(wave.height);
  if (policy_ == Policy::kTriangular2) height = halved(wave);
  if (policy_ == Policy::kExpRange) {
    height *= std::pow(static_cast<double>(p.gamma), static_cast<double>(iteration));
  }
  return static_cast<float>(p.base_lr + (p.max_lr - p.base_lr) * height);
}

// Source: the report, section 4.1, and its author's logs: from base_lr up to max_lr, then down
// towards 0 (not base_lr), then base_lr/1000 for what is left of the run.
float Schedule::one_cycle_lr(int64_t iteration) const {
  const ScheduleParams& p = params_;
  const float x = static_cast<float>(iteration) / static_cast<float>(p.stepsize);
  if (iteration < p.stepsize) {
    return static_cast<float>(p.base_lr +
                              static_cast<double>(p.max_lr - p.base_lr) * static_cast<double>(x));
  }
  if (iteration < 2 * p.stepsize) {
    return static_cast<float>(static_cast<double>(p.max_lr) * (2.0 - static_cast<double>(x)));
  }
  return static_cast<float>(p.base_lr / 1000.0);
}

// Source: the report, appendix A.2.
float Schedule::momentum(int64_t iteration) const {
  check_iteration(iteration);
  const ScheduleParams& p = params_;
  if (p.cyclical_momentum.size() != 2) return p.momentum;
  const Wave wave = wave_at(iteration, p.cyclical_momentum[1]);
  return static_cast<float>(p.momentum + (p.cyclical_momentum[0] - p.momentum) * halved(wave));
}

int64_t Schedule::current_step(int64_t iteration) const {
  if (policy_ == Policy::kStep) return iteration > 0 ? (iteration - 1) / params_.stepsize : 0;
  if (policy_ == Policy::kMultistep) return multistep_step(iteration - 1);
  return 0;
}

void Schedule::restore(int64_t iteration, int64_t current_step) {
  PCC_DATA(iteration >= 0 && iteration <= kMaxIterations && current_step >= 0,
           "solver state: iter and current_step must be at least 0; got ", iteration, " and ",
           current_step);
  origin_iteration_ = iteration;
  origin_step_ = current_step;
}

// The step in force at `iteration`. Caffe compares with one stepvalue per iteration, so step k is
// taken at the later of its stepvalue and one iteration after step k-1: that matters where values
// are out of order, as in one of the report's runs.
int64_t Schedule::multistep_step(int64_t iteration) const {
  const bool before_origin = iteration < origin_iteration_ - 1;
  int64_t earliest = before_origin ? 0 : origin_iteration_;
  int64_t step = before_origin ? 0 : origin_step_;
  const auto count = static_cast<int64_t>(params_.stepvalues.size());
  for (; step < count; ++step) {
    const int64_t taken = std::max(earliest, params_.stepvalues[static_cast<size_t>(step)]);
    if (taken > iteration) break;
    earliest = taken + 1;
  }
  return step;
}

}  // namespace pcc
