// The op of a convolution, or of its transpose: each of its steps in the way that was chosen for
// it.
#include "backends/cuda/conv_way.h"
#include "backends/cuda/makers.h"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/pack.cuh"

namespace pcc::cuda {

namespace {

// Of a value whose channels are last.
template <typename T>
struct OfLast {
  const T* x;
  __device__ Sums operator()(int64_t, int64_t i) const {
    return {static_cast<double>(number(x[i])), 0};
  }
};

// Over float32 in plain layout, or, where its ways work on them, channels that are last, in float32
// or bf16: pointers say nothing of what lies there.
class ConvOp : public CudaOp {
 public:
  ConvOp(const ConvDesc& desc, const OpSite& site, std::unique_ptr<ConvWay> forward)
      : CudaOp(site), bias_(desc.bias), forward_(std::move(forward)) {
    if (site.want_din[0]) data_ = choose_conv(desc, site, ConvStep::data);
    if (site.want_dparam[0]) weights_ = choose_conv(desc, site, ConvStep::weights);
  }

  // Whether all steps go the way of that name.
  bool all(const std::string& way) const {
    const auto goes = [&](const std::unique_ptr<ConvWay>& step) {
      return !step || step->name() == way;
    };
    return goes(forward_) && goes(data_) && goes(weights_);
  }

  void prepare(const Context&) override {
    forward_->prepare(forward_tensors());
    if (data_) data_->prepare(data_tensors());
  }
  void forward(const Context&) override { forward_->run(forward_tensors()); }

  // "cuda tensor", or, where the steps differ, "cuda tensor, data plain, weights tensor".
  std::string implementation() const override {
    std::string text = "cuda " + forward_->name();
    const auto add = [&](const char* step, const std::unique_ptr<ConvWay>& way) {
      if (way && way->name() != forward_->name()) text += concat(", ", step, ' ', way->name());
    };
    add("data", data_);
    add("weights", weights_);
    return text + (lines() ? ", nhwc" : "");
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = forward_->scratch_bytes();
    needs.prepared_bytes = forward_bytes() + (data_ ? data_->prepared_bytes() : 0);
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {site_.want_dparam[0]};
    needs.overwrites_dparams = true;
    needs.backward_again = dy_again();
    needs.backward_scratch =
        std::max({data_ ? data_->scratch_bytes() : 0, weights_ ? weights_->scratch_bytes() : 0,
                  seen().scratch_bytes()});
  }
  void differentiate(const Context& context) override {
    const float* dy = dout();
    void* const scratch = buffers_.backward_scratch;
    if (bias_ && dparam(1)) give_bias(dy, {dparam(1), !overwrites(context, 1)}, scratch);
    if (weights_)
      weights_->run({.x = in(0),
                     .dy = dy,
                     .dw = dparam(0),
                     .adds = !overwrites(context, 0),
                     .scratch = scratch});
    if (data_) data_->run(data_tensors());
  }

 private:
  ConvTensors forward_tensors() const {
    return {.x = in(0),
            .w = param(0),
            .bias = bias_ ? param(1) : nullptr,
            .y = out(),
            .prepared = buffers_.prepared,
            .scratch = buffers_.scratch,
            .moments = outs() > 1 ? buffers_.out[1].data : nullptr};
  }
  ConvTensors data_tensors() const {
    return {.w = param(0),
            .dy = dout(),
            .dx = din(0),
            .prepared = static_cast<char*>(buffers_.prepared) + forward_bytes(),
            .scratch = buffers_.backward_scratch};
  }
  // Of what is prepared, before what `data` has of it.
  int64_t forward_bytes() const { return (forward_->prepared_bytes() + 255) / 256 * 256; }
  void give_bias(const float* dy, const Gradient& bias, void* scratch) const {
    if (!lines()) return bias_gradient(seen(), dy, bias, scratch);
    const bool bf16 = site_.out[0].dtype == DType::bf16;
    const ChannelSums sums =
        bf16
            ? sum_channels(seen(), OfLast<BFloat16>{reinterpret_cast<const BFloat16*>(dy)}, scratch)
            : sum_channels(seen(), OfLast<float>{dy}, scratch);
    for_each(seen().dim, GiveSum{sums, bias});
  }
  bool lines() const { return site_.out[0].layout == Layout::nhwc; }
  Channels seen() const {
    const int64_t area = out_shape().count(2);
    return {lines() ? out_shape()[0] * area : out_shape()[0], out_shape()[1], lines() ? 1 : area};
  }

  bool bias_;
  std::unique_ptr<ConvWay> forward_, data_, weights_;  // null: that step is not wanted
};

}  // namespace

std::unique_ptr<Op> make_conv(const ConvDesc& desc, const OpSite& site) {
  const bool lines = site.out[0].layout == Layout::nhwc;
  // Prologues only our own kernels have.
  if (lines && desc.prologue) return make_tensor_conv(desc, site);
  std::unique_ptr<ConvWay> forward = choose_conv(desc, site, ConvStep::forward);
  if (!forward) return nullptr;
  auto op = std::make_unique<ConvOp>(desc, site, std::move(forward));
  // By one op, which shares work among them, unless the way of each step was asked for.
  if (lines && op->all(kTensorConv) && conv_choice(site) != kTensorConv)
    return make_tensor_conv(desc, site);
  return op;
}

}  // namespace pcc::cuda
