// Pooling over oneDNN where its rules are Caffe's.
#include <algorithm>
#include <cstring>
#include <optional>

#include "backends/onednn/engine.h"
#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

class PoolOp : public Op {
 public:
  PoolOp(const PoolDesc& desc, const OpSite& site, const dnnl::memory::dims& pad_end)
      : name_(site.name), x_(describe(site.in[0])), y_(describe(site.out[0])), backward_(trains(site)) {
    using namespace dnnl;
    const bool max = desc.method == PoolDesc::Method::max;
    const algorithm method = max ? algorithm::pooling_max : algorithm::pooling_avg_include_padding;
    const memory::dims kernel = {desc.kernel[0], desc.kernel[1]}, pad = {desc.pad[0], desc.pad[1]},
                       stride = {desc.stride[0], desc.stride[1]}, dilation = {0, 0};
    const pooling_forward::primitive_desc there(
        engine(), backward_ ? prop_kind::forward_training : prop_kind::forward_inference, method, x_, y_,
        stride, kernel, dilation, pad, pad_end, user_scratchpad());
    forward_ = pooling_forward(there);
    implementation_ = there.impl_info_str();
    forward_scratchpad_ = there.scratchpad_desc();
    needs_.forward_scratch = static_cast<int64_t>(forward_scratchpad_.get_size());
    if (!backward_) return;
    workspace_ = there.workspace_desc();
    needs_.stash_bytes = static_cast<int64_t>(workspace_.get_size());
    const pooling_backward::primitive_desc back(engine(), method, x_, y_, stride, kernel, dilation, pad,
                                                pad_end, there, user_scratchpad());
    backward_primitive_ = pooling_backward(back);
    backward_scratchpad_ = back.scratchpad_desc();
    needs_.backward_scratch = static_cast<int64_t>(backward_scratchpad_.get_size());
  }

  OpNeeds needs() const override { return needs_; }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    forward_call_ = Call(name_, forward_);
    forward_call_.argument(DNNL_ARG_SRC, x_, buffers.in[0].data);
    forward_call_.argument(DNNL_ARG_DST, y_, buffers.out[0].data);
    forward_call_.argument(DNNL_ARG_WORKSPACE, workspace_, buffers.stash);
    forward_call_.argument(DNNL_ARG_SCRATCHPAD, forward_scratchpad_, buffers.scratch);
    backward_call_ = Call();
    if (!backward_ || !buffers.din[0] || buffers.dout[0].empty()) return;
    backward_call_ = Call(name_, backward_primitive_);
    backward_call_.argument(DNNL_ARG_DIFF_DST, y_, buffers.dout[0][0].data);
    backward_call_.argument(DNNL_ARG_DIFF_SRC, x_, buffers.din[0].data);
    backward_call_.argument(DNNL_ARG_WORKSPACE, workspace_, buffers.stash);
    backward_call_.argument(DNNL_ARG_SCRATCHPAD, backward_scratchpad_, buffers.backward_scratch);
  }

  void forward(const StepState&) override { forward_call_.run(); }

  void backward(const StepState&) override {
    if (backward_call_)
      backward_call_.run();
    else if (buffers_.din[0])
      std::memset(buffers_.din[0].data, 0, x_.get_size());
  }

  std::string implementation() const override { return implementation_; }

 private:
  std::string name_, implementation_;
  dnnl::memory::desc x_, y_, workspace_, forward_scratchpad_, backward_scratchpad_;
  bool backward_;
  OpNeeds needs_;
  dnnl::primitive forward_, backward_primitive_;
  Call forward_call_, backward_call_;
};

// How far the last window reaches beyond the picture, per axis; empty where oneDNN's rules are not Caffe's.
std::optional<dnnl::memory::dims> end_padding(const PoolDesc& desc, const OpSite& site) {
  dnnl::memory::dims ends;
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t size = site.in[0].shape[2 + axis], windows = site.out[0].shape[2 + axis];
    const int64_t last = (windows - 1) * desc.stride[axis] - desc.pad[axis];
    const int64_t end = last + desc.kernel[axis] - size;
    // Every window must hold a part of the picture.
    if (desc.pad[axis] >= desc.kernel[axis] || last >= size) return std::nullopt;
    // oneDNN divides an average by the whole kernel, Caffe by its part within the padding.
    if (desc.method == PoolDesc::Method::average && end > desc.pad[axis]) return std::nullopt;
    ends.push_back(end);
  }
  return ends;
}

}  // namespace

std::unique_ptr<Op> make_pool(const PoolDesc& desc, const OpSite& site) {
  if (site.out.size() > 1 || site.in[0].layout != site.out[0].layout) return nullptr;
  const std::optional<dnnl::memory::dims> ends = end_padding(desc, site);
  if (!ends) return nullptr;
  return guarded(site.name, "prepare pooling",
                 [&] { return std::make_unique<PoolOp>(desc, site, *ends); });
}

LayoutChoice vote_pool(const PoolDesc&, const OpSite& site) {
  return site.out.size() > 1 ? vote_plain(site) : vote_follow(site);
}

}  // namespace pcc::onednn
