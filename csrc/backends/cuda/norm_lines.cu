// norm.cu's op where channels are last, over float32 or bf16. Both directions read
// x twice.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"
#include "backends/cuda/norm.cuh"

namespace pcc::cuda {

namespace {

// Sums over x - pivot and its square, the pivot being the channel's first number.
template <typename T>
struct Moments {
  const T* x;
  int64_t of_group;  // packs
  __device__ Pack<T> start(int64_t group, int pack) const {
    return Pack<T>(x + (group * of_group + pack) * Pack<T>::kCount);
  }
  __device__ void operator()(const Pack<T>& pivot, int64_t i, float* a, float* b) const {
    const Pack<T> numbers(x + i * Pack<T>::kCount);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      const float above = numbers.x[k] - pivot.x[k];
      a[k] += above;
      b[k] += above * above;
    }
  }
};

template <typename T>
struct OfBatch {
  ChannelSums sums;
  const T* x;
  int64_t dim, of_group;  // channels, numbers
  Statistics* statistics;
  Running running;
  const StepReport* report;
  __device__ void operator()(int64_t d) const {
    const Quotient at = divide(d, dim);
    const auto pivot = static_cast<double>(number(x[at.whole * of_group + at.rest]));
    const double count = static_cast<double>(divide(of_group, dim).whole);
    const Sums sum = warp_sum(sums, d);
    const double above = sum.a / count;
    if (threadIdx.x % kWarp == 0)
      running.take(d, pivot + above, sum.b / count - above * above, count, statistics, report);
  }
};

// A pack's channels.
template <typename T>
struct Channel {
  float mean[Pack<T>::kCount], inverse[Pack<T>::kCount], gain[Pack<T>::kCount],
      shift[Pack<T>::kCount];
  __device__ Channel(const Statistics* statistics, const float* gains, const float* shifts,
                     int64_t dim, int64_t group, int pack) {
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      const int64_t c = pack * Pack<T>::kCount + k;
      const Scaled scaled(statistics[group * dim + c], gains, shifts, c);
      mean[k] = scaled.s.mean, inverse[k] = scaled.s.inverse;
      gain[k] = scaled.gain, shift[k] = scaled.shift;
    }
  }
  __device__ Scaled operator[](int k) const {
    return Scaled({mean[k], inverse[k]}, gain[k], shift[k]);
  }
};

template <typename T>
struct Forward {
  const T *x, *addend;  // null: there is none
  const float *gain, *shift;
  const Statistics* statistics;
  int64_t dim;
  bool relu;
  float slope;
  uint8_t* passed;  // null, or what the ReLU lets through: a bit for each number of a pack
  T* y;
  __device__ Channel<T> start(int64_t group, int pack) const {
    return {statistics, gain, shift, dim, group, pack};
  }
  __device__ void operator()(const Channel<T>& channel, int64_t i) const {
    constexpr int kCount = Pack<T>::kCount;
    Pack<T> numbers(x + i * kCount), added;
    if (addend) added = Pack<T>(addend + i * kCount);
    unsigned bits = 0;
    PCC_UNROLL
    for (int k = 0; k < kCount; ++k) {
      float value = channel[k](numbers.x[k]);
      if (addend) value += added.x[k];
      bits |= value > 0 ? 1u << k : 0u;
      numbers.x[k] = relu ? leaky(value, slope) : value;
    }
    if (passed) passed[i] = static_cast<uint8_t>(bits);
    numbers.store(y + i * kCount);
  }
};

// dy behind the ReLU.
template <typename T>
struct Behind {
  PackParts<Pack<T>> dy;
  const T* x;
  const float *gain, *shift;
  const Statistics* statistics;
  int64_t dim;
  bool relu;
  float slope;
  const uint8_t* passed;  // null: there is no addend, and x tells
  __device__ Channel<T> start(int64_t group, int pack) const {
    return {statistics, gain, shift, dim, group, pack};
  }
  __device__ Pack<T> operator()(const Channel<T>& channel, const Pack<T>& numbers,
                                int64_t i) const {
    Pack<T> g = dy(i);
    if (!relu) return g;
    const unsigned bits = passed ? passed[i] : 0;
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      const bool passes = passed ? bits >> k & 1 : channel[k](numbers.x[k]) > 0;
      g.x[k] = passes ? g.x[k] : slope * g.x[k];
    }
    return g;
  }
};

// Sums over g and g * x^, g being dy behind the ReLU and x^ the normalised x. kept: null, or where
// g is written.
template <typename T>
struct BackwardSums {
  Behind<T> g;
  T* kept;
  __device__ Channel<T> start(int64_t group, int pack) const { return g.start(group, pack); }
  __device__ void operator()(const Channel<T>& channel, int64_t i, float* a, float* b) const {
    const Pack<T> numbers(g.x + i * Pack<T>::kCount);
    const Pack<T> values = g(channel, numbers, i);
    if (kept) values.store(kept + i * Pack<T>::kCount);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      a[k] += values.x[k];
      b[k] += values.x[k] * channel[k].normalised(numbers.x[k]);
    }
  }
};

