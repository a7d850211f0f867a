// Softmax, SoftmaxWithLoss and Accuracy. Scores are seen as (outer, classes, inner), cut at an
// axis; a column is one (outer, inner).
#include <cfloat>

#include "backends/reference/reference_op.h"
#include "ops/scores.h"

namespace pcc::reference {
namespace {

// The probabilities of one column: exp(x - largest) / total, which cannot overflow.
template <typename T>
struct SoftmaxColumn {
  const T* x;
  int64_t step;
  T largest, total;

  SoftmaxColumn(const T* scores, int64_t classes, int64_t inner)
      : x(scores), step(inner), largest(scores[0]) {
    for (int64_t c = 1; c < classes; ++c) largest = std::max(largest, x[c * step]);
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(x[c * step] - largest);
    total = static_cast<T>(sum);
  }
  T operator()(int64_t c) const { return std::exp(x[c * step] - largest) / total; }
};

template <typename T>
class Softmax : public ReferenceOp<T> {
 public:
  Softmax(const SoftmaxDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), columns_(site.in[0].shape, desc.axis) {}

  void forward(const Context&) override {
    const auto [outer, classes, inner] = columns_;
    for_each_piece(columns_.count(), classes,
                   [=, this, classes = classes, inner = inner](int64_t column) {
                     const int64_t first = columns_.first(column);
                     const SoftmaxColumn<T> p(this->in(0) + first, classes, inner);
                     for (int64_t c = 0; c < classes; ++c) this->out()[first + c * inner] = p(c);
                   });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.out = this->all_outs(); }
  void differentiate(const Context&) override {
    const int64_t classes = columns_.classes, inner = columns_.inner;
    for_each_piece(columns_.count(), classes, [=, this](int64_t column) {
      const int64_t first = columns_.first(column);
      const T *y = this->out() + first, *dy = this->dout() + first;
      T* dx = this->din(0) + first;
      const T dot =
          static_cast<T>(sum_of(classes, [=](int64_t c) { return dy[c * inner] * y[c * inner]; }));
      for (int64_t c = 0; c < classes; ++c) dx[c * inner] = (dy[c * inner] - dot) * y[c * inner];
    });
  }

 private:
  Columns columns_;
};

template <typename T>
class SoftmaxLoss : public ReferenceOp<T> {
 public:
  SoftmaxLoss(const SoftmaxLossDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes) {
    PCC_CHECK(columns_.outer % desc.groups == 0, "'", site.name, "': ", columns_.outer,
              " samples do not divide by ", desc.groups, " groups");
  }

  void forward(const Context& context) override {
    const T *x = this->in(0), *labels = this->in(1);
    labels_.check(context, this->site_.number, labels, columns_.count(),
                  columns_.count() / this->in_shape(0)[0]);
    double loss = 0;
    for (int64_t column = 0; column < group_columns(); ++column) {
      if (labels_.skips(labels[column])) continue;
      const SoftmaxColumn<T> p(x + columns_.first(column), columns_.classes, columns_.inner);
      loss -= std::log(std::max(p(static_cast<int64_t>(labels[column])), T(FLT_MIN)));
    }
    this->out()[0] = static_cast<T>(loss / normalizer(0));
    if (this->outs() > 1) write_probabilities();
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = this->all_ins(); }
  void differentiate(const Context&) override {
    const T *x = this->in(0), *labels = this->in(1);
    T* dx = this->din(0);
    if (!this->dout(0)) {  // as in Caffe, the probabilities pass no gradient on
      std::fill_n(dx, this->in_shape(0).count(), T(0));
      return;
    }
    const int64_t classes = columns_.classes, inner = columns_.inner;
    for (int64_t group = 0; group < desc_.groups; ++group) {
      const T weight = static_cast<T>(this->dout(0)[0] / normalizer(group));
      for_each_piece(group_columns(), classes, [=, this](int64_t piece) {
        const int64_t column = group * group_columns() + piece, first = columns_.first(column);
        const bool ignored = labels_.skips(labels[column]);
        const SoftmaxColumn<T> p(x + first, classes, inner);
        for (int64_t c = 0; c < classes; ++c) {
          const T target = c == static_cast<int64_t>(labels[column]) ? T(1) : T(0);
          dx[first + c * inner] = ignored ? T(0) : (p(c) - target) * weight;
        }
      });
    }
  }

 private:
  int64_t group_columns() const { return columns_.count() / desc_.groups; }
  double normalizer(int64_t group) const {
    return pcc::normalizer(desc_, columns_, labels_, this->in(1), group);
  }
  void write_probabilities() {
    for_each_piece(columns_.count(), columns_.classes, [this](int64_t column) {
      const int64_t first = columns_.first(column);
      const SoftmaxColumn<T> p(this->in(0) + first, columns_.classes, columns_.inner);
      for (int64_t c = 0; c < columns_.classes; ++c)
        this->out(1)[first + c * columns_.inner] = p(c);
    });
  }

  SoftmaxLossDesc desc_;
  Columns columns_;
  Labels<T> labels_;
};

template <typename T>
class Accuracy : public ReferenceOp<T> {
 public:
  Accuracy(const AccuracyDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes) {}

  void forward(const Context& context) override {
    const int64_t counted = columns_.count() / desc_.groups;
    labels_.check(context, this->site_.number, this->in(1), counted,
                  columns_.count() / this->in_shape(0)[0]);
    measure_accuracy(desc_, columns_, labels_, counted, this->in(0), this->in(1), this->out(),
                     this->outs() > 1 ? this->out(1) : nullptr,
                     static_cast<int64_t*>(this->buffers_.scratch));
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (this->outs() > 1)
      needs.forward_scratch = columns_.classes * static_cast<int64_t>(sizeof(int64_t));
  }

 private:
  AccuracyDesc desc_;
  Columns columns_;
  Labels<T> labels_;
};

}  // namespace

PCC_REFERENCE_OP(SoftmaxDesc, Softmax)
PCC_REFERENCE_OP(SoftmaxLossDesc, SoftmaxLoss)
PCC_REFERENCE_OP(AccuracyDesc, Accuracy)

}  // namespace pcc::reference
