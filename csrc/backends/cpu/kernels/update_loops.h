// Inner loops of the solver's step, one for each rule. The formulas: backends/reference/update.cpp.
#pragma once

#include <cstdint>

namespace pcc::cpu {

// What a step over neighbouring parameters goes by.
struct UpdateRates {
  float factor, decay;  // gradient = dw * factor + decay * w, or decay * the sign of w
  float rate;           // times lr_mult
  float momentum, momentum2, rms_decay, delta;
  float correction;  // Adam's
};

// Moves w and the histories on; dw becomes what was subtracted. second: null where the rule has one
// history.
using UpdateLoop = void (*)(int64_t count, const UpdateRates&, float* w, float* dw, float* history,
                            float* second);

// With weight decay by the weight itself (L2) and by its sign (L1).
struct RuleLoops {
  UpdateLoop l2, l1;
};

struct UpdateLoops {
  RuleLoops sgd, nesterov, adagrad, rmsprop, adadelta, adam;
};

}  // namespace pcc::cpu
