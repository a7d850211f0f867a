// Softmax over oneDNN's primitive.
#include <cstring>

#include "backends/onednn/engine.h"
#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

class SoftmaxOp : public Op {
 public:
  SoftmaxOp(const SoftmaxDesc& desc, const OpSite& site)
      : name_(site.name), value_(describe(site.out[0])), backward_(site.backward()) {
    using namespace dnnl;
    guarded(name_, "prepare softmax", [&] {
      const softmax_forward::primitive_desc there(
          engine(), backward_ ? prop_kind::forward_training : prop_kind::forward_inference,
          algorithm::softmax_accurate, value_, value_, desc.axis, user_scratchpad());
      forward_ = softmax_forward(there);
      forward_scratchpad_ = there.scratchpad_desc();
      implementation_ = there.impl_info_str();
      if (!backward_) return;
      const softmax_backward::primitive_desc back(engine(), algorithm::softmax_accurate, value_,
                                                  value_, value_, desc.axis, there,
                                                  user_scratchpad());
      backward_primitive_ = softmax_backward(back);
      backward_scratchpad_ = back.scratchpad_desc();
    });
  }

  OpNeeds needs() const override {
    OpNeeds needs;
    needs.out = {backward_};
    needs.forward_scratch = static_cast<int64_t>(forward_scratchpad_.get_size());
    if (backward_) needs.backward_scratch = static_cast<int64_t>(backward_scratchpad_.get_size());
    return needs;
  }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    forward_call_ = Call(name_, forward_);
    forward_call_.argument(DNNL_ARG_SRC, value_, buffers.in[0].data);
    forward_call_.argument(DNNL_ARG_DST, value_, buffers.out[0].data);
    forward_call_.argument(DNNL_ARG_SCRATCHPAD, forward_scratchpad_, buffers.scratch);
    if (!backward_ || !buffers.din[0] || buffers.dout[0].empty()) return;
    backward_call_ = Call(name_, backward_primitive_);
    backward_call_.argument(DNNL_ARG_DST, value_, buffers.out[0].data);
    backward_call_.argument(DNNL_ARG_DIFF_DST, value_, buffers.dout[0][0].data);
    backward_call_.argument(DNNL_ARG_DIFF_SRC, value_, buffers.din[0].data);
    backward_call_.argument(DNNL_ARG_SCRATCHPAD, backward_scratchpad_, buffers.backward_scratch);
  }

  void forward(const Context&) override { forward_call_.run(); }

  void differentiate(const Context&) override {
    if (backward_call_) backward_call_.run();
  }

  std::string implementation() const override { return implementation_; }

 private:
  std::string name_, implementation_;
  dnnl::memory::desc value_, forward_scratchpad_, backward_scratchpad_;
  bool backward_;
  dnnl::primitive forward_, backward_primitive_;
  Call forward_call_, backward_call_;
};

}  // namespace

std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site) {
  if (site.in[0].layout != Layout::plain) return nullptr;
  return std::make_unique<SoftmaxOp>(desc, site);
}

}  // namespace pcc::onednn
