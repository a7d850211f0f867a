// ReLU, Sigmoid, PReLU, Dropout, InnerProduct, Eltwise, Softmax. Source: Caffe's files of those
// names.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// y = max(x, 0) + negative_slope * min(x, 0).
class ReluLayer : public LayerBase {
 public:
  ReluLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("relu_param");
    desc_.a = params.get_double("negative_slope");
  }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override { return {bottoms[0]}; }

 private:
  PointwiseDesc desc_;
};

// y = 1 / (1 + exp(-x)).
class SigmoidLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  void lower(Lowering& to) const override {
    const PointwiseDesc desc{.function = PointwiseDesc::Function::sigmoid};
    to.simple(desc, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override { return {bottoms[0]}; }
};

// y = max(x, 0) + w * min(x, 0). The parameter w is filled with 0.25 unless told: one number per
// channel (axis 1), or one for all with channel_shared. Source also: He, Zhang, Ren & Sun 2015.
class PreluLayer : public LayerBase {
 public:
  PreluLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("prelu_param");
    shared_ = params.get_bool("channel_shared");
    filler_.value = 0.25;
    if (params.has("filler")) filler_ = read_filler(params.sub("filler"), "filler");
  }
  std::vector<ParamDecl> params() const override { return {{slopes_, filler_}}; }
  void lower(Lowering& to) const override {
    const PointwiseDesc desc{.function = PointwiseDesc::Function::prelu};
    to.simple(desc, {to.bottom(0)}, {0}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].axes() >= 2, "expected a bottom of 2 axes or more, with its channels on ",
            "axis 1; got ", bottom_text(0, bottoms[0]));
    slopes_ = shared_ ? Shape{} : Shape{bottoms[0][1]};
    return {bottoms[0]};
  }

 private:
  bool shared_ = false;
  FillerDesc filler_;
  Shape slopes_;
};

// TRAIN: y = x / (1 - dropout_ratio), or 0 with probability dropout_ratio. TEST: y = x.
class DropoutLayer : public LayerBase {
 public:
  DropoutLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    desc_.ratio = attributes().sub("dropout_param").get_double("dropout_ratio");
    require(desc_.ratio >= 0 && desc_.ratio < 1, "dropout_ratio: ", desc_.ratio,
            " is out of range; expected [0, 1)");
    scale_train_ = attributes().sub("dropout_param").get_bool("scale_train");
  }
  void lower(Lowering& to) const override {
    ValueId x = to.bottom(0);
    const bool drops = context().train && desc_.ratio > 0;
    if (drops) x = to.op(desc_, {x}, {}, {to.shape(x)})[0];
    // py-faster-rcnn's may scale in tests instead of in training.
    if (!scale_train_ && desc_.ratio > 0) {
      EltwiseDesc scale;
      scale.coeff = {1 - desc_.ratio};
      x = to.op(scale, {x}, {}, {to.shape(x)})[0];
    }
    to.top(0, x);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override { return {bottoms[0]}; }

 private:
  DropoutDesc desc_;
  bool scale_train_ = true;
};

// x (M.., K..) -> y (M.., num_output) = x w^T + bias; the axes from `axis` on are one vector of K
// numbers. Parameters: w (num_output, K), or (K, num_output) with transpose; bias (num_output).
class InnerProductLayer : public LayerBase {
 public:
  InnerProductLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("inner_product_param");
    desc_.n = extent("num_output", params.get_int("num_output"), 1);
    desc_.bias = params.get_bool("bias_term");
    desc_.transpose = params.get_bool("transpose");
    axis_ = params.get_int("axis");
    weight_filler_ = read_filler(params.sub("weight_filler"), "weight_filler");
    bias_filler_ = read_filler(params.sub("bias_filler"), "bias_filler", desc_.bias);
  }

  std::vector<ParamDecl> params() const override {
    const Shape weights = desc_.transpose ? Shape{desc_.k, desc_.n} : Shape{desc_.n, desc_.k};
    std::vector<ParamDecl> decls{{weights, weight_filler_}};
    if (desc_.bias) decls.push_back({Shape{desc_.n}, bias_filler_});
    return decls;
  }

  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)},
              desc_.bias ? std::vector<ParamId>{0, 1} : std::vector<ParamId>{0}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    const int axis = axis_in(x, axis_, "axis");
    keep_replicas_apart(axis == 0, "axis: 0");
    desc_.m = x.count(0, axis);
    desc_.k = x.count(axis);
    top_ = Shape(std::vector<int64_t>(x.dims().begin(), x.dims().begin() + axis));
    top_.push_back(desc_.n);
    return {top_};
  }

 private:
  GemmDesc desc_;
  int64_t axis_ = 1;
  FillerDesc weight_filler_, bias_filler_;
  Shape top_;
};

// Two or more bottoms of one shape -> their product, sum (weighted by coeff) or maximum, element by
// element.
class EltwiseLayer : public LayerBase {
 public:
  EltwiseLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("eltwise_param");
    const std::string operation = params.get_string("operation");
    desc_.operation = operation == "PROD"  ? EltwiseDesc::Operation::product
                      : operation == "MAX" ? EltwiseDesc::Operation::max
                                           : EltwiseDesc::Operation::sum;
    desc_.stable_product = params.get_bool("stable_prod_grad");
    const std::vector<double> coeff = params.doubles("coeff");
    const size_t bottoms = this->spec().bottoms.size();
    require(coeff.empty() || coeff.size() == bottoms, "coeff is given ", coeff.size(),
            " times; expected none, or one for each of the ", bottoms, " bottoms");
    require(coeff.empty() || operation != "PROD",
            "coeff is for operation: SUM; remove it, or use a Scale layer");
    if (operation == "SUM") desc_.coeff = coeff.empty() ? std::vector<double>(bottoms, 1.0) : coeff;
  }

  Arity arity() const override { return {2, -1, 1, 1, false}; }

  void lower(Lowering& to) const override {
    const std::vector<ValueId> ins = bottoms(to);
    to.simple(desc_, ins, {}, to.shape(ins[0]));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    for (size_t i = 1; i < bottoms.size(); ++i)
      require(bottoms[i] == bottoms[0], "bottoms must agree in shape; ", bottom_text(0, bottoms[0]),
              " and ", bottom_text(i, bottoms[i]),
              " do not. Did a stride-2 convolution miss its projection shortcut?");
    return {bottoms[0]};
  }

 private:
  EltwiseDesc desc_;
};

// y = exp(x) / sum of exp(x) along `axis`.
class SoftmaxLayer : public LayerBase {
 public:
  SoftmaxLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("softmax_param");
    axis_ = params.get_int("axis");
  }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    desc_.axis = axis_in(bottoms[0], axis_, "softmax_param.axis");
    keep_replicas_apart(desc_.axis == 0, "softmax_param.axis: 0");
    return {bottoms[0]};
  }

 private:
  int64_t axis_ = 1;
  SoftmaxDesc desc_;
};

}  // namespace

std::vector<LayerType> common_layers() {
  return {
      entry<ReluLayer>("ReLU"),
      entry<SigmoidLayer>("Sigmoid"),
      entry<PreluLayer>("PReLU"),
      entry<DropoutLayer>("Dropout"),
      entry<InnerProductLayer>("InnerProduct"),
      entry<EltwiseLayer>("Eltwise"),
      entry<SoftmaxLayer>("Softmax"),
  };
}

}  // namespace pcc
