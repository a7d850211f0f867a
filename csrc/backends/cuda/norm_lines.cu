// norm.cu's op where channels are last, over float32 or bf16. Forward reads x twice, or once where
// its moments come with it, and once less where its readers make y; backward reads x and dy twice.
#include "backends/cuda/makers.h"
#include "backends/cuda/norm_statistics.cuh"

namespace pcc::cuda {

namespace {

// A pack's channels.
template <typename P>
struct Channel {
  float mean[P::kCount], inverse[P::kCount], scale[P::kCount], shift[P::kCount];
  // statistics: of its channels, the first of which is c.
  __device__ Channel(const Statistics* statistics, const float* gains, const float* shifts,
                     int64_t c) {
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      const ChannelScale its = scale_of(statistics[k], gains, shifts, c + k);
      mean[k] = its.mean, scale[k] = its.scale, shift[k] = its.shift;
      inverse[k] = statistics[k].inverse;
    }
  }
  __device__ ChannelScale operator[](int k) const { return {mean[k], scale[k], shift[k]}; }
  __device__ float normalised(int k, float x) const { return (x - mean[k]) * inverse[k]; }
};

template <typename P>
struct Forward {
  Packs<P> x, addend;  // null: there is none
  const float *gain, *shift;
  Statistics* statistics;
  Found found;
  int64_t dim;
  int width;  // of Lines
  bool relu;
  float slope;
  uint8_t* passed;  // null, or what the ReLU lets through: a bit for each number of a pack
  Packs<P> y;
  __device__ Channel<P> start(int64_t group, int pack) const {
    constexpr int kCount = P::kCount;
    const int64_t c = int64_t{pack} * kCount, d = group * dim + c;
    Statistics its[kCount];
    if (found.moments) {
      found.statistics(d, width, statistics, its);
    } else {
      PCC_UNROLL
      for (int k = 0; k < kCount; ++k) its[k] = statistics[d + k];
    }
    return {its, gain, shift, c};
  }
  __device__ void operator()(const Channel<P>& channel, int64_t i, int64_t line) const {
    constexpr int kCount = P::kCount;
    P numbers = x(i, line), added;
    if (addend) added = addend(i, line);
    unsigned bits = 0;
    PCC_UNROLL
    for (int k = 0; k < kCount; ++k) {
      float value = channel[k](numbers.x[k]);
      if (addend) value += added.x[k];
      bits |= value > 0 ? 1u << k : 0u;
      numbers.x[k] = relu ? leaky(value, slope) : value;
    }
    if (passed) passed[i] = static_cast<uint8_t>(bits);
    y.put(numbers, i, line);
  }
};

// dy behind the ReLU.
template <typename P>
struct Behind {
  PackParts<P> dy;
  Packs<P> x;
  const float *gain, *shift;
  const Statistics* statistics;
  int64_t dim;
  bool relu;
  float slope;
  const uint8_t* passed;  // null: there is no addend, and x tells
  __device__ Channel<P> start(int64_t group, int pack) const {
    const int64_t c = int64_t{pack} * P::kCount;
    return {statistics + group * dim + c, gain, shift, c};
  }
  __device__ P operator()(const Channel<P>& channel, const P& numbers, int64_t i,
                          int64_t line) const {
    P g = dy(i, line);
    if (!relu) return g;
    const unsigned bits = passed ? passed[i] : 0;
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      const bool passes = passed ? bits >> k & 1 : channel[k](numbers.x[k]) > 0;
      g.x[k] = passes ? g.x[k] : slope * g.x[k];
    }
    return g;
  }
};

// Sums over g and g * x^, g being dy behind the ReLU and x^ the normalised x. kept: null, or where
// g is written.
template <typename P>
struct BackwardSums {
  Behind<P> g;
  Packs<P> kept;
  __device__ Channel<P> start(int64_t group, int pack) const { return g.start(group, pack); }
  __device__ void operator()(const Channel<P>& channel, int64_t i, int64_t line, float* a,
                             float* b) const {
    const P numbers = g.x(i, line);
    const P values = g(channel, numbers, i, line);
    if (kept) kept.put(values, i, line);
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      a[k] += values.x[k];
      b[k] += values.x[k] * channel.normalised(k, numbers.x[k]);
    }
  }
};

