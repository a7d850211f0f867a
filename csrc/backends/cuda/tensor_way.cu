// The convolutions of tensor_conv.h as ways of their steps.
#include "backends/cuda/conv_way.h"
#include "backends/cuda/reduce.cuh"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

namespace {

class TensorWay : public ConvWay {
 public:
  TensorWay(const ConvDesc& desc, const OpSite& site, ConvStep step)
      : step_(step), conv_(desc, site, site.device->precision()) {}

  std::string name() const override { return "tensor"; }
  int64_t prepared_bytes() const override { return conv_.prepared_bytes(step_); }
  int64_t scratch_bytes() const override {
    return step_ == ConvStep::weights ? conv_.weight_scratch_bytes() : 0;
  }
  void prepare(const ConvTensors& t) const override { conv_.prepare(step_, t.w, t.prepared); }
  void run(const ConvTensors& t) const override {
    switch (step_) {
      case ConvStep::forward:
        return conv_.forward(t.x, t.prepared, t.bias, t.y);
      case ConvStep::data:
        return conv_.data_gradient(t.dy, t.prepared, t.dx);
      case ConvStep::weights:
        return conv_.weight_gradient(t.x, t.dy, {t.dw, t.adds}, t.scratch);
    }
  }

 private:
  ConvStep step_;
  TensorConv conv_;
};

}  // namespace

std::unique_ptr<ConvWay> make_tensor_way(const ConvDesc& desc, const OpSite& site, ConvStep step) {
  if (!TensorConv::covers(desc, site, site.device->precision(), step)) return nullptr;
  return std::make_unique<TensorWay>(desc, site, step);
}

}  // namespace pcc::cuda
