// A change of layout between two ops that disagree.
#include <cstring>

#include "backends/onednn/engine.h"
#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

class ReorderOp : public Op {
 public:
  explicit ReorderOp(const OpSite& site)
      : there_(site.name, describe(site.in[0]), describe(site.out[0]), false),
        backward_(site.backward()) {
    if (backward_) back_ = Reorder(site.name, describe(site.out[0]), describe(site.in[0]), false);
  }

  OpNeeds needs() const override {
    OpNeeds needs;
    needs.forward_scratch = there_.scratch_bytes();
    if (backward_) needs.backward_scratch = back_.scratch_bytes();
    return needs;
  }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    forward_call_ = there_.call(buffers.in[0].data, buffers.out[0].data, buffers.scratch);
    if (backward_ && buffers.din[0] && !buffers.dout[0].empty())
      backward_call_ =
          back_.call(buffers.dout[0][0].data, buffers.din[0].data, buffers.backward_scratch);
  }

  void forward(const Context&) override { forward_call_.run(); }

  void differentiate(const Context&) override {
    if (backward_call_) backward_call_.run();
  }

  std::string implementation() const override { return there_.implementation(); }

 private:
  Reorder there_, back_;
  bool backward_;
  Call forward_call_, backward_call_;
};

}  // namespace

std::unique_ptr<Op> make_reorder(const ReorderDesc&, const OpSite& site) {
  return std::make_unique<ReorderOp>(site);
}

}  // namespace pcc::onednn