// The gradients of gain and shift, and what dx takes of the sums. count: of the numbers of a
// channel in a group; 0: global statistics.
struct GiveGradients {
  ChannelSums sums;
  int64_t groups, dim;
  double count;
  Means* means;
  Sums* of_groups;
  Gradient gain, shift;
  __device__ void operator()(int64_t d) const {
    const Sums sum = warp_sum(sums, d);
    if (threadIdx.x % kWarp != 0) return;
    means[d] = Means(sum, count);
    of_groups[d] = sum;
  }
  __device__ void across(int64_t c) const {
    Sums all;
    for (int64_t group = 0; group < groups; ++group) all = all + of_groups[group * dim + c];
    shift.give(c, all.a);
    gain.give(c, all.b);
  }
};

// dx = (g - mean(g) - x^ * mean(g * x^)) * gain * inverse. kept: null, or where g lies. adds: to
// what is in dx.
template <typename P>
struct Backward {
  Behind<P> g;
  const Means* means;
  Packs<P> kept, dx;
  bool adds;
  struct Start {
    Channel<P> channel;
    Means mean[P::kCount];
  };
  __device__ Start start(int64_t group, int pack) const {
    Start start{g.start(group, pack), {}};
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) start.mean[k] = means[group * g.dim + pack * P::kCount + k];
    return start;
  }
  __device__ void operator()(const Start& start, int64_t i, int64_t line) const {
    const P numbers = g.x(i, line);
    P values = kept ? kept(i, line) : g(start.channel, numbers, i, line);
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      const float normalised = start.channel.normalised(k, numbers.x[k]);
      values.x[k] = (values.x[k] - start.mean[k].g - normalised * start.mean[k].product) *
                    start.channel.scale[k];
    }
    if (adds) {
      const P before = dx(i, line);
      PCC_UNROLL
      for (int k = 0; k < P::kCount; ++k) values.x[k] += before.x[k];
    }
    dx.put(values, i, line);
  }
};

template <typename P>
class NormLinesOp : public CudaOpOf<NumberOf<P>> {
  static constexpr int kCount = P::kCount;

 public:
  NormLinesOp(const NormActDesc& desc, const OpSite& site)
      : CudaOpOf<NumberOf<P>>(site), desc_(desc), seen_(lines_of(desc, site)) {}

  std::string implementation() const override {
    return desc_.deferred ? "cuda nhwc, in its readers" : "cuda nhwc";
  }

