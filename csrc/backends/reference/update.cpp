// The solver's step, in the order of sgd_solver.cpp: clip, divide by iter_size, decay, rule,
// subtract.
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

template <typename T>
class Update : public ReferenceOp<T> {
 public:
  Update(const UpdateDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context& context) override {
    const T clip_factor = clip();
    const T share = T(1) / static_cast<T>(desc_.iter_size);
    for (const UpdateSegment& segment : desc_.segments) {
      if (clip_factor != T(1)) scale(segment, clip_factor);
      if (desc_.iter_size != 1) scale(segment, share);
      decay(segment,
            static_cast<T>(context.step->weight_decay) * static_cast<T>(segment.decay_mult));
      step(segment, static_cast<T>(context.step->lr) * static_cast<T>(segment.lr_mult),
           static_cast<T>(context.step->momentum));
    }
  }

 private:
  T* weights(const UpdateSegment& segment) const { return this->param(0) + segment.offset; }
  T* gradient(const UpdateSegment& segment) const { return this->param(1) + segment.offset; }
  T* history(const UpdateSegment& segment) const { return this->param(2) + segment.offset; }

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
  void step(const UpdateSegment& segment, T rate, T momentum) const {
    T *w = weights(segment), *dw = gradient(segment), *h = history(segment);
    switch (desc_.rule) {
      case UpdateDesc::Rule::sgd:
        for_each(segment.count, [=](int64_t i) {
          h[i] = momentum * h[i] + rate * dw[i];
          dw[i] = h[i];
          w[i] -= dw[i];
        });
        break;
      case UpdateDesc::Rule::nesterov:
        for_each(segment.count, [=](int64_t i) {
          const T before = h[i];
          h[i] = momentum * before + rate * dw[i];
          dw[i] = (T(1) + momentum) * h[i] - momentum * before;
          w[i] -= dw[i];
        });
    }
  }

  UpdateDesc desc_;
};

}  // namespace

PCC_REFERENCE_OP(UpdateDesc, Update)

}  // namespace pcc::reference
