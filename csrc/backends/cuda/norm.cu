// BatchNorm [+ Scale] [+ residual sum] [+ ReLU] as one op. Forward reads x twice (once with global
// statistics) and writes y; backward reads x and dy twice. Source: Ioffe & Szegedy 2015, alg. 1.
#include "backends/cuda/makers.h"
#include "backends/cuda/norm.cuh"

namespace pcc::cuda {

namespace {

// Sums over x - pivot and its square, the pivot being the channel's first number: little is lost
// where a mean is large beside the deviation.
struct Moments {
  Channels seen;
  const float* x;
  __device__ double pivot(int64_t d) const { return static_cast<double>(x[seen.at(d, 0)]); }
  __device__ Sums operator()(int64_t d, int64_t i) const {
    const double distance = static_cast<double>(x[i]) - pivot(d);
    return {distance, distance * distance};
  }
};

// Statistics of the batch; the running averages move on unless something went wrong before.
struct OfBatch {
  ChannelSums sums;
  Moments moments;
  double count;  // of the numbers of a channel in a group
  Statistics* statistics;
  Running running;
  const StepReport* report;
  __device__ void operator()(int64_t d) const {
    const Sums sum = sums(d);
    const double distance = sum.a / count, mean = moments.pivot(d) + distance;
    running.take(d, mean, sum.b / count - distance * distance, count, statistics, report);
  }
};

struct Forward {
  const float *x, *addend, *gain, *shift;  // null: there is none
  const Statistics* statistics;
  bool relu;
  float slope;
  uint8_t* passed;  // null, or what the ReLU lets through
  float* y;
  __device__ void operator()(int64_t d, int64_t c, int64_t first, int64_t end, int64_t step) const {
    const Scaled scaled(statistics[d], gain, shift, c);
    for (int64_t i = first; i < end; i += step) {
      float value = scaled(x[i]);
      if (addend) value += addend[i];
      if (passed) passed[i] = value > 0;
      y[i] = relu ? leaky(value, slope) : value;
    }
  }
};

// dy behind the ReLU.
struct Behind {
  Parts dy;
  const float *x, *gain, *shift;
  const Statistics* statistics;
  bool relu;
  float slope;
  const uint8_t* passed;  // null: there is no addend, and x tells
  __device__ float operator()(const Scaled& scaled, int64_t i) const {
    const float all = dy(i);
    if (!relu) return all;
    const bool passes = passed ? passed[i] : scaled(x[i]) > 0;
    return passes ? all : slope * all;
  }
};

// Sums over g and g * x^, g being dy behind the ReLU and x^ the normalised x. kept: null, or where
// g is written.
struct BackwardSums {
  Behind g;
  int64_t dim;
  float* kept;
  __device__ Sums operator()(int64_t d, int64_t i) const {
    const Scaled scaled(g.statistics[d], g.gain, g.shift, divide(d, dim).rest);
    const float value = g(scaled, i);
    if (kept) kept[i] = value;
    return {static_cast<double>(value),
            static_cast<double>(value) * static_cast<double>(scaled.normalised(g.x[i]))};
  }
};

struct GiveGradients {
  ChannelSums sums;
  int64_t groups, dim;
  double count;  // of the numbers of a channel in a group; 0: global statistics
  Means* means;
  Gradient gain, shift;
  __device__ void operator()(int64_t c) const {
    Sums all;
    for (int64_t d = c; d < groups * dim; d += dim) {
      const Sums sum = sums(d);
      all = all + sum;
      means[d] = Means(sum, count);
    }
    shift.give(c, all.a);
    gain.give(c, all.b);
  }
};

// dx = (g - mean(g) - x^ * mean(g * x^)) * gain * inverse. kept: null, or where g lies.
struct Backward {
  Behind g;
  const Means* means;
  const float* kept;
  float* dx;
  __device__ void operator()(int64_t d, int64_t c, int64_t first, int64_t end, int64_t step) const {
    const Scaled scaled(g.statistics[d], g.gain, g.shift, c);
    const Means mean = means[d];
    const float factor = scaled.gain * scaled.s.inverse;
    for (int64_t i = first; i < end; i += step) {
      const float value = kept ? kept[i] : g(scaled, i);
      dx[i] = (value - mean.g - scaled.normalised(g.x[i]) * mean.product) * factor;
    }
  }
};

class NormActOp : public CudaOp {
 public:
  NormActOp(const NormActDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {
    const Shape& x = site.in[0].shape;
    seen_.groups = desc.use_global_stats ? 1 : desc.groups;
    PCC_CHECK(x[0] % seen_.groups == 0, "'", site.name, "': ", x[0], " samples do not divide by ",
              seen_.groups, " groups");
    seen_.outer = x[0] / seen_.groups;
    seen_.dim = x[1];
    seen_.inner = x.count(2);
  }

  void forward(const Context& context) override {
    const Running running = {desc_, seen_.dim, param(0), param(1), param(2)};
    if (desc_.use_global_stats) {
      for_each(seen_.dim, Global{running, statistics()});
    } else {
      const Moments moments = {seen_, in(0)};
      const ChannelSums sums = sum_channels(seen_, moments, buffers_.scratch);
      for_each(seen_.sums(), OfBatch{sums, moments, static_cast<double>(seen_.each()), statistics(),
                                     running, context.report});
    }
    for_each_row(seen_, Forward{in(0), desc_.add ? in(1) : nullptr, gain(), shift(), statistics(),
                                desc_.relu, slope(), passed(), out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = seen_.scratch_bytes() + (trains() ? 0 : statistics_bytes());
    if (!trains()) needs.in_place = 0;
    if (!desc_.use_global_stats) needs.forward_again = site_.in[0].bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(site_.in.size(), false);
    needs.in[0] = true;
    needs.stash_bytes = statistics_bytes() + (keeps_passed() ? out_count() : 0);
    needs.backward_scratch =
        seen_.scratch_bytes() + seen_.sums() * static_cast<int64_t>(sizeof(Means));
    needs.backward_again = site_.in[0].bytes() + site_.out[0].bytes();
    needs.diff_in_place = 0;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
  }
  void differentiate(const Context& context) override {
    Means* const means = behind<Means>(buffers_.backward_scratch, seen_.scratch_bytes());
    const Behind g = {Parts(buffers_.dout[0]),
                      in(0),
                      gain(),
                      shift(),
                      statistics(),
                      desc_.relu,
                      slope(),
                      passed()};
    // It is the addend's gradient; and where it takes several parts, they are read once.
    float* const daddend = desc_.add ? din(1) : nullptr;
    float* const kept = daddend ? daddend : g.dy.count > 1 ? din(0) : nullptr;
    const ChannelSums sums =
        sum_channels(seen_, BackwardSums{g, seen_.dim, kept}, buffers_.backward_scratch);
    const double count = desc_.use_global_stats ? 0 : static_cast<double>(seen_.each());
    for_each(seen_.dim,
             GiveGradients{sums, seen_.groups, seen_.dim, count, means,
                           gradient(context, desc_.gain, 3), gradient(context, desc_.shift, 4)});
    if (din(0)) for_each_row(seen_, Backward{g, means, kept, din(0)});
  }

 private:
  template <typename T>
  static T* behind(void* memory, int64_t bytes) {
    return reinterpret_cast<T*>(static_cast<char*>(memory) + bytes);
  }
  const float* gain() const { return desc_.gain ? param(3) : nullptr; }
  const float* shift() const { return desc_.shift ? param(4) : nullptr; }
  float slope() const { return static_cast<float>(desc_.negative_slope); }
  Gradient gradient(const Context& context, bool there, int at) const {
    if (!there) return {nullptr, false};
    return {dparam(at), !overwrites(context, static_cast<size_t>(at))};
  }
  // In the stash for backward, else behind the sums.
  int64_t statistics_bytes() const {
    return seen_.sums() * static_cast<int64_t>(sizeof(Statistics));
  }
  Statistics* statistics() const {
    return trains() ? static_cast<Statistics*>(buffers_.stash)
                    : behind<Statistics>(buffers_.scratch, seen_.scratch_bytes());
  }
  bool keeps_passed() const { return trains() && desc_.relu && desc_.add; }
  uint8_t* passed() const {
    return keeps_passed() ? behind<uint8_t>(buffers_.stash, statistics_bytes()) : nullptr;
  }

  NormActDesc desc_;
  Channels seen_;
};

}  // namespace

std::unique_ptr<Op> make_norm_act(const NormActDesc& desc, const OpSite& site) {
  if (site.in[0].layout == Layout::nhwc) return make_norm_lines(desc, site);
  return std::make_unique<NormActOp>(desc, site);
}

}  // namespace pcc::cuda
