// The losses over samples (N, D) that have no softmax: Euclidean, contrastive, hinge, multinomial
// logistic, sigmoid cross-entropy, smooth L1. A group of samples is a replica; the loss is that of
// group 0.
#include "backends/cuda/makers.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/classes.h"

namespace pcc::cuda {

namespace {

constexpr float kLeast = 1e-20f;  // the smallest probability whose logarithm is taken, as in Caffe

// What each element of x adds to its sample's loss, by the target, like x, or by the sample's
// label.
struct Rule {
  enum class Kind { euclidean, smooth, hinge, squared_hinge, log, sigmoid };

  Kind kind;
  bool has_ignore_label;  // of sigmoid's targets
  int64_t ignore_label, size;
  float square;  // smooth: sigma * sigma
  const float *x, *target;
  const float *inside = nullptr, *outside = nullptr;  // smooth: weights; null: ones

  __device__ bool counts(int64_t i) const {
    if (!has_ignore_label) return true;
    return !(fabsf(target[i]) < 1e9f) || static_cast<int64_t>(target[i]) != ignore_label;
  }
  __device__ float loss(int64_t i) const {
    switch (kind) {
      case Kind::euclidean:
        return (x[i] - target[i]) * (x[i] - target[i]) / 2;
      case Kind::smooth: {
        const float d = fabsf(difference(i));
        return weight_of(outside, i) * (d < 1 / square ? square * d * d / 2 : d - 0.5f / square);
      }
      case Kind::hinge:
        return reach(i);
      case Kind::squared_hinge:
        return reach(i) * reach(i);
      case Kind::log:
        return is_label(i) ? -logf(probability(i)) : 0.0f;
      case Kind::sigmoid:
        break;
    }
    const float positive = x[i] >= 0 ? 1.0f : 0.0f;
    return logf(1 + expf(x[i] - 2 * x[i] * positive)) - x[i] * (target[i] - positive);
  }
  // Times `weight`.
  __device__ float slope(int64_t i, float weight) const {
    switch (kind) {
      case Kind::euclidean:
        return weight * (x[i] - target[i]);
      case Kind::smooth: {
        const float d = difference(i), sign = d > 0 ? 1.0f : d < 0 ? -1.0f : d;
        return weight * weight_of(outside, i) * weight_of(inside, i) *
               (fabsf(d) < 1 / square ? square * d : sign);
      }
      case Kind::hinge:
        return reach(i) > 0 ? side(i) * weight : 0.0f;
      case Kind::squared_hinge:
        return side(i) * weight * (2 * reach(i));
      case Kind::log:
        return is_label(i) ? -weight / probability(i) : 0.0f;
      case Kind::sigmoid:
        break;
    }
    return weight * (0.5f * tanhf(0.5f * x[i]) + 0.5f - target[i]);
  }

