#include "backends/cuda/cudnn_conv.h"

#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

struct AddTo {
  float* to;
  const float* from;
  __device__ void operator()(int64_t i) const { to[i] += from[i]; }
};

// The weights (maps, channels, taps) of an op as cuDNN has them with channels last: (maps, taps,
// channels).
template <typename T>
struct ToLast {
  const float* from;
  T* to;
  int64_t channels, taps;
  __device__ void operator()(int64_t i) const {
    const Quotient pixel = divide(i, channels), map = divide(pixel.whole, taps);
    to[i] = stored<T>(from[(map.whole * channels + pixel.rest) * taps + map.rest]);
  }
};
// And their gradients back again.
struct FromLast {
  const float* from;
  float* to;
  int64_t channels, taps;
  bool adds;
  __device__ void operator()(int64_t i) const {
    const Quotient channel = divide(i, taps), map = divide(channel.whole, channels);
    const float value = from[(map.whole * taps + channel.rest) * channels + map.rest];
    to[i] = adds ? to[i] + value : value;
  }
};

// cuDNN overwrites. Where a gradient is to be added to, or weights lie in another order, it makes
// it in scratch, behind what it works with itself.
class CudnnConv : public ConvWay {
 public:
  CudnnConv(cudnn::Plan plan, cudnn::Convolution convolution, bool transposed, ConvStep step,
            CudnnHere here)
      : plan_(std::move(plan)),
        convolution_(std::move(convolution)),
        transposed_(transposed),
        step_(step),
        here_(std::move(here)) {}

  std::string name() const override { return "cudnn " + plan_.name(); }
  int64_t scratch_bytes() const override {
    return workspace() + (step_ == ConvStep::weights ? convolution_.w.bytes() : 0);
  }
  int64_t prepared_bytes() const override {
    if (!last() || step_ == ConvStep::weights) return 0;
    return own_bias() ? bias_at() + convolution_.bias->bytes() : convolution_.w.bytes();
  }
  void prepare(const ConvTensors& t) const override {
    if (!last() || step_ == ConvStep::weights) return;
    weights_to_last(t.w, convolution_.w, t.prepared);
    if (own_bias())
      weights_to_last(t.bias, {{convolution_.bias->shape.count(), 1}, DType::bf16},
                      static_cast<char*>(t.prepared) + bias_at());
  }
  void run(const ConvTensors& tensors) const override {
    ConvTensors t = tensors;
    const bool sums = step_ == ConvStep::weights, aside = sums && (t.adds || last());
    if (aside) t.dw = reinterpret_cast<float*>(static_cast<char*>(t.scratch) + workspace());
    if (last() && !sums) t.w = static_cast<const float*>(t.prepared);
    if (own_bias())
      t.bias = reinterpret_cast<const float*>(static_cast<const char*>(t.prepared) + bias_at());
    if (!rehearsed())
      cudnn::Call(plan_, convolution_, cudnn_pointers(t, step_, transposed_)).run(here_());
    if (!aside) return;
    if (last())
      gradient_from_last(t.dw, convolution_.w.shape, tensors.dw, tensors.adds);
    else
      for_each(convolution_.w.shape.count(), AddTo{tensors.dw, t.dw});
  }

 private:
  int64_t workspace() const { return (plan_.workspace() + 255) / 256 * 256; }
  bool last() const { return convolution_.w.layout == Layout::nhwc; }
  // Rounded, behind the weights.
  bool own_bias() const { return convolution_.bias && convolution_.bias->dtype == DType::bf16; }
  int64_t bias_at() const { return (convolution_.w.bytes() + 255) / 256 * 256; }

  cudnn::Plan plan_;
  cudnn::Convolution convolution_;
  bool transposed_;
  ConvStep step_;
  CudnnHere here_;
};

}  // namespace

void weights_to_last(const float* w, const TensorSpec& to, void* there) {
  const int64_t channels = to.shape[1], taps = to.shape.count(2);
  if (to.dtype == DType::bf16)
    for_each(to.shape.count(), ToLast<BFloat16>{w, static_cast<BFloat16*>(there), channels, taps});
  else
    for_each(to.shape.count(), ToLast<float>{w, static_cast<float*>(there), channels, taps});
}

void gradient_from_last(const float* there, const Shape& shape, float* dw, bool adds) {
  for_each(shape.count(), FromLast{there, dw, shape[1], shape.count(2), adds});
}

cudnn::Pointers cudnn_pointers(const ConvTensors& t, ConvStep step, bool transposed) {
  const auto any = [](const float* read) { return const_cast<float*>(read); };
  float* const in = step == ConvStep::data ? t.dx : any(t.x);
  float* const out = step == ConvStep::forward ? t.y : any(t.dy);
  return {.x = transposed ? out : in,
          .w = step == ConvStep::weights ? t.dw : any(t.w),
          .y = transposed ? in : out,
          .bias = any(t.bias),
          .workspace = t.scratch};
}

std::vector<std::unique_ptr<ConvWay>> cudnn_convs(const ConvDesc& desc, const OpSite& site,
                                                  ConvStep step, Precision precision,
                                                  const cudnn::Target& target,
                                                  const CudnnHere& here, int most,
                                                  std::string* refusal) {
  std::vector<std::unique_ptr<ConvWay>> ways;
  if (desc.transposed && desc.bias && step == ConvStep::forward) return ways;
  // Images of two kinds no plan takes; and weights' gradients in bf16 it makes, which would be
  // rounded before they are summed up.
  const TensorSpec &x = site.in[0], &y = site.out[0];
  if (x.dtype != y.dtype || x.layout != y.layout) return ways;
  if (x.dtype == DType::bf16 && step == ConvStep::weights) return ways;
  const cudnn::Convolution convolution = cudnn::convolution_of(desc, site, step);
  cudnn::Plans plans =
      cudnn::plans(convolution, target, {.tf32 = precision != Precision::fp32, .most = most});
  if (plans.found.empty() && refusal)
    *refusal = concat(cudnn::text_of(convolution), ": ", plans.summary());
  for (cudnn::Plan& plan : plans.found)
    ways.push_back(
        std::make_unique<CudnnConv>(std::move(plan), convolution, desc.transposed, step, here));
  return ways;
}

}  // namespace pcc::cuda
