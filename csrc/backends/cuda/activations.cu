// The functions of PointwiseDesc that are formulas of x and constants alone: one kernel each way
// for all of them, which choose by a number that is the same for every thread. Over float32, or
// bf16 where channels are last.
#include "backends/cuda/makers.h"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

using Function = PointwiseDesc::Function;

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// The constants of a function, and what it needs of x and y.
struct Curve {
  Function function;
  float a, b, c;

  __device__ float value(float x) const {
    switch (function) {
      case Function::absval:
        return fabsf(x);
      case Function::bnll:
        return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
      case Function::clip:
        return fmaxf(a, fminf(x, b));
      case Function::elu:
        return x > 0 ? x : a * (expf(x) - 1);
      case Function::exp:
        return a * expf(b * x);
      case Function::log:
        return a * logf(b * x + c);
      case Function::power:
        return power(b * x + c);
      case Function::swish:
        return x * logistic(a * x);
      case Function::tanh:
        return tanhf(x);
      default:
        return x > a ? 1.0f : 0.0f;
    }
  }
  // Reads of x and y what CurveOp::backward_needs says.
  template <typename T>
  __device__ float slope(const T* x, const T* y, int64_t i) const {
    switch (function) {
      case Function::absval:
        return number(x[i]) > 0 ? 1.0f : number(x[i]) < 0 ? -1.0f : 0.0f;
      case Function::bnll:
        return logistic(number(x[i]));
      case Function::clip:
        return number(x[i]) >= a && number(x[i]) <= b ? 1.0f : 0.0f;
      case Function::elu:
        return number(x[i]) > 0 ? 1.0f : a + number(y[i]);
      case Function::exp:
        return b * number(y[i]);
      case Function::log:
        return a * b / (b * number(x[i]) + c);
      case Function::power:
        return power_slope(number(x[i]), number(y[i]));
      case Function::swish: {
        const float scaled = a * number(x[i]), s = logistic(scaled);
        return scaled * s + s * (1 - scaled * s);
      }
      case Function::tanh:
        return 1 - number(y[i]) * number(y[i]);
      default:
        return 0;
    }
  }

 private:
  __device__ float power(float base) const {
    if (a == 0) return 1;
    return a == 1 ? base : a == 2 ? base * base : powf(base, a);
  }
  // By y over its base where that is no root of it, as power_layer.cpp has it.
  __device__ float power_slope(float x, float y) const {
    const float scale = a * b;
    if (scale == 0 || a == 1) return scale;
    if (a == 2) return scale * (b * x + c);
    return c == 0 ? a * y / x : scale * y / (b * x + c);
  }
};

template <typename T>
struct Apply {
  Curve curve;
  const T* x;
  T* y;
  __device__ void operator()(int64_t i) const { y[i] = stored<T>(curve.value(number(x[i]))); }
};
template <typename T>
struct Pull {
  Curve curve;
  const T *x, *y, *dy;
  T* dx;
  __device__ void operator()(int64_t i) const {
    dx[i] = stored<T>(number(dy[i]) * curve.slope(x, y, i));
  }
};

template <typename T>
class CurveOp : public CudaOpOf<T> {
 public:
  CurveOp(const PointwiseDesc& desc, const OpSite& site)
      : CudaOpOf<T>(site),
        curve_{desc.function, static_cast<float>(desc.a), static_cast<float>(desc.b),
               static_cast<float>(desc.c)},
        x_is_y_(desc.x_is_y) {}

  void forward(const Context&) override {
    for_each(this->out_count(), Apply<T>{curve_, this->in(0), this->out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (!this->trains() || needs.in.empty()) needs.in_place = 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    const Function f = curve_.function;
    const bool from_y = f == Function::exp || f == Function::tanh || x_is_y_;
    if (!from_y) needs.in = {true};
    if (from_y || f == Function::elu || f == Function::power) needs.out = {true};
    needs.diff_in_place = 0;
  }
  void differentiate(const Context&) override {
    const T* const x = x_is_y_ ? this->out() : this->in(0);
    if (this->din(0))
      for_each(this->out_count(), Pull<T>{curve_, x, this->out(), this->dout(), this->din(0)});
  }

 private:
  Curve curve_;
  bool x_is_y_;
};

}  // namespace

std::unique_ptr<Op> make_activation(const PointwiseDesc& desc, const OpSite& site) {
  if (site.in[0].dtype == DType::bf16) return std::make_unique<CurveOp<BFloat16>>(desc, site);
  return std::make_unique<CurveOp<float>>(desc, site);
}

}  // namespace pcc::cuda
