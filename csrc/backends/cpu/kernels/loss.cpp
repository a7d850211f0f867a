// Softmax, SoftmaxWithLoss and Accuracy. Scores are seen as (outer, classes, inner), cut at an
// axis; a column is one (outer, inner).
#include <cfloat>
#include <cmath>

#include "backends/cpu/kernels/kernel_op.h"
#include "ops/scores.h"

namespace pcc::cpu {

namespace {

// The probabilities of one column: exp(x - largest) / total, which cannot overflow.
void softmax_column(const Columns& columns, int64_t column, const float* scores,
                    float* probabilities) {
  const int64_t first = columns.first(column), classes = columns.classes, inner = columns.inner;
  const float* x = scores + first;
  float* p = probabilities + first;
  float largest = x[0];
  for (int64_t c = 1; c < classes; ++c) largest = std::max(largest, x[c * inner]);
  double total = 0;
  for (int64_t c = 0; c < classes; ++c) {
    p[c * inner] = std::exp(x[c * inner] - largest);
    total += static_cast<double>(p[c * inner]);
  }
  const float sum = static_cast<float>(total);
  for (int64_t c = 0; c < classes; ++c) p[c * inner] /= sum;
}

class SoftmaxOp : public KernelOp {
 public:
  SoftmaxOp(const SoftmaxDesc& desc, const OpSite& site)
      : KernelOp(site), columns_(site.in[0].shape, desc.axis) {
    if (trains_) needs_.out = {true};
  }

  void forward(const Context&) override {
    for_pieces(columns_.count(), 8 * columns_.classes,
               [this](int64_t column) { softmax_column(columns_, column, in(0), out()); });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_pieces(columns_.count(), columns_.classes, [this](int64_t column) {
      const int64_t first = columns_.first(column), inner = columns_.inner;
      const float *y = out() + first, *dy = dout() + first;
      double dot = 0;
      for (int64_t c = 0; c < columns_.classes; ++c)
        dot += static_cast<double>(dy[c * inner] * y[c * inner]);
      for (int64_t c = 0; c < columns_.classes; ++c)
        din(0)[first + c * inner] = (dy[c * inner] - static_cast<float>(dot)) * y[c * inner];
    });
  }

 private:
  Columns columns_;
};

// The probabilities are kept for backward.
class SoftmaxLossOp : public KernelOp {
 public:
  SoftmaxLossOp(const SoftmaxLossDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes) {
    PCC_CHECK(columns_.outer % desc.groups == 0, "'", site.name, "': ", columns_.outer,
              " samples do not divide by ", desc.groups, " groups");
    shows_ = site.out.size() > 1;
    const int64_t bytes = site.in[0].bytes();
    if (trains_) {
      needs_.in = {false, true};
      if (shows_)
        needs_.out = {false, true};
      else
        needs_.stash_bytes = bytes;
    } else if (!shows_) {
      needs_.forward_scratch = bytes;
    }
  }

  void forward(const Context& context) override {
    const float* labels = in(1);
    labels_.check(context, site_.number, labels, columns_.count(),
                  columns_.count() / site_.in[0].shape[0]);
    for_pieces(columns_.count(), 8 * columns_.classes, [this](int64_t column) {
      softmax_column(columns_, column, in(0), probabilities());
    });
    double loss = 0;
    for (int64_t column = 0; column < group_columns(); ++column) {
      if (labels_.skips(labels[column])) continue;
      const int64_t label = static_cast<int64_t>(labels[column]);
      const float p = probabilities()[columns_.first(column) + label * columns_.inner];
      loss -= static_cast<double>(std::log(std::max(p, FLT_MIN)));
    }
    out()[0] = static_cast<float>(loss / normalizer(0));
  }

 protected:
  void differentiate(const Context&) override {
    float* dx = din(0);
    if (!dx) return;
    if (!dout(0)) {  // as in Caffe, the probabilities pass no gradient on
      std::memset(dx, 0, static_cast<size_t>(site_.in[0].bytes()));
      return;
    }
    for (int64_t group = 0; group < desc_.groups; ++group) {
      const float weight = static_cast<float>(static_cast<double>(dout(0)[0]) / normalizer(group));
      for_pieces(group_columns(), columns_.classes, [=, this](int64_t piece) {
        differentiate_column(group * group_columns() + piece, weight);
      });
    }
  }

 private:
  int64_t group_columns() const { return columns_.count() / desc_.groups; }
  float* probabilities() const {
    if (shows_) return out(1);
    return static_cast<float*>(trains_ ? buffers_.stash : buffers_.scratch);
  }

  void differentiate_column(int64_t column, float weight) {
    const int64_t first = columns_.first(column), inner = columns_.inner;
    const float* p = probabilities() + first;
    float* dx = din(0) + first;
    if (labels_.skips(in(1)[column])) {
      for (int64_t c = 0; c < columns_.classes; ++c) dx[c * inner] = 0;
      return;
    }
    for (int64_t c = 0; c < columns_.classes; ++c) dx[c * inner] = p[c * inner] * weight;
    const int64_t label = static_cast<int64_t>(in(1)[column]);
    dx[label * inner] = (p[label * inner] - 1) * weight;
  }

  double normalizer(int64_t group) const {
    return pcc::normalizer(desc_, columns_, labels_, in(1), group);
  }

  SoftmaxLossDesc desc_;
  Columns columns_;
  Labels<float> labels_;
  bool shows_ = false;
};

class AccuracyOp : public KernelOp {
 public:
  AccuracyOp(const AccuracyDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes) {
    if (site.out.size() > 1)
      needs_.forward_scratch = columns_.classes * static_cast<int64_t>(sizeof(int64_t));
  }

  void forward(const Context& context) override {
    const int64_t counted = columns_.count() / desc_.groups;
    labels_.check(context, site_.number, in(1), counted, columns_.count() / site_.in[0].shape[0]);
    measure_accuracy(desc_, columns_, labels_, counted, in(0), in(1), out(),
                     site_.out.size() > 1 ? out(1) : nullptr,
                     static_cast<int64_t*>(buffers_.scratch));
  }

 private:
  AccuracyDesc desc_;
  Columns columns_;
  Labels<float> labels_;
};

}  // namespace

std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site) {
  return std::make_unique<SoftmaxOp>(desc, site);
}

std::unique_ptr<Op> make_softmax_loss(const SoftmaxLossDesc& desc, const OpSite& site) {
  return std::make_unique<SoftmaxLossOp>(desc, site);
}

std::unique_ptr<Op> make_accuracy(const AccuracyDesc& desc, const OpSite& site) {
  return std::make_unique<AccuracyOp>(desc, site);
}

}  // namespace pcc::cpu
