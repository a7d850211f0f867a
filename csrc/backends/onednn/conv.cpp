// Convolution and its transpose over oneDNN. Parameters lie in Caffe's order; each step wants them
// in an order of its own, so they are put into scratch before it (36 KB for the largest of
// ResNet-56), or, where nothing is trained, kept so if small, and weight gradients come back the
// same way, added or in the place of what was there.
#include <algorithm>

#include "backends/onednn/conv_plan.h"
#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

constexpr size_t kMostPrepared = 64 << 10;  // bytes

class ConvOp : public Op {
 public:
  ConvOp(const ConvDesc& desc, const OpSite& site, const ConvPlan& plan, ConvStep forward,
         std::optional<ConvStep> backward_data, std::optional<ConvStep> backward_weights)
      : bias_(desc.bias),
        name_(site.name),
        x_(describe(site.in[0])),
        y_(describe(site.out[0])),
        plain_weights_(plan.plain_weights()),
        bias_desc_(plan.bias()),
        forward_(std::move(forward)),
        data_(std::move(backward_data)),
        weights_(std::move(backward_weights)) {
    needs_.overwrites_dparams = true;
    needs_.in = {weights_.has_value()};
    // Where nothing is trained the weights stay the same for many passes, and are put in order
    // once. To keep large ones twice would cost more memory than it saves time.
    const bool keep = !site.backward() && forward_.weights.get_size() <= kMostPrepared;
    to_forward_ = stage(forward_.weights, keep ? prepared_pieces_ : forward_pieces_);
    prepared_ = prepared_pieces_.total() > 0;
    forward_scratchpad_ = take(forward_.scratchpad, forward_pieces_);
    if (data_) {
      to_data_ = stage(data_->weights, backward_pieces_);
      data_scratchpad_ = take(data_->scratchpad, backward_pieces_);
    }
    if (weights_) {
      gradient_ = take(weights_->weights, backward_pieces_);
      bias_gradient_ = take(bias_desc_, backward_pieces_);
      add_ = Reorder(name_, weights_->weights, plain_weights_, true);
      put_ = Reorder(name_, weights_->weights, plain_weights_, false);
      back_scratch_ = backward_pieces_.take(std::max(add_.scratch_bytes(), put_.scratch_bytes()));
      weights_scratchpad_ = take(weights_->scratchpad, backward_pieces_);
    }
    needs_.prepared_bytes = prepared_pieces_.total();
    needs_.forward_scratch = forward_pieces_.total();
    needs_.backward_scratch = backward_pieces_.total();
  }

  OpNeeds needs() const override { return needs_; }

  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    prepare_calls_.clear();
    forward_calls_.clear();
    data_calls_.clear();
    weights_calls_.clear();
    void* const w = buffers.params[0].data;

    void* staged = prepared_ ? bind_stage(to_forward_, w, buffers.prepared, prepare_calls_)
                             : bind_stage(to_forward_, w, buffers.scratch, forward_calls_);
    Call& forward = forward_calls_.emplace_back(name_, forward_.primitive);
    forward.argument(DNNL_ARG_SRC, x_, buffers.in[0].data);
    forward.argument(DNNL_ARG_WEIGHTS, forward_.weights, staged);
    if (bias_) forward.argument(DNNL_ARG_BIAS, bias_desc_, buffers.params[1].data);
    forward.argument(DNNL_ARG_DST, y_, buffers.out[0].data);
    forward.argument(DNNL_ARG_SCRATCHPAD, forward_.scratchpad,
                     at(buffers.scratch, forward_scratchpad_));

