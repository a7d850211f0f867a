// The solver's update rules: what each is called, keeps and takes, the same for every backend.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "ops/desc.h"

namespace pcc {

struct UpdateRule {
  UpdateDesc::Rule rule;
  std::string type;        // SolverParameter.type
  int histories;           // numbers kept for each weight from one update to the next
  bool momentum;           // false: one that is set is refused, as by Caffe
  bool cyclical_momentum;  // false: the update goes by `momentum` itself; the log shows the cycle
};

// All of them, in the order in which messages list them.
const std::vector<UpdateRule>& update_rules();
const UpdateRule& update_rule(UpdateDesc::Rule rule);
// Throws a config error that names the known types.
const UpdateRule& update_rule(const std::string& type);

// Neighbours with equal multipliers as one: a deep net has hundreds of short segments.
std::vector<UpdateSegment> joined(const std::vector<UpdateSegment>& segments);

// By what Adam multiplies the rate at an iteration counted from 0, as its histories start at zero:
// sqrt(1 - momentum2^t) / (1 - momentum^t), t = iteration + 1. In double, as in adam_solver.cpp.
template <typename Real>
constexpr double adam_correction(Real momentum, Real momentum2, int64_t iteration) {
  const auto t = static_cast<double>(iteration + 1);
  return std::sqrt(1 - std::pow(static_cast<double>(momentum2), t)) /
         (1 - std::pow(static_cast<double>(momentum), t));
}

}  // namespace pcc
