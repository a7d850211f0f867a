// The op of a convolution whose output has its channels last, on the tensor cores.
#include "backends/cuda/cuda_op.h"
#include "backends/cuda/makers.h"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

namespace {

class TensorConvOp : public CudaOp {
 public:
  TensorConvOp(const ConvDesc& desc, const OpSite& site)
      : CudaOp(site), desc_(desc), conv_(desc, site, site.device->precision()) {}

  std::string implementation() const override {
    return desc_.prologue ? "cuda tensor nhwc, normalises" : "cuda tensor nhwc";
  }

  void prepare(const Context&) override {
    conv_.prepare(param(0), true, site_.want_din[0], buffers_.prepared);
  }
  void forward(const Context&) override {
    conv_.forward(
        x(), scales(), buffers_.prepared, desc_.bias ? param(1) : nullptr, buffers_.out[0],
        desc_.moments > 0 ? buffers_.out[1].as<ChannelMoments>() : nullptr, buffers_.scratch);
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.prepared_bytes = conv_.prepared_bytes(true, site_.want_din[0]);
    needs.channel_unit = 4;
    needs.forward_scratch = desc_.moments > 0 ? conv_.moments_scratch_bytes() : 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    const bool sums = site_.want_dparam[0] || wants_dbias();
    needs.in.assign(desc_.prologue ? 3 : 1, sums);
    if (desc_.prologue) needs.in[0] = false;
    needs.overwrites_dparams = true;
    if (sums && site_.want_din[0]) needs.backward_again = site_.out[0].bytes();  // dy
    if (sums) needs.backward_scratch = conv_.weight_scratch_bytes(wants_dbias());
  }
  void differentiate(const Context& context) override {
    const Tensor& dy = buffers_.dout[0][0];
    WeightSums sums;
    if (site_.want_dparam[0] || wants_dbias()) {
      sums = conv_.weight_sums(x(), scales(), dy, wants_dbias(), buffers_.backward_scratch);
      sums.dw = dparam(0);
      sums.adds_dw = !overwrites(context, 0);
      if (wants_dbias()) {
        sums.dbias = dparam(1);
        sums.adds_dbias = !overwrites(context, 1);
      }
    }
    if (din(0))
      conv_.data_gradient(dy,
                          static_cast<char*>(buffers_.prepared) + conv_.prepared_bytes(true, false),
                          buffers_.din[0], sums);
    else if (sums.sums)
      TensorConv::join(sums);
  }

 private:
  // What lies in memory, and what is made of it.
  const Tensor& x() const { return buffers_.in[desc_.prologue ? 1 : 0]; }
  const ChannelScale* scales() const {
    return desc_.prologue ? buffers_.in[2].as<const ChannelScale>() : nullptr;
  }
  bool wants_dbias() const { return desc_.bias && site_.want_dparam[1]; }

  ConvDesc desc_;
  TensorConv conv_;
};

}  // namespace

std::unique_ptr<Op> make_tensor_conv(const ConvDesc& desc, const OpSite& site) {
  return std::make_unique<TensorConvOp>(desc, site);
}

}  // namespace pcc::cuda