// The gradients of gain and shift, and what dx takes of the sums. count: of the numbers of a
// channel in a group; 0: global statistics. A block for each channel, a warp for each of the
// groups.
__global__ void __launch_bounds__(kBlock)
    give_gradients(ChannelSums sums, int64_t groups, double count, Means* means, Gradient gain,
                   Gradient shift) {
  __shared__ Sums of_warp[kBlock / kWarp];
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const bool writes = threadIdx.x % kWarp == 0;
  const int64_t c = blockIdx.x, dim = gridDim.x;
  Sums all;
  for (int64_t group = warp; group < groups; group += kBlock / kWarp) {
    const Sums sum = warp_sum(sums, group * dim + c);
    all = all + sum;
    if (writes) means[group * dim + c] = Means(sum, count);
  }
  if (writes) of_warp[warp] = all;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int other = 1; other < kBlock / kWarp; ++other) all = all + of_warp[other];
  shift.give(c, all.a);
  gain.give(c, all.b);
}

// dx = (g - mean(g) - x^ * mean(g * x^)) * gain * inverse. kept: null, or where g lies.
template <typename T>
struct Backward {
  Behind<T> g;
  const Means* means;
  const T* kept;
  T* dx;
  struct Start {
    Channel<T> channel;
    Means mean[Pack<T>::kCount];
  };
  __device__ Start start(int64_t group, int pack) const {
    Start start{g.start(group, pack), {}};
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k)
      start.mean[k] = means[group * g.dim + pack * Pack<T>::kCount + k];
    return start;
  }
  __device__ void operator()(const Start& start, int64_t i) const {
    const Pack<T> numbers(g.x + i * Pack<T>::kCount);
    Pack<T> values = kept ? Pack<T>(kept + i * Pack<T>::kCount) : g(start.channel, numbers, i);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
      const Scaled scaled = start.channel[k];
      values.x[k] = (values.x[k] - start.mean[k].g -
                     scaled.normalised(numbers.x[k]) * start.mean[k].product) *
                    (scaled.gain * scaled.s.inverse);
    }
    values.store(dx + i * Pack<T>::kCount);
  }
};

template <typename T>
class NormLinesOp : public CudaOpOf<T> {
  static constexpr int kCount = Pack<T>::kCount;

 public:
  NormLinesOp(const NormActDesc& desc, const OpSite& site)
      : CudaOpOf<T>(site), desc_(desc), seen_(lines_of(desc, site)) {}

  std::string implementation() const override { return "cuda nhwc"; }

  void forward(const Context& context) override {
    const Running running = {desc_, seen_.dim, parameter(0), parameter(1), parameter(2)};
    const int64_t of_group = seen_.lines * seen_.dim;
    if (desc_.use_global_stats) {
      for_each(seen_.dim, Global{running, statistics()});
    } else {
      const ChannelSums sums = sum_lines<kCount>(
          seen_, Moments<T>{this->in(0), seen_.lines * seen_.packs}, buffers_.scratch);
      for_each_warp(seen_.sums(), OfBatch<T>{sums, this->in(0), seen_.dim, of_group, statistics(),
                                             running, context.report});
    }
    for_each_line(seen_,
                  Forward<T>{this->in(0), desc_.add ? this->in(1) : nullptr, gain(), shift(),
                             statistics(), seen_.dim, desc_.relu, slope(), passed(), this->out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = sums_bytes() + (this->trains() ? 0 : statistics_bytes());
    if (!this->trains()) needs.in_place = 0;
    if (!desc_.use_global_stats) needs.forward_again = this->site_.in[0].bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(this->site_.in.size(), false);
    needs.in[0] = true;
    needs.stash_bytes = statistics_bytes() + (keeps_passed() ? this->out_count() / kCount : 0);
    needs.backward_scratch =
        seen_.scratch_bytes() + seen_.sums() * static_cast<int64_t>(sizeof(Means));
    needs.backward_again = this->site_.in[0].bytes() + this->site_.out[0].bytes();
    needs.diff_in_place = 0;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
  }
  void differentiate(const Context& context) override {
    Means* const means = behind<Means>(buffers_.backward_scratch, seen_.scratch_bytes());
    const Behind<T> g = {PackParts<Pack<T>>(buffers_.dout[0]),
                         this->in(0),
                         gain(),
                         shift(),
                         statistics(),
                         seen_.dim,
                         desc_.relu,
                         slope(),
                         passed()};
    // It is the addend's gradient; and where it takes several parts, they are read once.
    T* const daddend = desc_.add ? this->din(1) : nullptr;
    T* const kept = daddend ? daddend : g.dy.count > 1 ? this->din(0) : nullptr;
    const ChannelSums sums =
        sum_lines<kCount>(seen_, BackwardSums<T>{g, kept}, buffers_.backward_scratch);
    const double count = desc_.use_global_stats ? 0 : static_cast<double>(seen_.lines);
    launch(give_gradients, seen_.dim, kBlock, 0, sums, seen_.groups, count, means,
           gradient(context, desc_.gain, 3), gradient(context, desc_.shift, 4));
    if (this->din(0)) for_each_line(seen_, Backward<T>{g, means, kept, this->din(0)});
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
  // That forward takes itself.
  int64_t sums_bytes() const { return desc_.use_global_stats ? 0 : seen_.scratch_bytes(); }
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
  if (site.in[0].dtype == DType::bf16) return std::make_unique<NormLinesOp<BFloat16>>(desc, site);
  return std::make_unique<NormLinesOp<float>>(desc, site);
}

}  // namespace pcc::cuda
