// BatchNorm with what may be fused behind it: Scale, a residual sum, ReLU.
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

// One piece of work is a channel, over all samples: x is seen as (samples, channels, area).
// Kept for backward: mean and 1 / sqrt(variance + eps) per (group, channel), and which outputs the
// ReLU let pass.
template <typename T>
class NormAct : public ReferenceOp<T> {
 public:
  NormAct(const NormActDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        samples_(site.in[0].shape[0]),
        channels_(site.in[0].shape[1]),
        area_(site.in[0].shape.count(2)),
        groups_(desc.use_global_stats ? 1 : desc.groups),
        group_samples_(samples_ / groups_) {
    PCC_CHECK(samples_ % groups_ == 0, "'", site.name, "': ", samples_,
              " samples do not divide by ", groups_, " groups");
  }

  void forward(const Context& context) override {
    counts_ = context.report->halt == Halt::none;
    for_each_piece(channels_, samples_ * area_, [this](int64_t c) { forward_channel(c); });
    if (!desc_.use_global_stats && counts_) {
      T* factor = this->param(2);
      factor[0] = factor[0] * static_cast<T>(desc_.fraction) + T(1);
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(this->site_.in.size(), false);
    needs.in[0] = true;
    needs.stash_bytes = mask_offset() + (desc_.relu ? samples_ * channels_ * area_ : 0);
  }
  void differentiate(const Context& context) override {
    for_each_piece(channels_, samples_ * area_,
                   [&, this](int64_t c) { backward_channel(c, context); });
  }

 private:
  struct Statistics {
    T mean, inv_std;
  };
  bool counts_ = true;  // whether this pass moves the running statistics: not after an error
  bool keeps() const { return this->site_.backward(); }
  Statistics& kept(int64_t group, int64_t c) const {
    return static_cast<Statistics*>(this->buffers_.stash)[group * channels_ + c];
  }
  int64_t mask_offset() const {
    return groups_ * channels_ * static_cast<int64_t>(sizeof(Statistics));
  }
  uint8_t* mask() const { return static_cast<uint8_t*>(this->buffers_.stash) + mask_offset(); }
  T gain(int64_t c) const { return desc_.gain ? this->param(3)[c] : T(1); }
  T shift(int64_t c) const { return desc_.shift ? this->param(4)[c] : T(0); }

  // Calls body(first index) for each run of area_ elements of the channel in that group.
  template <typename Body>
  void for_each_row(int64_t group, int64_t c, Body body) const {
    for (int64_t n = group * group_samples_; n < (group + 1) * group_samples_; ++n)
      body((n * channels_ + c) * area_);
  }
  // Sum over the channel's elements in that group of value(index).
  template <typename Value>
  double sum(int64_t group, int64_t c, Value value) const {
    double total = 0;
    for_each_row(group, c, [&](int64_t first) {
      total += sum_of(area_, [=](int64_t i) { return value(first + i); });
    });
    return total;
  }

  Statistics batch_statistics(int64_t group, int64_t c) const {
    const T* x = this->in(0);
    const int64_t m = group_samples_ * area_;
    const double mean = sum(group, c, [=](int64_t i) { return x[i]; }) / static_cast<double>(m);
    const double variance = sum(group, c,
                                [=](int64_t i) {
                                  const double deviation = static_cast<double>(x[i]) - mean;
                                  return deviation * deviation;
                                }) /
                            static_cast<double>(m);
    // The running averages are replica 0's; a lone sample's variance stays as it is.
    if (group == 0 && counts_) {
      const double unbiased = m > 1 ? static_cast<double>(m) / static_cast<double>(m - 1) : 1;
      const T fraction = static_cast<T>(desc_.fraction);
      this->param(0)[c] = fraction * this->param(0)[c] + static_cast<T>(mean);
      this->param(1)[c] = fraction * this->param(1)[c] + static_cast<T>(unbiased * variance);
    }
    return {static_cast<T>(mean), static_cast<T>(1 / std::sqrt(variance + desc_.eps))};
  }
  Statistics global_statistics(int64_t c) const {
    const T factor = this->param(2)[0];
    const T scale = factor == 0 ? T(0) : T(1) / factor;
    const T mean = this->param(0)[c] * scale, variance = this->param(1)[c] * scale;
    return {mean, static_cast<T>(1 / std::sqrt(static_cast<double>(variance) + desc_.eps))};
  }

  void forward_channel(int64_t c) {
    const T *x = this->in(0), *addend = desc_.add ? this->in(1) : nullptr;
    T* y = this->out();
    const T slope = static_cast<T>(desc_.negative_slope), a = gain(c), b = shift(c);
    const bool keep = keeps();
    for (int64_t group = 0; group < groups_; ++group) {
      const Statistics s =
          desc_.use_global_stats ? global_statistics(c) : batch_statistics(group, c);
      if (keep) kept(group, c) = s;
      for_each_row(group, c, [&](int64_t first) {
        for (int64_t i = first; i < first + area_; ++i) y[i] = (x[i] - s.mean) * s.inv_std * a + b;
        if (addend)
          for (int64_t i = first; i < first + area_; ++i) y[i] += addend[i];
        if (!desc_.relu) return;
        if (keep)
          for (int64_t i = first; i < first + area_; ++i) mask()[i] = y[i] > 0;
        for (int64_t i = first; i < first + area_; ++i)
          y[i] = std::max(y[i], T(0)) + slope * std::min(y[i], T(0));
      });
    }
  }

  // With g the gradient behind the normalisation times gain and x^ the normalised x:
  // dx = (g - mean(g) - x^ * mean(g * x^)) * inv_std, means over the group; global statistics: dx =
  // g * inv_std.
  void backward_channel(int64_t c, const Context& context) {
    const T *x = this->in(0), *dy = this->dout();
    T *dx = this->din(0), *daddend = desc_.add ? this->din(1) : nullptr;
    const T slope = static_cast<T>(desc_.negative_slope);
    const uint8_t* passed = desc_.relu ? mask() : nullptr;
    const auto behind = [=](int64_t i) { return !passed || passed[i] ? dy[i] : slope * dy[i]; };
    double dgain = 0, dshift = 0;
    for (int64_t group = 0; group < groups_; ++group) {
      const Statistics s = kept(group, c);
      const auto normalised = [=](int64_t i) { return (x[i] - s.mean) * s.inv_std; };
      const double total = sum(group, c, behind);
      const double correlation =
          sum(group, c, [=](int64_t i) { return static_cast<double>(behind(i)) * normalised(i); });
      dshift += total;
      dgain += correlation;
      const double m = static_cast<double>(group_samples_ * area_);
      const T mean = desc_.use_global_stats ? T(0) : static_cast<T>(total / m);
      const T slant = desc_.use_global_stats ? T(0) : static_cast<T>(correlation / m);
      const T factor = gain(c) * s.inv_std;
      for_each_row(group, c, [&](int64_t first) {
        if (daddend)
          for (int64_t i = first; i < first + area_; ++i) daddend[i] = behind(i);
        if (dx)
          for (int64_t i = first; i < first + area_; ++i)
            dx[i] = (behind(i) - mean - normalised(i) * slant) * factor;
      });
    }
    if (desc_.gain && this->dparam(3)) this->give(context, 3, c, static_cast<T>(dgain));
    if (desc_.shift && this->dparam(4)) this->give(context, 4, c, static_cast<T>(dshift));
  }

  NormActDesc desc_;
  int64_t samples_, channels_, area_, groups_, group_samples_;
};

}  // namespace

PCC_REFERENCE_OP(NormActDesc, NormAct)

}  // namespace pcc::reference