 private:
  __device__ static float weight_of(const float* weights, int64_t i) {
    return weights ? weights[i] : 1.0f;
  }
  __device__ float difference(int64_t i) const { return weight_of(inside, i) * (x[i] - target[i]); }
  __device__ bool is_label(int64_t i) const {
    const Quotient at = divide(i, size);
    const float label = target[at.whole];
    return !Labels<float>(false, 0, size).skips(label) && static_cast<uint32_t>(label) == at.rest;
  }
  __device__ float side(int64_t i) const { return is_label(i) ? -1.0f : 1.0f; }
  // How far a score is on the wrong side of its margin.
  __device__ float reach(int64_t i) const { return fmaxf(0.0f, 1 + side(i) * x[i]); }
  __device__ float probability(int64_t i) const { return x[i] < kLeast ? kLeast : x[i]; }
};

// a: the loss; b: how many count.
struct LossOf {
  Rule rule;
  __device__ Sums operator()(int64_t, int64_t i) const {
    if (!rule.counts(i)) return {};
    return {static_cast<double>(rule.loss(i)), 1};
  }
};

// One warp: what the losses of each group are divided by, which backward needs, and the loss.
// fixed: the divisor, or 0: what counts.
__global__ void __launch_bounds__(kWarp)
    divide_losses(ChannelSums sums, int64_t groups, int64_t fixed, double* divisors, float* loss) {
  for (int64_t group = threadIdx.x; group < groups; group += kWarp) {
    const Sums all = sums(group);
    const double divisor = fixed > 0 ? static_cast<double>(fixed) : all.b > 0 ? all.b : 1.0;
    if (divisors) divisors[group] = divisor;
    if (group == 0) loss[0] = static_cast<float>(all.a / divisor);
  }
}

// dx, da: null where they are not wanted; da: the target's, of a distance.
struct PullElements {
  Rule rule;
  int64_t in_group;
  const double* divisors;
  const float* dloss;
  float *dx, *da;
  __device__ void operator()(int64_t i) const {
    const double divisor = divisors[divide(i, in_group).whole];
    const auto weight = static_cast<float>(static_cast<double>(dloss[0]) / divisor);
    const float g = rule.counts(i) ? rule.slope(i, weight) : 0.0f;
    if (dx) dx[i] = g;
    if (da) da[i] = -g;
  }
};

class ElementLossOp : public CudaOp {
 public:
  using Kind = Rule::Kind;
  ElementLossOp(Kind kind, int64_t groups, const OpSite& site)
      : CudaOp(site), rule_{kind, false, 0, in_shape(0).count(1), 1, nullptr, nullptr} {
    const int64_t samples = in_shape(0)[0];
    PCC_CHECK(samples % groups == 0, "'", site.name, "': ", samples, " samples do not divide by ",
              groups, " groups");
    seen_ = {1, 1, in_count() / groups, groups};
    divisor_ = samples / groups;
  }
  ElementLossOp(const SigmoidLossDesc& desc, const OpSite& site)
      : ElementLossOp(Kind::sigmoid, desc.groups, site) {
    rule_.has_ignore_label = desc.has_ignore_label;
    rule_.ignore_label = desc.ignore_label;
    if (desc.normalization == Normalization::full) divisor_ = seen_.each();
    if (desc.normalization == Normalization::valid) divisor_ = 0;
    if (desc.normalization == Normalization::none) divisor_ = 1;
  }

  ElementLossOp(const SmoothLossDesc& desc, const OpSite& site)
      : ElementLossOp(Kind::smooth, desc.groups, site) {
    rule_.square = static_cast<float>(desc.sigma * desc.sigma);
  }

  void forward(const Context& context) override {
    if (has_labels()) check_numbers(context, site_.number, in(1), in_shape(0)[0], rule_.size);
    launch(divide_losses, 1, kWarp, 0, sum_channels(seen_, LossOf{rule()}, buffers_.scratch),
           seen_.groups, divisor_, trains() ? divisors() : nullptr, out());
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = seen_.scratch_bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = all_ins();
    needs.stash_bytes = seen_.groups * static_cast<int64_t>(sizeof(double));
  }
  void differentiate(const Context&) override {
    float* const of_target = is_distance() ? din(1) : nullptr;
    if (din(0) || of_target)
      for_each(in_count(),
               PullElements{rule(), seen_.each(), divisors(), dout(), din(0), of_target});
  }

 private:
  bool is_distance() const { return rule_.kind == Kind::euclidean || rule_.kind == Kind::smooth; }
  bool has_labels() const { return !is_distance() && rule_.kind != Kind::sigmoid; }
  Rule rule() const {
    Rule rule = rule_;
    rule.x = in(0);
    rule.target = in(1);
    if (rule.kind == Kind::smooth && ins() > 2) rule.inside = in(2);
    if (rule.kind == Kind::smooth && ins() > 3) rule.outside = in(3);
    return rule;
  }
  double* divisors() const { return static_cast<double*>(buffers_.stash); }

