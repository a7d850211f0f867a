// PReLU with a slope for each channel, where channels are last, over float32 or bf16.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

// Those of a pack of channels.
template <typename T>
struct Slopes {
  float of[Pack<T>::kCount];
  __device__ Slopes(const float* slopes, int pack) {
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) of[k] = slopes[pack * Pack<T>::kCount + k];
  }
};

template <typename T>
struct Forward {
  const T* x;
  const float* slopes;
  T* y;
  __device__ Slopes<T> start(int64_t, int pack) const { return {slopes, pack}; }
  __device__ void operator()(const Slopes<T>& slope, int64_t i) const {
    auto numbers = pack_of<Pack<T>>(x, i);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) numbers.x[k] = leaky(numbers.x[k], slope.of[k]);
    put_pack(y, i, numbers);
  }
};

// Writes dx where it is wanted, and sums what the slopes' gradients are made of.
template <typename T>
struct Backward {
  const T* x;
  const float* slopes;
  PackParts<Pack<T>> dy;
  T* dx;
  __device__ Slopes<T> start(int64_t, int pack) const { return {slopes, pack}; }
  __device__ void operator()(const Slopes<T>& slope, int64_t i, float* a, float*) const {
    const auto numbers = pack_of<Pack<T>>(x, i);
    Pack<T> g = dy(i);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) {
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
  __device__ void operator()(int64_t c) const { slope.give(c, sums(c).a); }
};

template <typename T>
class PreluLinesOp : public CudaOpOf<T> {
  static constexpr int kCount = Pack<T>::kCount;

 public:
  explicit PreluLinesOp(const OpSite& site)
      : CudaOpOf<T>(site),
        seen_(1, site.in[0].shape.count() / site.in[0].shape[1], site.in[0].shape[1], kCount) {}

  std::string implementation() const override { return "cuda nhwc"; }

  void forward(const Context&) override {
    for_each_line(seen_, Forward<T>{this->in(0), slopes(), this->out()});
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
    const Backward<T> backward = {this->in(0), slopes(), PackParts<Pack<T>>(this->buffers_.dout[0]),
                                  this->din(0)};
    const ChannelSums sums = sum_lines<kCount>(seen_, backward, this->buffers_.backward_scratch);
    const Tensor& slope = this->buffers_.dparams[0];
    if (slope)
      for_each(seen_.dim, GiveSlopes{sums, {slope.as<float>(), !this->overwrites(context, 0)}});
  }

 private:
  const float* slopes() const { return this->buffers_.params[0].template as<float>(); }
  Lines seen_;
};

}  // namespace

std::unique_ptr<Op> make_prelu_lines(const OpSite& site) {
  if (site.in[0].dtype == DType::bf16) return std::make_unique<PreluLinesOp<BFloat16>>(site);
  return std::make_unique<PreluLinesOp<float>>(site);
}

}  // namespace pcc::cuda