    if (buffers.dout.empty() || buffers.dout[0].empty()) return;
    void* const dy = buffers.dout[0][0].data;
    void* const scratch = buffers.backward_scratch;
    if (data_ && buffers.din[0]) {
      staged = bind_stage(to_data_, w, scratch, data_calls_);
      Call& data = data_calls_.emplace_back(name_, data_->primitive);
      data.argument(DNNL_ARG_DIFF_DST, y_, dy);
      data.argument(DNNL_ARG_WEIGHTS, data_->weights, staged);
      data.argument(DNNL_ARG_DIFF_SRC, x_, buffers.din[0].data);
      data.argument(DNNL_ARG_SCRATCHPAD, data_->scratchpad, at(scratch, data_scratchpad_));
    }
    if (weights_) {
      void* const dw = at(scratch, gradient_);
      Call& weights = weights_calls_.emplace_back(name_, weights_->primitive);
      weights.argument(DNNL_ARG_SRC, x_, buffers.in[0].data);
      weights.argument(DNNL_ARG_DIFF_DST, y_, dy);
      weights.argument(DNNL_ARG_DIFF_WEIGHTS, weights_->weights, dw);
      if (bias_) weights.argument(DNNL_ARG_DIFF_BIAS, bias_desc_, at(scratch, bias_gradient_));
      weights.argument(DNNL_ARG_SCRATCHPAD, weights_->scratchpad, at(scratch, weights_scratchpad_));
      if (buffers.dparams[0]) {
        add_call_ = add_.call(dw, buffers.dparams[0].data, at(scratch, back_scratch_));
        put_call_ = put_.call(dw, buffers.dparams[0].data, at(scratch, back_scratch_));
      }
    }
  }

  void prepare(const Context&) override {
    for (const Call& call : prepare_calls_) call.run();
  }

  void forward(const Context&) override {
    for (const Call& call : forward_calls_) call.run();
  }

  void differentiate(const Context& context) override {
    for (const Call& call : data_calls_) call.run();
    for (const Call& call : weights_calls_) call.run();
    if (weights_calls_.empty()) return;
    if (buffers_.dparams[0]) (overwrites(context, 0) ? put_call_ : add_call_).run();
    if (!bias_ || !buffers_.dparams[1]) return;
    const float* const from =
        static_cast<const float*>(at(buffers_.backward_scratch, bias_gradient_));
    float* const to = buffers_.dparams[1].as<float>();
    const bool add = !overwrites(context, 1);
    for (int64_t i = 0; i < buffers_.dparams[1].count(); ++i)
      to[i] = add ? to[i] + from[i] : from[i];
  }

  std::string implementation() const override {
    std::string text = forward_.implementation;
    for (const std::optional<ConvStep>* step : {&data_, &weights_})
      if (*step && text.find((*step)->implementation) == std::string::npos)
        text += ", " + (*step)->implementation;
    return text;
  }

 private:
  // Weights in the order of one step; reorder is empty where the parameter's own order is wanted.
  struct Stage {
    int64_t offset = 0, scratch = 0;
    std::optional<Reorder> reorder;
  };

  static int64_t take(const dnnl::memory::desc& desc, Pieces& pieces) {
    return pieces.take(static_cast<int64_t>(desc.get_size()));
  }

  Stage stage(const dnnl::memory::desc& wanted, Pieces& pieces) const {
    Stage stage;
    if (wanted == plain_weights_) return stage;
    stage.offset = take(wanted, pieces);
    stage.reorder = Reorder(name_, plain_weights_, wanted, false);
    stage.scratch = pieces.take(stage.reorder->scratch_bytes());
    return stage;
  }

  void* bind_stage(const Stage& stage, void* weights, void* scratch,
                   std::vector<Call>& calls) const {
    if (!stage.reorder) return weights;
    void* const staged = at(scratch, stage.offset);
    calls.push_back(stage.reorder->call(weights, staged, at(scratch, stage.scratch)));
    return staged;
  }

  bool bias_;
  std::string name_;
  dnnl::memory::desc x_, y_, plain_weights_, bias_desc_;
  ConvStep forward_;
  std::optional<ConvStep> data_, weights_;
  OpNeeds needs_;
  Pieces prepared_pieces_, forward_pieces_, backward_pieces_;
  bool prepared_ = false;
  Stage to_forward_, to_data_;
  Reorder add_, put_;
  int64_t forward_scratchpad_ = 0, data_scratchpad_ = 0, weights_scratchpad_ = 0;
  int64_t gradient_ = 0, bias_gradient_ = 0, back_scratch_ = 0;
  std::vector<Call> prepare_calls_, forward_calls_, data_calls_, weights_calls_;
  Call add_call_, put_call_;
};

}  // namespace

std::unique_ptr<Op> make_conv(const ConvDesc& desc, const OpSite& site) {
  if (std::unique_ptr<Op> own = cpu::make_fast_conv(desc, site)) return own;
  const ConvPlan plan(desc, site, describe(site.in[0]), describe(site.out[0]));
  return guarded(site.name, "prepare a convolution", [&]() -> std::unique_ptr<Op> {
    std::optional<ConvStep> forward = plan.forward(true), data, weights;
    if (!forward) return nullptr;
    if (wants_data(site) && !(data = plan.backward_data(true))) return nullptr;
    if (wants_weights(site) && !(weights = plan.backward_weights(true))) return nullptr;
    return std::make_unique<ConvOp>(desc, site, plan, std::move(*forward), std::move(data),
                                    std::move(weights));
  });
}

}  // namespace pcc::onednn
