// Element by element: ReLU, Sigmoid, PReLU, dropout, Eltwise, and the Scale and Bias layers.
#include "backends/reference/activation.h"
#include "core/random.h"

namespace pcc::reference {
namespace {

template <typename T>
class Pointwise : public ReferenceOp<T> {
  using Function = PointwiseDesc::Function;

 public:
  Pointwise(const PointwiseDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context&) override {
    const T* x = this->in(0);
    T* y = this->out();
    switch (desc_.function) {
      case Function::relu:
        // As relu_layer.cpp writes it, so that NaN stays NaN and no -0 appears.
        for_each(count(), [=, slope = static_cast<T>(desc_.a)](int64_t i) {
          y[i] = std::max(x[i], T(0)) + slope * std::min(x[i], T(0));
        });
        break;
      case Function::sigmoid:
        for_each(count(), [=](int64_t i) { y[i] = T(0.5) * std::tanh(T(0.5) * x[i]) + T(0.5); });
        break;
      case Function::prelu:
        for_each(count(), [=, this](int64_t i) {
          y[i] = std::max(x[i], T(0)) + slope(i) * std::min(x[i], T(0));
        });
        break;
      default:  // make_activation's
        break;
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    (desc_.function == Function::sigmoid ? needs.out : needs.in) = {true};
  }
  void differentiate(const Context& context) override {
    const T *x = this->in(0), *y = this->out(), *dy = this->dout();
    T* dx = this->din(0);
    switch (desc_.function) {
      case Function::relu:
        for_each(count(), [=, slope = static_cast<T>(desc_.a)](int64_t i) {
          dx[i] = x[i] > 0 ? dy[i] : slope * dy[i];
        });
        break;
      case Function::sigmoid:
        for_each(count(), [=](int64_t i) { dx[i] = dy[i] * y[i] * (1 - y[i]); });
        break;
      case Function::prelu:
        if (this->dparam(0)) slope_gradient(context);
        if (dx)
          for_each(count(), [=, this](int64_t i) { dx[i] = x[i] > 0 ? dy[i] : slope(i) * dy[i]; });
        break;
      default:
        break;
    }
  }

 private:
  int64_t count() const { return this->out_shape().count(); }
  // prelu: how x is seen, as (outer, channels, inner); one channel where they share a slope.
  int64_t channels() const { return this->site_.params[0].shape.count(); }
  int64_t inner() const { return channels() == 1 ? count() : this->out_shape().count(2); }
  T slope(int64_t i) const { return this->param(0)[i / inner() % channels()]; }
  void slope_gradient(const Context& context) {
    const T *x = this->in(0), *dy = this->dout();
    const int64_t inner = this->inner(), each = count() / channels();
    for_each_piece(channels(), each, [=, this](int64_t c) {
      const double sum = sum_of(each, [=, this](int64_t k) {
        const int64_t i = (k / inner * channels() + c) * inner + k % inner;
        return x[i] > 0 ? T(0) : dy[i] * x[i];
      });
      this->give(context, 0, c, sum);
    });
  }
  PointwiseDesc desc_;
};

// The mask is kept, one byte per element, so that backward fits the last forward whatever the step
// counter says by then.
template <typename T>
class Dropout : public ReferenceOp<T> {
 public:
  Dropout(const DropoutDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), desc_(desc), scale_(static_cast<T>(1.0 / (1.0 - desc.ratio))) {}

