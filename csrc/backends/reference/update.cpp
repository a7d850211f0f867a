// The solver's step, in the order of sgd_solver.cpp: clip, divide by iter_size, decay, rule,
// subtract.
#include "backends/reference/reference_op.h"
#include "ops/rules.h"

namespace pcc::reference {
namespace {

template <typename T>
class Update : public ReferenceOp<T> {
 public:
  Update(const UpdateDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context& context) override {
    if (context.report->halt != Halt::none) return;
    const StepBlock& now = *context.step;
    const T clip_factor = clip();
    const T share = T(1) / static_cast<T>(desc_.iter_size);
    for (const UpdateSegment& segment : desc_.segments) {
      if (clip_factor != T(1)) scale(segment, clip_factor);
      if (desc_.iter_size != 1) scale(segment, share);
      decay(segment, static_cast<T>(now.weight_decay) * static_cast<T>(segment.decay_mult));
      step(segment, now);
    }
  }

 private:
  T* weights(const UpdateSegment& segment) const { return this->param(0) + segment.offset; }
  T* gradient(const UpdateSegment& segment) const { return this->param(1) + segment.offset; }
  // Null where the rule has no such history.
  T* history(const UpdateSegment& segment, int k) const {
    return k < desc_.histories() ? this->param(2 + k) + segment.offset : nullptr;
  }

  // By what the gradients shrink so that their common L2 norm is the threshold at most.
  T clip() const {
    if (desc_.clip < 0) return T(1);
    double squares = 0;
    for (const UpdateSegment& segment : desc_.segments) {
      const T* dw = gradient(segment);
      squares +=
          sum_of(segment.count, [=](int64_t i) { return static_cast<double>(dw[i]) * dw[i]; });
    }
    const T norm = static_cast<T>(std::sqrt(squares)), threshold = static_cast<T>(desc_.clip);
    return norm > threshold ? threshold / norm : T(1);
  }
  void scale(const UpdateSegment& segment, T factor) const {
    T* dw = gradient(segment);
    for_each(segment.count, [=](int64_t i) { dw[i] *= factor; });
  }
  void decay(const UpdateSegment& segment, T rate) const {
    if (rate == T(0)) return;
    const T* w = weights(segment);
    T* dw = gradient(segment);
    if (desc_.l1)
      for_each(segment.count,
               [=](int64_t i) { dw[i] += rate * static_cast<T>((w[i] > 0) - (w[i] < 0)); });
    else
      for_each(segment.count, [=](int64_t i) { dw[i] += rate * w[i]; });
  }
  // The formulas, as in Caffe's *_solver.cpp, ComputeUpdateValue: each gives what is subtracted
  // from weight i and moves the histories on.
  void step(const UpdateSegment& segment, const StepBlock& now) const {
    const T rate = static_cast<T>(now.lr) * static_cast<T>(segment.lr_mult);
    const T momentum = static_cast<T>(now.momentum), delta = static_cast<T>(desc_.delta);
    T *w = weights(segment), *dw = gradient(segment);
    T *h = history(segment, 0), *h2 = history(segment, 1);
    const auto subtract = [=, &segment](auto&& update) {
      for_each(segment.count, [=](int64_t i) {
        dw[i] = update(i);
        w[i] -= dw[i];
      });
    };
    switch (desc_.rule) {
      case UpdateDesc::Rule::sgd:
        return subtract([=](int64_t i) { return h[i] = momentum * h[i] + rate * dw[i]; });
      case UpdateDesc::Rule::nesterov:
        return subtract([=](int64_t i) {
          const T before = h[i];
          h[i] = momentum * before + rate * dw[i];
          return (T(1) + momentum) * h[i] - momentum * before;
        });
      case UpdateDesc::Rule::adagrad:
        return subtract([=](int64_t i) {
          h[i] += dw[i] * dw[i];
          return rate * (dw[i] / (std::sqrt(h[i]) + delta));
        });
      case UpdateDesc::Rule::rmsprop: {
        const T kept = static_cast<T>(desc_.rms_decay);
        return subtract([=](int64_t i) {
          h[i] = (T(1) - kept) * (dw[i] * dw[i]) + kept * h[i];
          return rate * (dw[i] / (std::sqrt(h[i]) + delta));
        });
      }
      // h: of squared gradients, h2: of squared updates before the rate.
      case UpdateDesc::Rule::adadelta:
        return subtract([=](int64_t i) {
          h[i] = (T(1) - momentum) * (dw[i] * dw[i]) + momentum * h[i];
          const T update = dw[i] * std::sqrt((delta + h2[i]) / (delta + h[i]));
          h2[i] = (T(1) - momentum) * (update * update) + momentum * h2[i];
          return rate * update;
        });
      // h: of gradients, h2: of squared gradients.
      case UpdateDesc::Rule::adam: {
        const T momentum2 = static_cast<T>(desc_.momentum2);
        const T corrected =
            rate * static_cast<T>(adam_correction(now.momentum, desc_.momentum2, now.iteration));
        return subtract([=](int64_t i) {
          h[i] = (T(1) - momentum) * dw[i] + momentum * h[i];
          h2[i] = (T(1) - momentum2) * (dw[i] * dw[i]) + momentum2 * h2[i];
          return corrected * (h[i] / (std::sqrt(h2[i]) + delta));
        });
      }
    }
  }

  UpdateDesc desc_;
};

}  // namespace

PCC_REFERENCE_OP(UpdateDesc, Update)

}  // namespace pcc::reference
