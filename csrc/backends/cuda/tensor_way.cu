// The convolutions of tensor_conv.h as ways of their steps.
#include "backends/cuda/conv_way.h"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

namespace {

class TensorWay : public ConvWay {
 public:
  TensorWay(const ConvDesc& desc, const OpSite& site, ConvStep step)
      : step_(step),
        moments_(desc.moments > 0),
        x_(site.in[0]),
        y_(site.out[0]),
        conv_(desc, site, site.device->precision()) {}

  std::string name() const override { return kTensorConv; }
  int64_t prepared_bytes() const override {
    return conv_.prepared_bytes(step_ == ConvStep::forward, step_ == ConvStep::data);
  }
  int64_t scratch_bytes() const override {
    if (step_ == ConvStep::forward) return moments_ ? conv_.moments_scratch_bytes() : 0;
    return step_ == ConvStep::weights ? conv_.weight_scratch_bytes(false) : 0;
  }
  void prepare(const ConvTensors& t) const override {
    conv_.prepare(t.w, step_ == ConvStep::forward, step_ == ConvStep::data, t.prepared);
  }
  void run(const ConvTensors& t) const override {
    const auto tensor = [](const float* data, const TensorSpec& spec) {
      return Tensor{const_cast<float*>(data), spec};
    };
    switch (step_) {
      case ConvStep::forward:
        return conv_.forward(tensor(t.x, x_), nullptr, t.prepared, t.bias, tensor(t.y, y_),
                             static_cast<ChannelMoments*>(t.moments), t.scratch);
      case ConvStep::data:
        return conv_.data_gradient(tensor(t.dy, y_), t.prepared, tensor(t.dx, x_));
      case ConvStep::weights:
        WeightSums sums =
            conv_.weight_sums(tensor(t.x, x_), nullptr, tensor(t.dy, y_), false, t.scratch);
        sums.dw = t.dw;
        sums.adds_dw = t.adds;
        return TensorConv::join(sums);
    }
  }

 private:
  ConvStep step_;
  bool moments_;
  TensorSpec x_, y_;
  TensorConv conv_;
};

}  // namespace

std::unique_ptr<ConvWay> make_tensor_way(const ConvDesc& desc, const OpSite& site, ConvStep step) {
  if (!TensorConv::covers(desc, site, site.device->precision())) return nullptr;
  return std::make_unique<TensorWay>(desc, site, step);
}

}  // namespace pcc::cuda
