// Embed, LSTM, RNN, LSTMUnit: layers of sequences. Source: Caffe's embed_layer.cpp,
// recurrent_layer.cpp, lstm_layer.cpp, rnn_layer.cpp, lstm_unit_layer.cpp.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// Row numbers (M..) -> rows of a table (M.., num_output) [+ bias]. Parameters: the table
// (input_dim, num_output), bias (num_output).
class EmbedLayer : public LayerBase {
 public:
  EmbedLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("embed_param");
    width_ = extent("num_output", params.get_int("num_output"), 1);
    rows_ = extent("input_dim", params.get_int("input_dim"), 1);
    desc_.bias = params.get_bool("bias_term");
    weight_filler_ = read_filler(params.sub("weight_filler"), "weight_filler");
    bias_filler_ = read_filler(params.sub("bias_filler"), "bias_filler", desc_.bias);
  }
  bool differentiable(int) const override { return false; }
  std::vector<ParamDecl> params() const override {
    std::vector<ParamDecl> decls{{Shape{rows_, width_}, weight_filler_}};
    if (desc_.bias) decls.push_back({Shape{width_}, bias_filler_});
    return decls;
  }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)},
              desc_.bias ? std::vector<ParamId>{0, 1} : std::vector<ParamId>{0}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    top_ = bottoms[0];
    top_.push_back(width_);
    return {top_};
  }

 private:
  EmbedDesc desc_;
  int64_t width_ = 1, rows_ = 1;
  FillerDesc weight_filler_, bias_filler_;
  Shape top_;
};

// x (T, N, rest..), cont (T, N) [, x_static (N, rest..)] [, with expose_hidden the first state,
// each (1, N, H)] -> y (T, N, H) [, the last state]; H = num_output. cont: 0 where a sequence
// begins. Without expose_hidden the state goes on from one batch to the next. The states get no
// gradient, and pass none on, as in Caffe.
//   LSTM: state h, c; y = h. Parameters: W_xc (4 H, D), b_c (4 H) [, W_xc_static (4 H, D_static)],
//   W_hc (4 H, H); gates in the order input, forget, output, candidate.
//   RNN: state h; y = tanh(W_ho h + b_o). Parameters: W_xh (H, D), b_h (H) [, W_xh_static], W_hh,
//   W_ho (H, H), b_o (H).
class RecurrentLayer : public LayerBase {
 public:
  RecurrentLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("recurrent_param");
    hidden_ = extent("num_output", params.get_int("num_output"), 1);
    require(hidden_ <= kMaxCount / 4, "num_output: ", hidden_, " is too large");
    desc_.exposed = params.get_bool("expose_hidden");
    lstm_ = this->spec().type == "LSTM";
    desc_.cell = lstm_ ? RecurrentDesc::Cell::lstm : RecurrentDesc::Cell::rnn;
    gates_ = lstm_ ? 4 * hidden_ : hidden_;
    states_ = desc_.exposed ? (lstm_ ? 2 : 1) : 0;
    params.ignore("debug_info");
    weight_filler_ = read_filler(params.sub("weight_filler"), "weight_filler");
    bias_filler_ = read_filler(params.sub("bias_filler"), "bias_filler");
  }

  Arity arity() const override { return {2 + states_, 3 + states_, 1 + states_, 1 + states_}; }
  bool differentiable(int bottom) const override {
    return bottom == 0 || (bottom == 2 && has_static());
  }

  std::vector<ParamDecl> params() const override {
    std::vector<ParamDecl> decls{{Shape{gates_, size_}, weight_filler_},
                                 {Shape{gates_}, bias_filler_}};
    if (has_static()) decls.push_back({Shape{gates_, static_size_}, weight_filler_});
    decls.push_back({Shape{gates_, hidden_}, weight_filler_});
    if (!lstm_) {
      decls.push_back({Shape{hidden_, hidden_}, weight_filler_});
      decls.push_back({Shape{hidden_}, bias_filler_});
    }
    return decls;
  }

  void lower(Lowering& to) const override {
    const GemmDesc inputs{.m = steps_ * batch_, .k = size_, .n = gates_};
    const ValueId x = to.view(to.bottom(0), Shape{inputs.m, size_});
    ValueId z = to.op(inputs, {x}, {0, 1}, {Shape{inputs.m, gates_}})[0];
    z = to.view(z, Shape{steps_, batch_, gates_});
    ParamId next = 2;
    if (has_static()) z = with_static(to, z, next++);
    std::vector<ValueId> ins{z, to.bottom(1)};
    const Shape state{1, batch_, hidden_}, top{steps_, batch_, hidden_};
    std::vector<Shape> outs{top};
    for (int i = 0; i < states_; ++i) {
      ins.push_back(to.bottom(2 + (has_static() ? 1 : 0) + i));
      outs.push_back(state);
    }
    std::vector<ValueId> values = to.op(desc_, ins, {next}, outs);
    if (!lstm_) {
      const GemmDesc outputs{.m = inputs.m, .k = hidden_, .n = hidden_};
      const Shape rows{inputs.m, hidden_};
      const ValueId h = to.view(values[0], rows);
      const ValueId sum = to.op(outputs, {h}, {next + 1, next + 2}, {rows})[0];
      const PointwiseDesc tanh{.function = PointwiseDesc::Function::tanh};
      values[0] = to.op(tanh, {to.view(sum, top)}, {}, {top})[0];
    }
    to.tops(values);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require(x.axes() >= 2, "expected a bottom of 2 axes or more (steps, samples, ..); got ",
            bottom_text(0, x));
    keep_replicas_apart(true, "a sequence, whose steps lie on axis 0,");
    steps_ = x[0];
    batch_ = x[1];
    size_ = x.count(2);
    const Shape cont{steps_, batch_};
    require(bottoms[1] == cont, "expected where the sequences go on as (", cont, "); got ",
            bottom_text(1, bottoms[1]));
    if (has_static()) {
      require(bottoms[2].axes() >= 1 && bottoms[2][0] == batch_, "expected the static input of ",
              batch_, " samples; got ", bottom_text(2, bottoms[2]));
      static_size_ = bottoms[2].count(1);
    }
    const Shape state{1, batch_, hidden_};
    std::vector<Shape> tops{Shape{steps_, batch_, hidden_}};
    for (size_t i = bottoms.size() - static_cast<size_t>(states_); i < bottoms.size(); ++i) {
      require(bottoms[i] == state, "expected a first state (", state, "); got ",
              bottom_text(i, bottoms[i]));
      tops.push_back(state);
    }
    return tops;
  }

 private:
  bool has_static() const { return spec().bottoms.size() > static_cast<size_t>(2 + states_); }
  // The static input's share, the same at each step, added to that of the steps.
  ValueId with_static(Lowering& to, ValueId z, ParamId weights) const {
    const GemmDesc product{.m = batch_, .k = static_size_, .n = gates_, .bias = false};
    const ValueId x = to.view(to.bottom(2), Shape{batch_, static_size_});
    ValueId share = to.op(product, {x}, {weights}, {Shape{batch_, gates_}})[0];
    share = to.view(share, Shape{1, batch_, gates_});
    const Shape all{steps_, batch_, gates_};
    share = to.op(TileDesc{.axis = 0, .tiles = steps_}, {share}, {}, {all})[0];
    return to.op(EltwiseDesc{.coeff = {1, 1}}, {z, share}, {}, {all})[0];
  }

  RecurrentDesc desc_;
  bool lstm_ = true;
  int states_ = 0;  // exposed ones
  int64_t hidden_ = 1, gates_ = 4, steps_ = 1, batch_ = 1, size_ = 1, static_size_ = 1;
  FillerDesc weight_filler_, bias_filler_;
};

