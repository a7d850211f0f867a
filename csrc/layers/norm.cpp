// BatchNorm, MVN, Normalize, Scale, Bias, Axpy. Source: Caffe's batch_norm_layer.cpp,
// mvn_layer.cpp, scale_layer.cpp, bias_layer.cpp; SSD's normalize_layer.cpp, SENet's
// axpy_layer.cpp.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// x (N, C, rest..) -> y = (x - mean) / sqrt(variance + eps), per channel; x (N) is one channel.
// Parameters: mean (C), variance (C) and their common factor (1), never learned. Training uses the
// batch's own statistics (per replica) and accumulates them; TEST, or use_global_stats, uses the
// parameters over the factor. With NVIDIA's scale_bias: y = gain * (..) + shift, two parameters (C)
// more, which are learned. Source also: Ioffe & Szegedy 2015, algorithm 1.
class BatchNormLayer : public LayerBase {
 public:
  BatchNormLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("batch_norm_param");
    desc_.eps = params.get_double("eps");
    desc_.fraction = params.get_double("moving_average_fraction");
    desc_.use_global_stats = params.has("use_global_stats") ? params.get_bool("use_global_stats")
                                                            : !this->context().train;
    desc_.groups = desc_.use_global_stats ? 1 : replicas();
    desc_.gain = desc_.shift = params.has("scale_bias") && params.get_bool("scale_bias");
    gain_.value = 1;
    if (params.has("scale_filler"))
      gain_ = read_filler(params.sub("scale_filler"), "scale_filler", desc_.gain);
    if (params.has("bias_filler"))
      shift_ = read_filler(params.sub("bias_filler"), "bias_filler", desc_.gain);
  }

  std::vector<ParamDecl> params() const override {
    std::vector<ParamDecl> decls{
        {Shape{channels_}, {}, true}, {Shape{channels_}, {}, true}, {Shape{1}, {}, true}};
    if (desc_.gain) {
      decls.push_back({Shape{channels_}, gain_});
      decls.push_back({Shape{channels_}, shift_});
    }
    return decls;
  }

  void lower(Lowering& to) const override {
    const ValueId x = to.bottom(0);
    const Shape shape = to.shape(x);  // a copy: adding values may move the original
    std::vector<ParamId> ids{0, 1, 2};
    if (desc_.gain) ids = {0, 1, 2, 3, 4};
    if (shape.axes() > 1) return to.simple(desc_, {x}, ids, shape);
    const Shape column{shape[0], 1};
    to.top(0, to.view(to.op(desc_, {to.view(x, column)}, ids, {column})[0], shape));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require(x.axes() >= 1, "expected a bottom of 1 axis or more; got ", bottom_text(0, x));
    require(x[0] % desc_.groups == 0, "the batch of ", bottom_text(0, x), " does not divide into ",
            desc_.groups, " replicas");
    channels_ = x.axes() == 1 ? 1 : x[1];
    return {x};
  }

 private:
  NormActDesc desc_;
  FillerDesc gain_, shift_;
  int64_t channels_ = 1;
};

// y = (x - mean) [/ (deviation + eps)], of each plane, or, across_channels, of each sample.
class MvnLayer : public LayerBase {
 public:
  MvnLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("mvn_param");
    desc_.variance = params.get_bool("normalize_variance");
    desc_.axis = params.get_bool("across_channels") ? 1 : 2;
    desc_.eps = params.get_double("eps");
  }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].axes() >= desc_.axis && bottoms[0].axes() <= 4, "expected a bottom of ",
            desc_.axis, " to 4 axes; got ", bottom_text(0, bottoms[0]));
    return {bottoms[0]};
  }

 private:
  MvnDesc desc_;
};

// y = scale * x / norm, the norm that of each sample, or, not across_spatial, of each position's
// channels. Parameter: scale (C), or one number, channel_shared.
class NormalizeLayer : public LayerBase {
 public:
  NormalizeLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("norm_param");
    desc_.across_spatial = params.get_bool("across_spatial");
    desc_.eps = params.get_double("eps");
    shared_ = params.get_bool("channel_shared");
    filler_.value = 1;
    if (params.has("scale_filler"))
      filler_ = read_filler(params.sub("scale_filler"), "scale_filler");
  }
  std::vector<ParamDecl> params() const override {
    return {{shared_ ? Shape{} : Shape{channels_}, filler_}};
  }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {0}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].axes() >= 2, "expected a bottom of 2 axes or more, with its channels on ",
            "axis 1; got ", bottom_text(0, bottoms[0]));
    channels_ = bottoms[0][1];
    return {bottoms[0]};
  }

 private:
  NormalizeDesc desc_;
  bool shared_ = true;
  FillerDesc filler_;
  int64_t channels_ = 1;
};

