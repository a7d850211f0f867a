// TanH, ELU, Swish, and Power with the exponents 1 and 2.
#include "backends/cpu/kernels/kernel_op.h"

namespace pcc::cpu {

namespace {

using Function = PointwiseDesc::Function;

class ActivationOp : public KernelOp {
 public:
  ActivationOp(const PointwiseDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        a_(static_cast<float>(desc.a)),
        b_(static_cast<float>(desc.b)),
        c_(static_cast<float>(desc.c)),
        // The sign of y tells that of x.
        from_y_(desc.function == Function::tanh ||
                (desc.function == Function::elu && (desc.a >= 0 || desc.x_is_y))) {
    const bool constant = desc.function == Function::power && desc.a == 1;
    if (from_y_ || constant || !trains_) needs_.in_place = 0;
    if (!trains_) return;
    if (!from_y_ && !constant) needs_.in = {true};
    if (from_y_ || desc.function == Function::elu) needs_.out = {true};
    needs_.diff_in_place = 0;
  }

  void forward(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      const float* x = in(0) + first;
      float* y = out() + first;
      const ElementLoops& loops = loops_.element;
      switch (desc_.function) {
        case Function::tanh:
          return loops.tanh(count, x, y);
        case Function::elu:
          return loops.elu(count, x, a_, y);
        case Function::swish:
          return loops.swish(count, x, a_, y);
        default:
          return loops.power(count, x, b_, c_, desc_.a == 2, y);
      }
    });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      const float *x = in(0) + first, *y = out() + first, *dy = dout() + first;
      float* dx = din(0) + first;
      const ElementLoops& loops = loops_.element;
      switch (desc_.function) {
        case Function::tanh:
          return loops.tanh_backward(count, y, dy, dx);
        case Function::elu:
          return loops.elu_backward(count, from_y_ ? y : x, y, a_, dy, dx);
        case Function::swish:
          return loops.swish_backward(count, x, a_, dy, dx);
        default:
          return loops.power_backward(count, x, b_, c_, desc_.a == 2, dy, dx);
      }
    });
  }

 private:
  PointwiseDesc desc_;
  float a_, b_, c_;
  bool from_y_;
};

}  // namespace

std::unique_ptr<Op> make_activation(const PointwiseDesc& desc, const OpSite& site) {
  switch (desc.function) {
    case Function::tanh:
    case Function::elu:
    case Function::swish:
      break;
    case Function::power:
      if (desc.a == 1 || desc.a == 2) break;
      return nullptr;
    default:
      return nullptr;
  }
  return std::make_unique<ActivationOp>(desc, site);
}

}  // namespace pcc::cpu