  void forward(const Context& context) override {
    const T* x = this->in(0);
    T* y = this->out();
    uint8_t* mask = static_cast<uint8_t*>(this->buffers_.stash);
    const RandomStream stream = context.step->random(this->site_.stream, count());
    const uint32_t threshold = desc_.threshold();
    const bool keep = this->site_.backward();
    for_each((count() + 3) / 4, [=, this](int64_t block) {
      const auto bits = stream.block(static_cast<uint64_t>(block));
      const int64_t first = 4 * block, end = std::min(first + 4, count());
      for (int64_t i = first; i < end; ++i) {
        const bool kept = bits[static_cast<size_t>(i - first)] > threshold;
        if (keep) mask[i] = kept;
        y[i] = kept ? x[i] * scale_ : T(0);
      }
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.stash_bytes = count(); }
  void differentiate(const Context&) override {
    const T* dy = this->dout();
    T* dx = this->din(0);
    const uint8_t* mask = static_cast<const uint8_t*>(this->buffers_.stash);
    for_each(count(), [=, this](int64_t i) { dx[i] = mask[i] ? dy[i] * scale_ : T(0); });
  }

 private:
  int64_t count() const { return this->out_shape().count(); }
  DropoutDesc desc_;
  T scale_;
};

template <typename T>
class Eltwise : public ReferenceOp<T> {
  using Operation = EltwiseDesc::Operation;

 public:
  Eltwise(const EltwiseDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context&) override {
    T* y = this->out();
    switch (desc_.operation) {
      case Operation::sum:
        std::fill_n(y, count(), T(0));
        for (int k = 0; k < this->ins(); ++k) {
          const T* x = this->in(k);
          for_each(count(), [=, factor = coeff(k)](int64_t i) { y[i] += factor * x[i]; });
        }
        break;
      case Operation::product:
        for_each(count(), [=, this](int64_t i) { y[i] = product_without(-1, i); });
        break;
      case Operation::max:
        for_each(count(), [=, this](int64_t i) { y[i] = this->in(winner(i))[i]; });
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    if (desc_.operation != Operation::sum) needs.in = this->all_ins();
    if (desc_.operation == Operation::product) needs.out = this->all_outs();
  }
  void differentiate(const Context&) override {
    for (int k = 0; k < this->ins(); ++k)
      if (this->din(k)) backward_to(k, this->din(k));
  }

 private:
  void backward_to(int k, T* dx) {
    const T *y = this->out(), *dy = this->dout(), *x = this->in(k);
    switch (desc_.operation) {
      case Operation::sum:
        for_each(count(), [=, factor = coeff(k)](int64_t i) { dx[i] = factor * dy[i]; });
        break;
      case Operation::product:
        if (desc_.stable_product)
          for_each(count(), [=, this](int64_t i) { dx[i] = product_without(k, i) * dy[i]; });
        else
          for_each(count(), [=](int64_t i) { dx[i] = y[i] / x[i] * dy[i]; });
        break;
      case Operation::max:
        for_each(count(), [=, this](int64_t i) { dx[i] = winner(i) == k ? dy[i] : T(0); });
    }
  }
  int64_t count() const { return this->out_shape().count(); }
  T coeff(int k) const {
    return desc_.coeff.empty() ? T(1) : static_cast<T>(desc_.coeff[static_cast<size_t>(k)]);
  }
  T product_without(int without, int64_t i) const {
    T product = 1;
    for (int k = 0; k < this->ins(); ++k)
      if (k != without) product *= this->in(k)[i];
    return product;
  }
  // The input that holds the maximum; between the first two a tie goes to the second, as in
  // eltwise_layer.cpp.
  int winner(int64_t i) const {
    int best = this->in(0)[i] > this->in(1)[i] ? 0 : 1;
    for (int k = 2; k < this->ins(); ++k)
      if (this->in(k)[i] > this->in(best)[i]) best = k;
    return best;
  }
  EltwiseDesc desc_;
};

// y[o, d, i] = x[o, d, i] * scale[d] + bias[d].
template <typename T>
class Affine : public ReferenceOp<T> {
 public:
  Affine(const AffineDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {
    int input = 1, parameter = 0;
    if (desc.scale) scale_ = desc.scale_from_input ? input++ : parameter++;
    if (desc.bias) bias_ = desc.bias_from_input ? input++ : parameter++;
  }

  void forward(const Context&) override {
    const T* x = this->in(0);
    T* y = this->out();
    const T *scale = scale_values(), *bias = bias_values();
    for_each_piece(desc_.outer * desc_.dim, desc_.inner, [=, this](int64_t row) {
      const int64_t d = row % desc_.dim;
      const T factor = scale ? scale[d] : T(1), offset = bias ? bias[d] : T(0);
      for (int64_t i = row * desc_.inner; i < (row + 1) * desc_.inner; ++i)
        y[i] = x[i] * factor + offset;
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    if (!desc_.scale) return;
    needs.in = this->all_ins();
    if (desc_.bias_from_input) needs.in.back() = false;
  }
  void differentiate(const Context& context) override {
    const T *x = this->in(0), *dy = this->dout(), *scale = scale_values();
    if (desc_.scale)
      reduce(context, desc_.scale_from_input, scale_, [=](int64_t i) { return dy[i] * x[i]; });
    if (desc_.bias) reduce(context, desc_.bias_from_input, bias_, [=](int64_t i) { return dy[i]; });
    T* dx = this->din(0);
    if (!dx) return;
    for_each_piece(desc_.outer * desc_.dim, desc_.inner, [=, this](int64_t row) {
      const T factor = scale ? scale[row % desc_.dim] : T(1);
      for (int64_t i = row * desc_.inner; i < (row + 1) * desc_.inner; ++i) dx[i] = dy[i] * factor;
    });
  }

 private:
  const T* scale_values() const {
    return !desc_.scale ? nullptr : desc_.scale_from_input ? this->in(scale_) : this->param(scale_);
  }
  const T* bias_values() const {
    return !desc_.bias ? nullptr : desc_.bias_from_input ? this->in(bias_) : this->param(bias_);
  }
  // total[d] = or += sum over o and i of value(o, d, i), for that input or parameter.
  template <typename Value>
  void reduce(const Context& context, bool is_input, int place, Value value) const {
    T* total = is_input ? this->din(place) : this->dparam(place);
    if (!total) return;
    for_each_piece(desc_.dim, desc_.outer * desc_.inner, [=, this](int64_t d) {
      double sum = 0;
      for (int64_t o = 0; o < desc_.outer; ++o) {
        const int64_t first = (o * desc_.dim + d) * desc_.inner;
        sum += sum_of(desc_.inner, [=](int64_t i) { return value(first + i); });
      }
      if (is_input)
        total[d] = static_cast<T>(sum);
      else
        this->give(context, place, d, sum);
    });
  }

  AffineDesc desc_;
  int scale_ = -1, bias_ = -1;  // places among the inputs or the parameters
};

}  // namespace

template <typename T>
OpPointer make_op(const PointwiseDesc& desc, const OpSite& site) {
  switch (desc.function) {
    case PointwiseDesc::Function::relu:
    case PointwiseDesc::Function::sigmoid:
    case PointwiseDesc::Function::prelu:
      return std::make_unique<Pointwise<T>>(desc, site);
    default:
      return make_activation<T>(desc, site);
  }
}
template OpPointer make_op<float>(const PointwiseDesc&, const OpSite&);
template OpPointer make_op<double>(const PointwiseDesc&, const OpSite&);
PCC_REFERENCE_OP(DropoutDesc, Dropout)
PCC_REFERENCE_OP(EltwiseDesc, Eltwise)
PCC_REFERENCE_OP(AffineDesc, Affine)

}  // namespace pcc::reference
