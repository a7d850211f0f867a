#include "backends/cuda/cudnn_conv.h"

#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

struct AddTo {
  float* to;
  const float* from;
  __device__ void operator()(int64_t i) const { to[i] += from[i]; }
};

// cuDNN overwrites. Where a gradient is to be added to, it makes it in scratch, behind what it
// works with itself.
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
  void run(const ConvTensors& tensors) const override {
    ConvTensors t = tensors;
    const bool aside = step_ == ConvStep::weights && t.adds;
    if (aside) t.dw = reinterpret_cast<float*>(static_cast<char*>(t.scratch) + workspace());
    if (!rehearsed())
      cudnn::Call(plan_, convolution_, cudnn_pointers(t, step_, transposed_)).run(here_());
    if (aside) for_each(convolution_.w.shape.count(), AddTo{tensors.dw, t.dw});
  }

 private:
  int64_t workspace() const { return (plan_.workspace() + 255) / 256 * 256; }

  cudnn::Plan plan_;
  cudnn::Convolution convolution_;
  bool transposed_;
  ConvStep step_;
  CudnnHere here_;
};

}  // namespace

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