  void forward(const Context& context) override {
    const Running running = {desc_, seen_.dim, parameter(0), parameter(1), parameter(2)};
    const Found found = {
        desc_.moments ? buffers_.in.back().template as<const ChannelMoments>() : nullptr, running,
        static_cast<double>(seen_.lines), context.report};
    const Packs<P> x(buffers_.in[0]);
    const ForReaders readers = {
        gain(), shift(), desc_.deferred ? buffers_.out[1].template as<ChannelScale>() : nullptr,
        seen_.dim};
    if (desc_.use_global_stats)
      for_each(seen_.dim, GiveGlobal{{running, statistics()}, readers});
    else if (!desc_.moments)
      sum_lines<kCount>(seen_, Moments<P>{x, seen_.lines, seen_.packs}, buffers_.scratch,
                        [&](const ChannelSums& sums) {
                          return OfBatch<P>{sums,         x,       seen_.dim,      seen_.lines,
                                            statistics(), running, context.report, readers};
                        });
    else if (desc_.deferred)
      for_each_warp(seen_.sums(), GiveFound{found, statistics(), readers});
    if (desc_.deferred) return;
    for_each_line(seen_, Forward<P>{x, desc_.add ? Packs<P>(buffers_.in[1]) : Packs<P>(), gain(),
                                    shift(), statistics(), found, seen_.dim, seen_.width,
                                    desc_.relu, slope(), passed(), Packs<P>(buffers_.out[0])});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = sums_bytes() + (this->trains() ? 0 : statistics_bytes());
    needs.channel_unit = kCount;
    if (!this->trains() && !desc_.deferred) needs.in_place = 0;
    const int reads = (reads_twice() ? 2 : 1) - int{desc_.deferred};
    needs.forward_again = (reads - 1) * this->site_.in[0].bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(this->site_.in.size(), false);
    needs.in[0] = true;
    needs.stash_bytes = statistics_bytes() + (keeps_passed() ? this->out_count() / kCount : 0);
    needs.backward_scratch =
        seen_.scratch_bytes() + seen_.sums() * static_cast<int64_t>(sizeof(Means) + sizeof(Sums));
    needs.backward_again = this->site_.in[0].bytes() + this->site_.out[0].bytes();
    needs.diff_in_place = 0;
    needs.adds_din.assign(this->site_.in.size(), false);
    needs.adds_din[0] = true;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
  }
  void differentiate(const Context& context) override {
    auto* const of_groups = behind<Sums>(buffers_.backward_scratch, seen_.scratch_bytes());
    auto* const means = reinterpret_cast<Means*>(of_groups + seen_.sums());
    const Behind<P> g = {PackParts<P>(buffers_.dout[0]),
                         Packs<P>(buffers_.in[0]),
                         gain(),
                         shift(),
                         statistics(),
                         seen_.dim,
                         desc_.relu,
                         slope(),
                         passed()};
    const bool adds = this->adds(0);
    const Packs<P> dx(buffers_.din[0]);
    // It is the addend's gradient; and where it takes several parts, they are read once.
    Packs<P> kept;
    if (desc_.add) kept = Packs<P>(buffers_.din[1]);
    if (!kept.data && g.dy.count > 1 && !adds) kept = dx;
    const double count = desc_.use_global_stats ? 0 : static_cast<double>(seen_.lines);
    sum_lines<kCount>(seen_, BackwardSums<P>{g, kept}, buffers_.backward_scratch,
                      [&](const ChannelSums& sums) {
                        return GiveGradients{sums,
                                             seen_.groups,
                                             seen_.dim,
                                             count,
                                             means,
                                             of_groups,
                                             gradient(context, desc_.gain, 3),
                                             gradient(context, desc_.shift, 4)};
                      });
    if (dx.data) for_each_line(seen_, Backward<P>{g, means, kept, dx, adds});
  }

 private:
  using Op::buffers_;

  static Lines lines_of(const NormActDesc& desc, const OpSite& site) {
    const Shape& x = site.in[0].shape;
    const int64_t groups = desc.use_global_stats ? 1 : desc.groups;
    PCC_CHECK(x[0] % groups == 0, "'", site.name, "': ", x[0], " samples do not divide by ", groups,
              " groups");
    return {groups, x[0] / groups * x.count(2), x[1], kCount};
  }
  template <typename U>
  static U* behind(void* memory, int64_t bytes) {
    return reinterpret_cast<U*>(static_cast<char*>(memory) + bytes);
  }
  float* parameter(size_t i) const { return buffers_.params[i].template as<float>(); }
  const float* gain() const { return desc_.gain ? parameter(3) : nullptr; }
  const float* shift() const { return desc_.shift ? parameter(4) : nullptr; }
  float slope() const { return static_cast<float>(desc_.negative_slope); }
  Gradient gradient(const Context& context, bool there, size_t at) const {
    if (!there) return {nullptr, false};
    return {buffers_.dparams[at].template as<float>(), !this->overwrites(context, at)};
  }
  bool reads_twice() const { return !desc_.use_global_stats && !desc_.moments; }
  // That forward takes itself.
  int64_t sums_bytes() const { return reads_twice() ? seen_.scratch_bytes() : 0; }
  // In the stash for backward, else behind the sums.
  int64_t statistics_bytes() const {
    return seen_.sums() * static_cast<int64_t>(sizeof(Statistics));
  }
  Statistics* statistics() const {
    return this->trains() ? static_cast<Statistics*>(buffers_.stash)
                          : behind<Statistics>(buffers_.scratch, sums_bytes());
  }
  bool keeps_passed() const { return this->trains() && desc_.relu && desc_.add; }
  uint8_t* passed() const {
    return keeps_passed() ? behind<uint8_t>(buffers_.stash, statistics_bytes()) : nullptr;
  }

  NormActDesc desc_;
  Lines seen_;
};

}  // namespace

std::unique_ptr<Op> make_norm_lines(const NormActDesc& desc, const OpSite& site) {
  return with_packs_of(site.in[0], [&](auto pack) -> std::unique_ptr<Op> {
    return std::make_unique<NormLinesOp<decltype(pack)>>(desc, site);
  });
}

}  // namespace pcc::cuda
