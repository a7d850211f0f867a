// The losses but SoftmaxWithLoss. Each is a mean over samples (N, D); a group of samples is a
// replica.
#include <vector>

#include "backends/reference/reference_op.h"
#include "ops/scores.h"

namespace pcc::reference {
namespace {

constexpr double kLeast = 1e-20;  // the smallest probability whose logarithm is taken, as in Caffe

// A loss over samples: loss = sum over those of group 0 / normalizer(0).
template <typename T>
class SampleLoss : public ReferenceOp<T> {
 public:
  SampleLoss(const OpSite& site, int64_t groups)
      : ReferenceOp<T>(site),
        groups_(groups),
        samples_(site.in[0].shape[0]),
        size_(site.in[0].shape.count(1)) {
    PCC_CHECK(samples_ % groups == 0, "'", site.name, "': ", samples_, " samples do not divide by ",
              groups, " groups");
  }

  void forward(const Context& context) override {
    check(context);
    double sum = 0;
    for (int64_t n = 0; n < samples_ / groups_; ++n) sum += loss_of(n);
    this->out()[0] = static_cast<T>(sum / normalizer(0));
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = this->all_ins(); }
  void differentiate(const Context&) override {
    for (int64_t group = 0; group < groups_; ++group) {
      const int64_t count = samples_ / groups_;
      const T weight = static_cast<T>(this->dout()[0] / normalizer(group));
      for_each_piece(count, size_, [=, this](int64_t n) { pull(group * count + n, weight); });
    }
  }

  virtual void check(const Context& context) { (void)context; }
  virtual double loss_of(int64_t n) const = 0;
  // Writes what is wanted of sample n's gradients: weight times the derivatives.
  virtual void pull(int64_t n, T weight) const = 0;
  virtual double normalizer(int64_t group) const {
    (void)group;
    return static_cast<double>(samples_ / groups_);
  }
  const T* row(int input, int64_t n) const { return this->in(input) + n * size_; }

  int64_t groups_, samples_, size_;
};

template <typename T>
class DistanceLoss : public SampleLoss<T> {
  using Kind = DistanceLossDesc::Kind;

 public:
  DistanceLoss(const DistanceLossDesc& desc, const OpSite& site)
      : SampleLoss<T>(site, desc.groups), kind_(desc.kind), margin_(static_cast<T>(desc.margin)) {}

 protected:
  double loss_of(int64_t n) const override {
    const T square = distance_squared(n);
    const T gap = pushes(n) ? std::max(gap_of(square), T(0)) : T(0);
    const T loss = !pushes(n) ? square : kind_ == Kind::legacy ? gap : gap * gap;
    return static_cast<double>(loss) / 2;
  }
  void pull(int64_t n, T weight) const override {
    T factor = weight;
    if (pushes(n)) {
      const T square = distance_squared(n), gap = gap_of(square);
      factor = gap <= 0                ? T(0)
               : kind_ == Kind::legacy ? -weight
                                       : -weight * gap / (std::sqrt(square) + T(1e-4));
    }
    const T *a = this->row(0, n), *b = this->row(1, n);
    for (int side = 0; side < 2; ++side)
      if (T* dx = this->din(side))
        for (int64_t i = 0; i < this->size_; ++i)
          dx[n * this->size_ + i] = (side == 0 ? factor : -factor) * (a[i] - b[i]);
  }

 private:
  bool pushes(int64_t n) const {
    return kind_ != Kind::euclidean && static_cast<int64_t>(this->in(2)[n]) == 0;
  }
  T distance_squared(int64_t n) const {
    const T *a = this->row(0, n), *b = this->row(1, n);
    return static_cast<T>(
        sum_of(this->size_, [=](int64_t i) { return (a[i] - b[i]) * (a[i] - b[i]); }));
  }
  T gap_of(T square) const {
    return margin_ - (kind_ == Kind::legacy ? square : std::sqrt(square));
  }

  Kind kind_;
  T margin_;
};

template <typename T>
class SmoothLoss : public SampleLoss<T> {
 public:
  SmoothLoss(const SmoothLossDesc& desc, const OpSite& site)
      : SampleLoss<T>(site, desc.groups), square_(static_cast<T>(desc.sigma * desc.sigma)) {}