// One step of an LSTM: c of the step before (1, N, H), gates' inputs (1, N, 4 H), cont (1, N) -> c,
// h (1, N, H).
class LstmUnitLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {3, 3, 2, 2, false}; }
  bool differentiable(int bottom) const override { return bottom < 2; }
  void lower(Lowering& to) const override {
    const Shape state = to.shape(to.bottom(0));
    const std::vector<ValueId> values =
        to.op(LstmUnitDesc{}, {to.bottom(0), to.bottom(1), to.bottom(2)}, {}, {state, state});
    for (int i = 0; i < 2; ++i) to.top(i, values[static_cast<size_t>(i)]);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& c = bottoms[0];
    require(c.axes() == 3 && c[0] == 1, "expected a cell of one step (1, N, H); got ",
            bottom_text(0, c));
    keep_replicas_apart(true, "a step, which lies on axis 0,");
    const Shape gates{1, c[1], 4 * c[2]}, cont{1, c[1]};
    require(bottoms[1] == gates, "expected the inputs of the gates (", gates, "); got ",
            bottom_text(1, bottoms[1]));
    require(bottoms[2] == cont, "expected where the sequences go on as (", cont, "); got ",
            bottom_text(2, bottoms[2]));
    return {c, c};
  }
};

}  // namespace

std::vector<LayerType> recurrent_layers() {
  return {
      entry<EmbedLayer>("Embed"),
      entry<RecurrentLayer>("LSTM"),
      entry<RecurrentLayer>("RNN"),
      entry<LstmUnitLayer>("LSTMUnit"),
  };
}

}  // namespace pcc