// a (N, C), x (N, C, H, W), y like x -> a * x + y.
class AxpyLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {3, 3, 1, 1, false}; }
  void lower(Lowering& to) const override {
    const Shape x = to.shape(to.bottom(1));
    AffineDesc product{.dim = x.count(0, 2), .inner = x.count(2), .scale_from_input = true};
    const ValueId scaled = to.op(product, {to.bottom(1), to.bottom(0)}, {}, {x})[0];
    to.simple(EltwiseDesc{.coeff = {1, 1}}, {scaled, to.bottom(2)}, {}, x);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape &a = bottoms[0], &x = bottoms[1];
    require(x.axes() >= 2 && a.axes() >= 2 && a[0] == x[0] && a[1] == x[1] &&
                a.count() == x.count(0, 2),
            "expected a factor for each channel of ", bottom_text(1, x), "; got ",
            bottom_text(0, a));
    require(bottoms[2] == x, "bottoms must agree in shape; ", bottom_text(1, x), " and ",
            bottom_text(2, bottoms[2]), " do not");
    return {x};
  }
};

// How an operand lies on x: x is seen as (outer, dim, inner), the operand as (dim).
class BroadcastLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;

  Arity arity() const override { return {1, 2, 1, 1, false}; }
  void lower(Lowering& to) const override {
    std::vector<ValueId> ins;
    for (int i = 0; i < (learned_ ? 1 : 2); ++i) ins.push_back(to.bottom(i));
    std::vector<ParamId> ids;
    for (size_t i = 0; i < params().size(); ++i) ids.push_back(static_cast<ParamId>(i));
    to.simple(desc_, std::move(ins), std::move(ids), to.shape(to.bottom(0)));
  }

 protected:
  void read_place(const Attributes& params) {
    learned_ = spec().bottoms.size() < 2;
    axis_ = params.get_int("axis");
    if (!learned_) return;
    num_axes_ = params.get_int("num_axes");
    require(num_axes_ >= -1, "num_axes: ", num_axes_,
            " is out of range; expected 0 or more, or -1 for all");
  }

  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    int axis = !learned_ && bottoms[1].axes() == 0 ? 0 : axis_in(x, axis_, "axis");
    if (learned_) {
      const int64_t end = num_axes_ == -1 ? x.axes() : axis + num_axes_;
      require(end <= x.axes(), "axis: ", axis_, " and num_axes: ", num_axes_,
              " reach past the end of bottom ", bottom_text(0, x));
      operand_ = Shape(std::vector<int64_t>(x.dims().begin() + axis, x.dims().begin() + end));
      keep_replicas_apart(axis == 0 && operand_.axes() > 0, "axis: 0");
    } else {
      operand_ = bottoms[1];
      bool fits = axis + operand_.axes() <= x.axes();
      for (int i = 0; fits && i < operand_.axes(); ++i) fits = x[axis + i] == operand_[i];
      require(fits, "bottom ", bottom_text(1, operand_), " must equal the axes of ",
              bottom_text(0, x), " from axis ", axis, " on");
    }
    if (operand_.axes() == 0) axis = 0;  // a scalar, wherever it is put
    desc_.outer = x.count(0, axis);
    desc_.dim = operand_.count();
    desc_.inner = x.count(axis + operand_.axes());
    return {x};
  }

  bool learned_ = true;  // the operand is a parameter, not a second bottom
  int64_t axis_ = 1, num_axes_ = 1;
  Shape operand_;
  AffineDesc desc_;
};

// x [, scale] -> y[o,d,i] = x[o,d,i] * scale[d] [+ bias[d]]. The scale is a parameter of x's shape
// on num_axes axes from `axis` on (-1: all, 0: one number), filled with 1 unless told, or the
// second bottom. bias_term adds a parameter.
class ScaleLayer : public BroadcastLayer {
 public:
  ScaleLayer(LayerSpec spec, LayerContext context)
      : BroadcastLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("scale_param");
    read_place(params);
    desc_.bias = params.get_bool("bias_term");
    desc_.scale_from_input = !learned_;
    filler_.value = 1;
    if (learned_ && params.has("filler")) filler_ = read_filler(params.sub("filler"), "filler");
    bias_filler_ = read_filler(params.sub("bias_filler"), "bias_filler", desc_.bias);
  }

  std::vector<ParamDecl> params() const override {
    std::vector<ParamDecl> decls;
    if (learned_) decls.push_back({operand_, filler_});
    if (desc_.bias) decls.push_back({operand_, bias_filler_});
    return decls;
  }

 private:
  FillerDesc filler_, bias_filler_;
};

// x [, bias] -> y[o,d,i] = x[o,d,i] + bias[d]; the bias is a parameter or the second bottom, as in
// Scale.
class BiasLayer : public BroadcastLayer {
 public:
  BiasLayer(LayerSpec spec, LayerContext context)
      : BroadcastLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("bias_param");
    read_place(params);
    desc_.scale = false;
    desc_.bias = true;
    desc_.bias_from_input = !learned_;
    if (learned_) filler_ = read_filler(params.sub("filler"), "filler");
  }

  std::vector<ParamDecl> params() const override {
    if (!learned_) return {};
    return {{operand_, filler_}};
  }

 private:
  FillerDesc filler_;
};

}  // namespace

std::vector<LayerType> norm_layers() {
  return {
      entry<MvnLayer>("MVN"),     entry<NormalizeLayer>("Normalize"),
      entry<AxpyLayer>("Axpy"),   entry<BatchNormLayer>("BatchNorm"),
      entry<ScaleLayer>("Scale"), entry<BiasLayer>("Bias"),
  };
}

}  // namespace pcc
