// The op of a convolution whose output has its channels last, on the tensor cores.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

namespace {

template <typename T>
struct Plain {
  const T* x;
  __device__ int start(int64_t, int) const { return 0; }
  __device__ void operator()(int, int64_t i, float* a, float*) const {
    const Pack<T> numbers(x + i * Pack<T>::kCount);
    PCC_UNROLL
    for (int k = 0; k < Pack<T>::kCount; ++k) a[k] += numbers.x[k];
  }
};
struct GiveBias {
  ChannelSums sums;
  Gradient bias;
  __device__ void operator()(int64_t c) const {
    const Sums sum = warp_sum(sums, c);
    if (threadIdx.x % kWarp == 0) bias.give(c, sum.a);
  }
};

class TensorConvOp : public CudaOp {
 public:
  TensorConvOp(const ConvDesc& desc, const OpSite& site)
      : CudaOp(site), desc_(desc), conv_(desc, site, site.device->precision()) {}

  std::string implementation() const override { return "cuda tensor nhwc"; }

  void prepare(const Context&) override {
    conv_.prepare(param(0), true, site_.want_din[0], buffers_.prepared);
  }
  void forward(const Context&) override {
    conv_.forward(buffers_.in[0], buffers_.prepared, desc_.bias ? param(1) : nullptr,
                  buffers_.out[0]);
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.prepared_bytes = conv_.prepared_bytes(true, site_.want_din[0]);
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {site_.want_dparam[0]};
    needs.overwrites_dparams = true;
    needs.backward_again = dy_again();
    const bool bf16 = site_.out[0].dtype == DType::bf16;
    const int64_t sums = bf16 ? of_dy<BFloat16>().scratch_bytes() : of_dy<float>().scratch_bytes();
    needs.backward_scratch = std::max(conv_.weight_scratch_bytes(), sums);
  }
  void differentiate(const Context& context) override {
    const Tensor& dy = buffers_.dout[0][0];
    void* const scratch = buffers_.backward_scratch;
    if (desc_.bias && dparam(1)) {
      const Gradient bias = {dparam(1), !overwrites(context, 1)};
      if (dy.spec.dtype == DType::bf16)
        give_bias<BFloat16>(dy, bias, scratch);
      else
        give_bias<float>(dy, bias, scratch);
    }
    if (dparam(0))
      conv_.weight_gradient(buffers_.in[0], dy, {dparam(0), !overwrites(context, 0)}, scratch);
    if (din(0))
      conv_.data_gradient(dy,
                          static_cast<char*>(buffers_.prepared) + conv_.prepared_bytes(true, false),
                          buffers_.din[0]);
  }

 private:
  template <typename T>
  Lines of_dy() const {
    return {1, out_shape()[0] * out_shape().count(2), out_shape()[1], Pack<T>::kCount};
  }
  template <typename T>
  void give_bias(const Tensor& dy, const Gradient& bias, void* scratch) const {
    const Lines lines = of_dy<T>();
    const ChannelSums sums = sum_lines<Pack<T>::kCount>(lines, Plain<T>{dy.as<T>()}, scratch);
    for_each_warp(lines.dim, GiveBias{sums, bias});
  }

  ConvDesc desc_;
  TensorConv conv_;
};

}  // namespace

std::unique_ptr<Op> make_tensor_conv(const ConvDesc& desc, const OpSite& site) {
  return std::make_unique<TensorConvOp>(desc, site);
}

}  // namespace pcc::cuda
