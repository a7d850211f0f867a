// A rule is a struct: whether it has a second history, and the formula of one weight. The compiler
// turns the loop around it into vectors.
#include "backends/cpu/kernels/update_loops.h"

namespace pcc::cpu::PCC_ISA {

namespace {

// step: what is subtracted from a weight with gradient g; moves its histories on.

struct Sgd {
  static constexpr bool kSecond = false;
  static float step(const UpdateRates& r, float g, float& h, float&) {
    return h = r.momentum * h + r.rate * g;
  }
};

struct Nesterov {
  static constexpr bool kSecond = false;
  static float step(const UpdateRates& r, float g, float& h, float&) {
    const float before = h;
    h = r.momentum * before + r.rate * g;
    return (1 + r.momentum) * h - r.momentum * before;
  }
};

struct AdaGrad {
  static constexpr bool kSecond = false;
  static float step(const UpdateRates& r, float g, float& h, float&) {
    h += g * g;
    return r.rate * (g / (__builtin_sqrtf(h) + r.delta));
  }
};

struct RmsProp {
  static constexpr bool kSecond = false;
  static float step(const UpdateRates& r, float g, float& h, float&) {
    h = (1 - r.rms_decay) * (g * g) + r.rms_decay * h;
    return r.rate * (g / (__builtin_sqrtf(h) + r.delta));
  }
};

struct AdaDelta {
  static constexpr bool kSecond = true;
  static float step(const UpdateRates& r, float g, float& gradients, float& updates) {
    gradients = (1 - r.momentum) * (g * g) + r.momentum * gradients;
    const float update = g * __builtin_sqrtf((r.delta + updates) / (r.delta + gradients));
    updates = (1 - r.momentum) * (update * update) + r.momentum * updates;
    return r.rate * update;
  }
};

struct Adam {
  static constexpr bool kSecond = true;
  static float step(const UpdateRates& r, float g, float& mean, float& square) {
    mean = (1 - r.momentum) * g + r.momentum * mean;
    square = (1 - r.momentum2) * (g * g) + r.momentum2 * square;
    return r.rate * r.correction * (mean / (__builtin_sqrtf(square) + r.delta));
  }
};

template <typename Rule, bool kL1>
void update(int64_t count, const UpdateRates& rates, float* w, float* dw, float* history,
            float* second) {
  const UpdateRates r = rates;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float pull = kL1 ? (w[i] > 0 ? 1.0f : w[i] < 0 ? -1.0f : 0.0f) : w[i];
    const float g = dw[i] * r.factor + r.decay * pull;
    float h = history[i], h2 = Rule::kSecond ? second[i] : 0;
    const float step = Rule::step(r, g, h, h2);
    history[i] = h;
    if (Rule::kSecond) second[i] = h2;
    dw[i] = step;
    w[i] -= step;
  }
}

template <typename Rule>
constexpr RuleLoops loops_of() {
  return {update<Rule, false>, update<Rule, true>};
}

}  // namespace

extern const UpdateLoops update_loops;
const UpdateLoops update_loops = {loops_of<Sgd>(),     loops_of<Nesterov>(), loops_of<AdaGrad>(),
                                  loops_of<RmsProp>(), loops_of<AdaDelta>(), loops_of<Adam>()};

}  // namespace pcc::cpu::PCC_ISA