 protected:
  double loss_of(int64_t n) const override {
    return sum_of(this->size_, [=, this](int64_t i) {
      const T d = std::abs(difference(n, i));
      return weight(3, n, i) * (d < 1 / square_ ? square_ * d * d / 2 : d - T(0.5) / square_);
    });
  }
  void pull(int64_t n, T scale) const override {
    for (int64_t i = 0; i < this->size_; ++i) {
      const T slope = std::clamp(square_ * difference(n, i), T(-1), T(1));
      const T pulls = scale * weight(2, n, i) * weight(3, n, i) * slope;
      for (int side = 0; side < 2; ++side)
        if (T* dx = this->din(side)) dx[n * this->size_ + i] = side == 0 ? pulls : -pulls;
    }
  }

 private:
  T weight(int input, int64_t n, int64_t i) const {
    return input < this->ins() ? this->row(input, n)[i] : T(1);
  }
  T difference(int64_t n, int64_t i) const {
    return weight(2, n, i) * (this->row(0, n)[i] - this->row(1, n)[i]);
  }
  T square_;
};

// Samples with a class each.
template <typename T>
class ClassLoss : public SampleLoss<T> {
 public:
  ClassLoss(const OpSite& site, int64_t groups)
      : SampleLoss<T>(site, groups), labels_(false, 0, this->size_) {}

 protected:
  void check(const Context& context) override {
    labels_.check(context, this->site_.number, this->in(1), this->samples_, 1);
  }
  // -1: no class; that has been reported.
  int64_t label(int64_t n) const {
    const T label = this->in(1)[n];
    return labels_.skips(label) ? -1 : static_cast<int64_t>(label);
  }

 private:
  Labels<T> labels_;
};

template <typename T>
class HingeLoss : public ClassLoss<T> {
 public:
  HingeLoss(const HingeLossDesc& desc, const OpSite& site)
      : ClassLoss<T>(site, desc.groups), squared_(desc.squared) {}

 protected:
  double loss_of(int64_t n) const override {
    return sum_of(this->size_, [=, this](int64_t i) {
      const T over = reach(n, i);
      return squared_ ? over * over : over;
    });
  }
  void pull(int64_t n, T weight) const override {
    for (int64_t i = 0; i < this->size_; ++i) {
      const T over = reach(n, i), side = i == this->label(n) ? T(-1) : T(1);
      this->din(0)[n * this->size_ + i] =
          side * weight * (squared_ ? 2 * over : static_cast<T>(over > 0));
    }
  }

 private:
  // How far a score is on the wrong side of its margin.
  T reach(int64_t n, int64_t i) const {
    const T x = this->row(0, n)[i];
    return std::max(T(0), 1 + (i == this->label(n) ? -x : x));
  }
  bool squared_;
};

template <typename T>
class LogLoss : public ClassLoss<T> {
 public:
  LogLoss(const LogLossDesc& desc, const OpSite& site) : ClassLoss<T>(site, desc.groups) {}

 protected:
  double loss_of(int64_t n) const override {
    const int64_t label = this->label(n);
    return label < 0 ? 0 : -std::log(static_cast<double>(probability(n, label)));
  }
  void pull(int64_t n, T weight) const override {
    T* dx = this->din(0) + n * this->size_;
    std::fill_n(dx, this->size_, T(0));
    const int64_t label = this->label(n);
    if (label >= 0) dx[label] = -weight / probability(n, label);
  }

 private:
  T probability(int64_t n, int64_t label) const {
    return std::max(this->row(0, n)[label], T(kLeast));
  }
};

template <typename T>
class SigmoidLoss : public SampleLoss<T> {
 public:
  SigmoidLoss(const SigmoidLossDesc& desc, const OpSite& site)
      : SampleLoss<T>(site, desc.groups), desc_(desc) {}

 protected:
  double loss_of(int64_t n) const override {
    const T *x = this->row(0, n), *target = this->row(1, n);
    return sum_of(this->size_, [=, this](int64_t i) {
      if (ignores(target[i])) return T(0);
      const T positive = x[i] >= 0 ? T(1) : T(0);
      return std::log(1 + std::exp(x[i] - 2 * x[i] * positive)) - x[i] * (target[i] - positive);
    });
  }
  void pull(int64_t n, T weight) const override {
    const T *x = this->row(0, n), *target = this->row(1, n);
    T* dx = this->din(0) + n * this->size_;
    for (int64_t i = 0; i < this->size_; ++i) {
      const T p = T(0.5) * std::tanh(T(0.5) * x[i]) + T(0.5);
      dx[i] = ignores(target[i]) ? T(0) : weight * (p - target[i]);
    }
  }
  double normalizer(int64_t group) const override {
    const int64_t samples = this->samples_ / this->groups_, all = samples * this->size_;
    const T* target = this->row(1, group * samples);
    int64_t count = 1;
    switch (desc_.normalization) {
      case Normalization::full:
        count = all;
        break;
      case Normalization::valid:
        count = std::count_if(target, target + all, [this](T t) { return !ignores(t); });
        break;
      case Normalization::batch_size:
        count = samples;
        break;
      case Normalization::none:
        break;
    }
    return static_cast<double>(std::max<int64_t>(count, 1));
  }

