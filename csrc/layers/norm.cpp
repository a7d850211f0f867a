// BatchNorm, Scale, Bias. Source: Caffe's batch_norm_layer.cpp, scale_layer.cpp, bias_layer.cpp.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// x (N, C, rest..) -> y = (x - mean) / sqrt(variance + eps), per channel; x (N) is one channel.
// Parameters: mean (C), variance (C) and their common factor (1), never learned. Training uses the
// batch's own statistics (per replica) and accumulates them; TEST, or use_global_stats, uses the
// parameters over the factor. Source also: Ioffe & Szegedy 2015, algorithm 1.
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
  }

  std::vector<ParamDecl> params() const override {
    return {{Shape{channels_}, {}, true}, {Shape{channels_}, {}, true}, {Shape{1}, {}, true}};
  }

  void lower(Lowering& to) const override {
    const ValueId x = to.bottom(0);
    const Shape shape = to.shape(x);  // a copy: adding values may move the original
    if (shape.axes() > 1) return to.simple(desc_, {x}, {0, 1, 2}, shape);
    const Shape column{shape[0], 1};
    to.top(0, to.view(to.op(desc_, {to.view(x, column)}, {0, 1, 2}, {column})[0], shape));
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
  int64_t channels_ = 1;
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
      entry<BatchNormLayer>("BatchNorm"),
      entry<ScaleLayer>("Scale"),
      entry<BiasLayer>("Bias"),
  };
}

}  // namespace pcc