  Rule rule_;
  Channels seen_;
  int64_t divisor_ = 0;
};

// Of samples that are similar, and of others, which are to be a margin apart.
struct Contrast {
  bool legacy;
  float margin;
  __device__ float gap(float square) const { return margin - (legacy ? square : sqrtf(square)); }
  __device__ float loss(bool similar, float square) const {
    if (similar) return square;
    const float over = gap(square);
    return over < 0 ? 0 : legacy ? over : over * over;
  }
  // By which the difference is multiplied.
  __device__ float factor(bool similar, float square, float weight) const {
    if (similar) return weight;
    const float over = gap(square);
    if (over <= 0) return 0;
    return legacy ? -weight : -weight * over / (sqrtf(square) + 1e-4f);
  }
};

struct SquareOf {
  const float *a, *b;
  __device__ Sums operator()(int64_t, int64_t i) const {
    const float difference = a[i] - b[i];
    return {static_cast<double>(difference * difference), 0};
  }
};

// One warp. squares: null, or where backward finds the distance of each of the samples; the loss is
// over the first `count` of them.
__global__ void __launch_bounds__(kWarp)
    contrast_losses(Contrast rule, ChannelSums sums, const float* similar, int64_t samples,
                    int64_t count, float* squares, float* loss) {
  double sum = 0;
  for (int64_t n = threadIdx.x; n < (squares ? samples : count); n += kWarp) {
    const auto square = static_cast<float>(sums(n).a);
    if (squares) squares[n] = square;
    if (n < count)
      sum += static_cast<double>(rule.loss(static_cast<int64_t>(similar[n]) != 0, square)) / 2;
  }
  sum = warp_fold(sum, Add{});
  if (threadIdx.x == 0) loss[0] = static_cast<float>(sum / static_cast<double>(count));
}

struct PullSamples {
  Contrast rule;
  int64_t size;
  double divisor;
  const float *a, *b, *similar, *squares, *dloss;
  float *da, *db;
  __device__ void operator()(int64_t i) const {
    const int64_t n = divide(i, size).whole;
    const auto weight = static_cast<float>(static_cast<double>(dloss[0]) / divisor);
    const float factor = rule.factor(static_cast<int64_t>(similar[n]) != 0, squares[n], weight);
    const float g = factor * (a[i] - b[i]);
    if (da) da[i] = g;
    if (db) db[i] = -g;
  }
};

class ContrastiveOp : public CudaOp {
 public:
  ContrastiveOp(const DistanceLossDesc& desc, const OpSite& site)
      : CudaOp(site),
        rule_{desc.kind == DistanceLossDesc::Kind::legacy, static_cast<float>(desc.margin)},
        seen_{1, in_shape(0)[0], in_shape(0).count(1)},
        in_group_(seen_.dim / desc.groups) {
    PCC_CHECK(seen_.dim % desc.groups == 0, "'", site.name, "': ", seen_.dim,
              " samples do not divide by ", desc.groups, " groups");
  }

  void forward(const Context&) override {
    launch(contrast_losses, 1, kWarp, 0, rule_,
           sum_channels(seen_, SquareOf{in(0), in(1)}, buffers_.scratch), in(2), seen_.dim,
           in_group_, trains() ? squares() : nullptr, out());
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = seen_.scratch_bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = all_ins();
    needs.stash_bytes = seen_.dim * static_cast<int64_t>(sizeof(float));
  }
  void differentiate(const Context&) override {
    if (din(0) || din(1))
      for_each(in_count(), PullSamples{rule_, seen_.inner, static_cast<double>(in_group_), in(0),
                                       in(1), in(2), squares(), dout(), din(0), din(1)});
  }

 private:
  float* squares() const { return static_cast<float*>(buffers_.stash); }

  Contrast rule_;
  Channels seen_;  // the samples are the channels
  int64_t in_group_;
};

}  // namespace

std::unique_ptr<Op> make_distance_loss(const DistanceLossDesc& desc, const OpSite& site) {
  if (desc.kind == DistanceLossDesc::Kind::euclidean)
    return std::make_unique<ElementLossOp>(Rule::Kind::euclidean, desc.groups, site);
  return std::make_unique<ContrastiveOp>(desc, site);
}

std::unique_ptr<Op> make_smooth_loss(const SmoothLossDesc& desc, const OpSite& site) {
  return std::make_unique<ElementLossOp>(desc, site);
}

std::unique_ptr<Op> make_hinge_loss(const HingeLossDesc& desc, const OpSite& site) {
  const auto kind = desc.squared ? Rule::Kind::squared_hinge : Rule::Kind::hinge;
  return std::make_unique<ElementLossOp>(kind, desc.groups, site);
}

std::unique_ptr<Op> make_log_loss(const LogLossDesc& desc, const OpSite& site) {
  return std::make_unique<ElementLossOp>(Rule::Kind::log, desc.groups, site);
}

std::unique_ptr<Op> make_sigmoid_loss(const SigmoidLossDesc& desc, const OpSite& site) {
  return std::make_unique<ElementLossOp>(desc, site);
}

}  // namespace pcc::cuda
