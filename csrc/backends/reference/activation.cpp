// The functions of PointwiseDesc that are formulas of x and constants alone.
#include "backends/reference/activation.h"

namespace pcc::reference {
namespace {

template <typename T>
class Activation : public ReferenceOp<T> {
  using Function = PointwiseDesc::Function;

 public:
  Activation(const PointwiseDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        a_(static_cast<T>(desc.a)),
        b_(static_cast<T>(desc.b)),
        c_(static_cast<T>(desc.c)) {}

  void forward(const Context&) override {
    switch (desc_.function) {
      case Function::absval:
        return map([](T x) { return std::abs(x); });
      case Function::bnll:
        return map(
            [](T x) { return x > 0 ? x + std::log(1 + std::exp(-x)) : std::log(1 + std::exp(x)); });
      case Function::clip:
        return map([=, this](T x) { return std::max(a_, std::min(x, b_)); });
      case Function::elu:
        return map(
            [=, this](T x) { return std::max(x, T(0)) + a_ * (std::exp(std::min(x, T(0))) - 1); });
      case Function::exp:
        return map([=, this](T x) { return a_ * std::exp(b_ * x); });
      case Function::log:
        return map([=, this](T x) { return a_ * std::log(b_ * x + c_); });
      case Function::power:
        return map([=, this](T x) { return power(b_ * x + c_); });
      case Function::swish:
        return map([=, this](T x) { return x * sigmoid(a_ * x); });
      case Function::tanh:
        return map([](T x) { return std::tanh(x); });
      case Function::threshold:
        return map([=, this](T x) { return x > a_ ? T(1) : T(0); });
      case Function::relu:
      case Function::sigmoid:
      case Function::prelu:
        break;
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    const Function f = desc_.function;
    const bool from_y = f == Function::exp || f == Function::tanh || desc_.x_is_y;
    if (!from_y) needs.in = {true};
    if (from_y || f == Function::elu || f == Function::power) needs.out = {true};
  }
  void differentiate(const Context&) override {
    const T* y = this->out();
    const T* x = desc_.x_is_y ? y : this->in(0);
    switch (desc_.function) {
      case Function::absval:
        return pull([=](int64_t i) { return static_cast<T>((x[i] > 0) - (x[i] < 0)); });
      case Function::bnll:
        return pull([=](int64_t i) {
          const T e = std::exp(std::min(x[i], T(50)));  // as bnll_layer.cpp bounds it
          return e / (e + 1);
        });
      case Function::clip:
        return pull([=, this](int64_t i) { return static_cast<T>(x[i] >= a_ && x[i] <= b_); });
      case Function::elu:
        return pull([=, this](int64_t i) { return x[i] > 0 ? T(1) : a_ + y[i]; });
      case Function::exp:
        return pull([=, this](int64_t i) { return b_ * y[i]; });
      case Function::log:
        return pull([=, this](int64_t i) { return a_ * b_ / (b_ * x[i] + c_); });
      case Function::power:
        return pull([=, this](int64_t i) { return power_slope(x[i], y[i]); });
      case Function::swish:
        return pull([=, this](int64_t i) {
          const T s = sigmoid(a_ * x[i]);
          return a_ * x[i] * s + s * (1 - a_ * x[i] * s);
        });
      case Function::tanh:
        return pull([=](int64_t i) { return 1 - y[i] * y[i]; });
      case Function::threshold:
      case Function::relu:
      case Function::sigmoid:
      case Function::prelu:
        break;
    }
  }

 private:
  int64_t count() const { return this->out_shape().count(); }
  template <typename F>
  void map(F f) {
    const T* x = this->in(0);
    T* y = this->out();
    for_each(count(), [=](int64_t i) { y[i] = f(x[i]); });
  }
  template <typename Slope>
  void pull(Slope slope) {
    const T* dy = this->dout();
    T* dx = this->din(0);
    for_each(count(), [=](int64_t i) { dx[i] = dy[i] * slope(i); });
  }
  static T sigmoid(T x) { return T(0.5) * std::tanh(T(0.5) * x) + T(0.5); }
  T power(T base) const {
    if (a_ == 0) return 1;
    return a_ == 1 ? base : a_ == 2 ? base * base : std::pow(base, a_);
  }
  // By y over its base where that is no root of it, as power_layer.cpp has it.
  T power_slope(T x, T y) const {
    const T scale = a_ * b_;
    if (scale == 0 || a_ == 1) return scale;
    if (a_ == 2) return scale * (b_ * x + c_);
    return c_ == 0 ? a_ * y / x : scale * y / (b_ * x + c_);
  }

  PointwiseDesc desc_;
  T a_, b_, c_;
};

}  // namespace

template <typename T>
OpPointer make_activation(const PointwiseDesc& desc, const OpSite& site) {
  return std::make_unique<Activation<T>>(desc, site);
}
template OpPointer make_activation<float>(const PointwiseDesc&, const OpSite&);
template OpPointer make_activation<double>(const PointwiseDesc&, const OpSite&);

}  // namespace pcc::reference