 private:
  bool ignores(T target) const {
    return desc_.has_ignore_label && std::abs(target) < T(1e9) &&
           static_cast<int64_t>(target) == desc_.ignore_label;
  }
  SigmoidLossDesc desc_;
};

template <typename T>
class InfogainLoss : public ReferenceOp<T> {
 public:
  InfogainLoss(const InfogainLossDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc.scores),
        columns_(site.in[0].shape, desc.scores.axis),
        labels_(desc_.has_ignore_label, desc_.ignore_label, columns_.classes) {}

  void forward(const Context& context) override {
    labels_.check(context, this->site_.number, this->in(1), columns_.count(),
                  columns_.count() / this->in_shape(0)[0]);
    double loss = 0;
    std::vector<T> p(static_cast<size_t>(columns_.classes));
    for (int64_t column = 0; column < columns_.count(); ++column) {
      softmax(column, p);
      for (int64_t c = 0; c < columns_.classes && this->outs() > 1; ++c)
        this->out(1)[columns_.first(column) + c * columns_.inner] = p[static_cast<size_t>(c)];
      const T* gains = gains_of(column);
      if (!gains || column >= columns_.count() / desc_.groups) continue;
      for (int64_t c = 0; c < columns_.classes; ++c)
        loss -= static_cast<double>(gains[c] *
                                    std::log(std::max(p[static_cast<size_t>(c)], T(kLeast))));
    }
    this->out()[0] = static_cast<T>(loss / normalizer(desc_, columns_, labels_, this->in(1), 0));
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = this->all_ins(); }
  void differentiate(const Context&) override {
    T* dx = this->din(0);
    std::fill_n(dx, this->in_shape(0).count(), T(0));
    if (!this->dout(0)) return;  // as in Caffe, the probabilities pass no gradient on
    std::vector<T> p(static_cast<size_t>(columns_.classes));
    const int64_t in_group = columns_.count() / desc_.groups, classes = columns_.classes;
    for (int64_t column = 0; column < columns_.count(); ++column) {
      const T* gains = gains_of(column);
      if (!gains) continue;
      const double divisor = normalizer(desc_, columns_, labels_, this->in(1), column / in_group);
      const T weight = static_cast<T>(this->dout(0)[0] / divisor);
      const T all = static_cast<T>(sum_of(classes, [=](int64_t c) { return gains[c]; }));
      softmax(column, p);
      for (int64_t c = 0; c < classes; ++c)
        dx[columns_.first(column) + c * columns_.inner] =
            weight * (p[static_cast<size_t>(c)] * all - gains[c]);
    }
  }

 private:
  void softmax(int64_t column, std::vector<T>& p) const {
    const T* x = this->in(0) + columns_.first(column);
    T largest = x[0];
    for (int64_t c = 1; c < columns_.classes; ++c)
      largest = std::max(largest, x[c * columns_.inner]);
    double total = 0;
    for (size_t c = 0; c < p.size(); ++c) {
      p[c] = std::exp(x[static_cast<int64_t>(c) * columns_.inner] - largest);
      total += static_cast<double>(p[c]);
    }
    for (T& each : p) each = static_cast<T>(each / total);
  }
  // The row of the label; null where that does not count.
  const T* gains_of(int64_t column) const {
    const T label = this->in(1)[column];
    return labels_.skips(label) ? nullptr
                                : this->in(2) + static_cast<int64_t>(label) * columns_.classes;
  }

  SoftmaxLossDesc desc_;
  Columns columns_;
  Labels<T> labels_;
};

}  // namespace

PCC_REFERENCE_OP(DistanceLossDesc, DistanceLoss)
PCC_REFERENCE_OP(SmoothLossDesc, SmoothLoss)
PCC_REFERENCE_OP(HingeLossDesc, HingeLoss)
PCC_REFERENCE_OP(LogLossDesc, LogLoss)
PCC_REFERENCE_OP(SigmoidLossDesc, SigmoidLoss)
PCC_REFERENCE_OP(InfogainLossDesc, InfogainLoss)

}  // namespace pcc::reference
