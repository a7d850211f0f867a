// PReLU with a slope for each channel, where channels are last, over float32 or bf16.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

// Those of a pack of channels.
template <typename P>
struct Slopes {
  float of[P::kCount];
  __device__ Slopes(const float* slopes, int pack) {
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) of[k] = slopes[pack * P::kCount + k];
  }
};

template <typename P>
struct Forward {
  const NumberOf<P>* x;
  const float* slopes;
  NumberOf<P>* y;
  __device__ Slopes<P> start(int64_t, int pack) const { return {slopes, pack}; }
  __device__ void operator()(const Slopes<P>& slope, int64_t i, int64_t) const {
    auto numbers = pack_of<P>(x, i);
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) numbers.x[k] = leaky(numbers.x[k], slope.of[k]);
    put_pack(y, i, numbers);
  }
};

// Writes dx where it is wanted, and sums what the slopes' gradients are made of.
template <typename P>
struct Backward {
  const NumberOf<P>* x;
  const float* slopes;
  PackParts<P> dy;
  NumberOf<P>* dx;
  __device__ Slopes<P> start(int64_t, int pack) const { return {slopes, pack}; }
  __device__ void operator()(const Slopes<P>& slope, int64_t i, int64_t, float* a, float*) const {
    const auto numbers = pack_of<P>(x, i);
    P g = dy(i);
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      if (numbers.x[k] > 0) continue;
      a[k] += g.x[k] * numbers.x[k];
      g.x[k] *= slope.of[k];
    }
    if (dx) put_pack(dx, i, g);
  }
};

struct GiveSlopes {
  ChannelSums sums;
  Gradient slope;
  __device__ void operator()(int64_t c) const {
    const Sums sum = warp_sum(sums, c);
    if (threadIdx.x % kWarp == 0) slope.give(c, sum.a);
  }
};

template <typename P>
class PreluLinesOp : public CudaOpOf<NumberOf<P>> {
  static constexpr int kCount = P::kCount;

 public:
  explicit PreluLinesOp(const OpSite& site)
      : CudaOpOf<NumberOf<P>>(site),
        seen_(1, site.in[0].shape.count() / site.in[0].shape[1], site.in[0].shape[1], kCount) {}

  std::string implementation() const override { return "cuda nhwc"; }

  void forward(const Context&) override {
    for_each_line(seen_, Forward<P>{this->in(0), slopes(), this->out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (!this->trains()) needs.in_place = 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {true};
    needs.diff_in_place = 0;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
    needs.backward_scratch = seen_.scratch_bytes();
  }
  void differentiate(const Context& context) override {
    const Backward<P> backward = {this->in(0), slopes(), PackParts<P>(this->buffers_.dout[0]),
                                  this->din(0)};
    const Tensor& slope = this->buffers_.dparams[0];
    const Gradient gradient = {slope ? slope.template as<float>() : nullptr,
                               !this->overwrites(context, 0)};
    sum_lines<kCount>(seen_, backward, this->buffers_.backward_scratch,
                      [&](const ChannelSums& sums) { return GiveSlopes{sums, gradient}; });
  }

 private:
  const float* slopes() const { return this->buffers_.params[0].template as<float>(); }
  Lines seen_;
};

}  // namespace

std::unique_ptr<Op> make_prelu_lines(const OpSite& site) {
  return with_packs_of(site.in[0], [&](auto pack) -> std::unique_ptr<Op> {
    return std::make_unique<PreluLinesOp<decltype(pack)>>(site);
  });
}

}  // namespace pcc::cuda
