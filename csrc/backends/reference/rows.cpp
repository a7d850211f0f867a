// Reduction, ArgMax, MVN, Normalize, Interp: numbers taken from rows, planes and samples.
#include <numeric>
#include <vector>

#include "backends/reference/reference_op.h"
#include "ops/classes.h"

namespace pcc::reference {
namespace {

template <typename T>
class Reduction : public ReferenceOp<T> {
  using Operation = ReductionDesc::Operation;

 public:
  Reduction(const ReductionDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        rows_(site.in[0].shape.count(0, desc.axis)),
        size_(site.in[0].shape.count(desc.axis)) {}

  void forward(const Context&) override {
    for_each_piece(rows_, size_, [this](int64_t row) {
      const T* x = this->in(0) + row * size_;
      const double sum = sum_of(size_, [=, this](int64_t i) {
        return desc_.operation == Operation::sum          ? x[i]
               : desc_.operation == Operation::magnitudes ? std::abs(x[i])
                                                          : x[i] * x[i];
      });
      this->out()[row] = static_cast<T>(desc_.coeff * sum);
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {desc_.operation != Operation::sum};
  }
  void differentiate(const Context&) override {
    for_each_piece(rows_, size_, [this](int64_t row) {
      const T* x = this->in(0) + row * size_;
      T* dx = this->din(0) + row * size_;
      const T g = static_cast<T>(desc_.coeff) * this->dout()[row];
      for (int64_t i = 0; i < size_; ++i)
        dx[i] = desc_.operation == Operation::sum ? g
                : desc_.operation == Operation::magnitudes
                    ? g * static_cast<T>((x[i] > 0) - (x[i] < 0))
                    : 2 * g * x[i];
    });
  }

 private:
  ReductionDesc desc_;
  int64_t rows_, size_;
};

template <typename T>
class ArgMax : public ReferenceOp<T> {
 public:
  ArgMax(const ArgMaxDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), desc_(desc), columns_(seen(desc, site.in[0].shape)) {
    places_.resize(static_cast<size_t>(columns_.classes));
  }

  void forward(const Context&) override {
    const bool pairs = desc_.axis < 0 && desc_.values;
    const int64_t k = desc_.top_k, inner = columns_.inner;
    for (int64_t column = 0; column < columns_.count(); ++column) {
      const T* x = this->in(0) + columns_.first(column);
      std::iota(places_.begin(), places_.end(), 0);
      std::partial_sort(places_.begin(), places_.begin() + k, places_.end(),
                        [=](int64_t a, int64_t b) {
                          return x[a * inner] != x[b * inner] ? x[a * inner] > x[b * inner] : a > b;
                        });
      T* y = this->out() + column / inner * (pairs ? 2 : 1) * k * inner + column % inner;
      for (int64_t i = 0; i < k; ++i) {
        const int64_t place = places_[static_cast<size_t>(i)];
        if (pairs) y[(k + i) * inner] = x[place * inner];
        y[i * inner] = desc_.values && !pairs ? x[place * inner] : static_cast<T>(place);
      }
    }
  }

 private:
  // Without an axis: a sample is one column.
  static Columns seen(const ArgMaxDesc& desc, const Shape& x) {
    return desc.axis >= 0 ? Columns(x, desc.axis) : Columns(Shape{x[0], x.count(1)}, 1);
  }
  ArgMaxDesc desc_;
  Columns columns_;
  std::vector<int64_t> places_;
};

template <typename T>
class Mvn : public ReferenceOp<T> {
 public:
  Mvn(const MvnDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        rows_(site.in[0].shape.count(0, desc.axis)),
        size_(site.in[0].shape.count(desc.axis)) {}

  void forward(const Context&) override {
    for_each_piece(rows_, size_, [this](int64_t row) {
      const T* x = this->in(0) + row * size_;
      T* y = this->out() + row * size_;
      const double n = static_cast<double>(size_);
      const T mean = static_cast<T>(sum_of(size_, [=](int64_t i) { return x[i]; }) / n);
      T divisor = 1;
      if (desc_.variance) {
        const double variance =
            sum_of(size_, [=](int64_t i) { return (x[i] - mean) * (x[i] - mean); }) / n;
        divisor = static_cast<T>(std::sqrt(variance) + desc_.eps);
      }
      for (int64_t i = 0; i < size_; ++i) y[i] = (x[i] - mean) / divisor;
      if (this->trains()) divisors()[row] = divisor;
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.out = {desc_.variance};
    needs.stash_bytes = rows_ * static_cast<int64_t>(sizeof(T));
  }
  void differentiate(const Context&) override {
    for_each_piece(rows_, size_, [this](int64_t row) {
      const T *y = this->out() + row * size_, *dy = this->dout() + row * size_;
      T* dx = this->din(0) + row * size_;
      const double n = static_cast<double>(size_);
      const T mean = static_cast<T>(sum_of(size_, [=](int64_t i) { return dy[i]; }) / n);
      const T along =
          desc_.variance
              ? static_cast<T>(sum_of(size_, [=](int64_t i) { return y[i] * dy[i]; }) / n)
              : T(0);
      const T divisor = divisors()[row];
      for (int64_t i = 0; i < size_; ++i)
        dx[i] = (dy[i] - mean - (desc_.variance ? along * y[i] : T(0))) / divisor;
    });
  }

 private:
  T* divisors() const { return static_cast<T*>(this->buffers_.stash); }
  MvnDesc desc_;
  int64_t rows_, size_;
};

// A group is what shares a norm: a sample, or one of its positions.
template <typename T>
class Normalize : public ReferenceOp<T> {
 public:
  Normalize(const NormalizeDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        channels_(site.in[0].shape[1]),
        area_(site.in[0].shape.count(2)),
        shared_(site.params[0].shape.count() == 1) {}

  void forward(const Context&) override {
    const T* x = this->in(0);
    T* y = this->out();
    for_each_group([=, this](int64_t first, int64_t step, int64_t count) {
      const T norm = norm_of(x + first, step, count);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = first + i * step;
        y[at] = x[at] / norm * scale(at);
      }
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = {true}; }
  void differentiate(const Context& context) override {
    const T *x = this->in(0), *dy = this->dout();
    if (T* dx = this->din(0))
      for_each_group([=, this](int64_t first, int64_t step, int64_t count) {
        const T norm = norm_of(x + first, step, count);
        const T along = static_cast<T>(sum_of(count, [=, this](int64_t i) {
          const int64_t at = first + i * step;
          return x[at] * dy[at] * scale(at);
        }));
        for (int64_t i = 0; i < count; ++i) {
          const int64_t at = first + i * step;
          dx[at] = (dy[at] * scale(at) - x[at] * along / (norm * norm)) / norm;
        }
      });
    if (this->dparam(0)) scale_gradient(context);
  }

 private:
  T scale(int64_t at) const { return this->param(0)[shared_ ? 0 : at / area_ % channels_]; }
  T norm_of(const T* x, int64_t step, int64_t count) const {
    return static_cast<T>(
        std::sqrt(desc_.eps + sum_of(count, [=](int64_t i) { return x[i * step] * x[i * step]; })));
  }
  template <typename Body>
  void for_each_group(Body body) {
    const int64_t samples = this->in_shape(0)[0], size = channels_ * area_;
    if (desc_.across_spatial)
      for_each_piece(samples, size, [=](int64_t n) { body(n * size, 1, size); });
    else
      for_each_piece(samples * area_, channels_, [=, this](int64_t at) {
        body(at / area_ * size + at % area_, area_, channels_);
      });
  }
  void scale_gradient(const Context& context) {
    const T *x = this->in(0), *dy = this->dout();
    std::vector<double> sums(static_cast<size_t>(channels_));
    const int64_t samples = this->in_shape(0)[0], size = channels_ * area_;
    for (int64_t g = 0; g < samples * (desc_.across_spatial ? 1 : area_); ++g) {
      const int64_t first = desc_.across_spatial ? g * size : g / area_ * size + g % area_;
      const int64_t step = desc_.across_spatial ? 1 : area_;
      const int64_t count = desc_.across_spatial ? size : channels_;
      const T norm = norm_of(x + first, step, count);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t at = first + i * step;
        sums[static_cast<size_t>(at / area_ % channels_)] +=
            static_cast<double>(dy[at] * x[at] / norm);
      }
    }
    if (shared_)
      this->give(context, 0, 0, std::accumulate(sums.begin(), sums.end(), 0.0));
    else
      for (int64_t c = 0; c < channels_; ++c)
        this->give(context, 0, c, sums[static_cast<size_t>(c)]);
  }

  NormalizeDesc desc_;
  int64_t channels_, area_;
  bool shared_;
};

template <typename T>
class Interp : public ReferenceOp<T> {
 public:
  Interp(const InterpDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        planes_(site.in[0].shape.count(0, 2)),
        area_(site.in[0].shape.count(2)),
        width_(site.in[0].shape[3]),
        out_rows_(site.out[0].shape[2]),
        out_columns_(site.out[0].shape[3]),
        rows_(sides(desc, site.in[0].shape[2], out_rows_)),
        columns_(sides(desc, width_, out_columns_)) {}

  void forward(const Context&) override {
    for_each_piece(planes_, out_rows_ * out_columns_, [this](int64_t plane) {
      const T* x = this->in(0) + plane * area_;
      T* y = this->out() + plane * out_rows_ * out_columns_;
      for (const Side& r : rows_)
        for (const Side& c : columns_)
          *y++ = (1 - r.share) * mix(x + r.from * width_, c) + r.share * mix(x + r.to * width_, c);
    });
  }

 protected:
  void differentiate(const Context&) override {
    for_each_piece(planes_, out_rows_ * out_columns_, [this](int64_t plane) {
      T* dx = this->din(0) + plane * area_;
      const T* dy = this->dout() + plane * out_rows_ * out_columns_;
      std::fill_n(dx, area_, T(0));
      for (const Side& r : rows_)
        for (const Side& c : columns_) {
          spread(dx + r.from * width_, c, (1 - r.share) * *dy);
          spread(dx + r.to * width_, c, r.share * *dy++);
        }
    });
  }

 private:
  // Between which two an element of y lies, and how near to the second.
  struct Side {
    int64_t from, to;
    T share;
  };
  static std::vector<Side> sides(const InterpDesc& desc, int64_t size, int64_t out) {
    const int64_t seen = size + desc.pad_begin + desc.pad_end;
    const T step = out > 1 ? static_cast<T>(seen - 1) / static_cast<T>(out - 1) : T(0);
    std::vector<Side> sides;
    for (int64_t i = 0; i < out; ++i) {
      const T at = step * static_cast<T>(i);
      const int64_t from = static_cast<int64_t>(at);
      sides.push_back({from - desc.pad_begin, std::min(from + 1, seen - 1) - desc.pad_begin,
                       at - static_cast<T>(from)});
    }
    return sides;
  }
  static T mix(const T* row, const Side& c) {
    return (1 - c.share) * row[c.from] + c.share * row[c.to];
  }
  static void spread(T* row, const Side& c, T g) {
    row[c.from] += (1 - c.share) * g;
    row[c.to] += c.share * g;
  }

  int64_t planes_, area_, width_, out_rows_, out_columns_;
  std::vector<Side> rows_, columns_;
};

}  // namespace

PCC_REFERENCE_OP(ReductionDesc, Reduction)
PCC_REFERENCE_OP(ArgMaxDesc, ArgMax)
PCC_REFERENCE_OP(MvnDesc, Mvn)
PCC_REFERENCE_OP(NormalizeDesc, Normalize)
PCC_REFERENCE_OP(InterpDesc, Interp)

}  // namespace pcc::reference
