// Convolution, Deconvolution, Im2col. Source: Caffe's base_conv_layer.cpp, conv_layer.cpp,
// deconv_layer.cpp, im2col_layer.cpp; DepthwiseConvolution is a fork's Convolution, and
// ConvolutionDepthwise another's, which has a group for each channel whatever is said.
#include <algorithm>

#include "layers/families.h"
#include "layers/layer_base.h"
#include "ops/columns.h"

namespace pcc {
namespace {

// A setting with one value per spatial axis: listed once for all, once per axis, or as NAME_h and
// NAME_w.
struct PerAxis {
  std::string field;
  std::vector<int64_t> listed;
  bool named = false;  // NAME_h or NAME_w was set
  int64_t h = 0, w = 0;
  int64_t absent = -1;  // value where nothing was set; -1: something must be
  int64_t least = 1;
};

PerAxis read_per_axis(const Attributes& params, const std::string& list, const std::string& prefix,
                      int64_t absent, int64_t least) {
  PerAxis setting{.field = list, .listed = params.ints(list), .absent = absent, .least = least};
  if (prefix.empty()) return setting;
  setting.named = params.has(prefix + "_h") || params.has(prefix + "_w");
  // One of the pair alone leaves the other at 0, as in Caffe.
  if (params.has(prefix + "_h")) setting.h = params.get_int(prefix + "_h");
  if (params.has(prefix + "_w")) setting.w = params.get_int(prefix + "_w");
  return setting;
}

std::string by_sizes(const std::vector<int64_t>& sizes) { return Shape(sizes).str(); }

// What slides a window over the axes behind `axis`: its geometry, from convolution_param.
class WindowLayer : public LayerBase {
 public:
  WindowLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("convolution_param");
    transposed_ = this->spec().type == "Deconvolution";
    kernel_ = read_per_axis(params, "kernel_size", "kernel", -1, 1);
    stride_ = read_per_axis(params, "stride", "stride", 1, 1);
    pad_ = read_per_axis(params, "pad", "pad", 0, 0);
    dilation_ = read_per_axis(params, "dilation", "", 1, 1);
    axis_ = params.get_int("axis");
    params.ignore("force_nd_im2col");  // how Caffe computes, not what
  }

 protected:
  // Fills in kernel, stride, pad and dilation of a descriptor.
  template <typename Desc>
  void resolve_all(int spatial, Desc& desc) const {
    require(spatial <= kMaxColumnAxes, "it would go over ", spatial, " axes behind axis: ", axis_,
            "; at most ", kMaxColumnAxes, " are possible");
    desc.kernel = resolve(kernel_, spatial);
    desc.stride = resolve(stride_, spatial);
    desc.pad = resolve(pad_, spatial);
    desc.dilation = resolve(dilation_, spatial);
  }
  template <typename Desc>
  int64_t output_size(const Desc& desc, const Shape& x, int axis, int i) const {
    const auto k = static_cast<size_t>(i);
    const int64_t in = x[axis + 1 + i], reach = desc.dilation[k] * (desc.kernel[k] - 1) + 1;
    const int64_t pad = 2 * desc.pad[k], stride = desc.stride[k];
    // C++ divides towards zero, so a kernel that is too large by less than a stride still gives one
    // output, as in Caffe.
    const int64_t out =
        transposed_ ? stride * (in - 1) + reach - pad : (in + pad - reach) / stride + 1;
    require(out > 0, "kernel ", by_sizes(desc.kernel), " (stride ", by_sizes(desc.stride), ", pad ",
            by_sizes(desc.pad), ", dilation ", by_sizes(desc.dilation), ") does not fit bottom ",
            bottom_text(0, x), ". Did the images shrink too far before this layer?");
    return out;
  }

  int64_t axis_ = 1;
  bool transposed_ = false;

 private:
  std::vector<int64_t> resolve(const PerAxis& setting, int spatial) const {
    const std::string& field = setting.field;
    std::vector<int64_t> values;
    if (setting.named) {
      require(spatial == 2, field, " by _h and _w needs two spatial axes; there are ", spatial);
      require(setting.listed.empty(), "give either ", field, " or its _h and _w; not both");
      values = {setting.h, setting.w};
    } else if (setting.listed.empty()) {
      require(setting.absent >= 0 || spatial == 0, field, " is missing");
      values.assign(static_cast<size_t>(spatial), setting.absent);
    } else if (setting.listed.size() == 1) {
      values.assign(static_cast<size_t>(spatial), setting.listed[0]);
    } else {
      require(setting.listed.size() == static_cast<size_t>(spatial), field, " is given ",
              setting.listed.size(), " times; expected once, or once for each of the ", spatial,
              " spatial axes");
      values = setting.listed;
    }
    for (const int64_t value : values) extent(field, value, setting.least);
    return values;
  }

  PerAxis kernel_, stride_, pad_, dilation_;
};

// x (N.., C, d1..dk) -> y (N.., O, e1..ek), N.. being the axes before `axis`, k >= 0.
//   y[n,o,q] = bias[o] + sum over c, t of w[o,c,t] * x[n, c, q*stride + t*dilation - pad], zero
//   outside x; e = (d + 2*pad - (dilation*(kernel-1) + 1)) / stride + 1, the division towards zero.
// Deconvolution is the gradient of that: e = stride*(d-1) + dilation*(kernel-1) + 1 - 2*pad.
// Several bottoms of one shape share the parameters: w (O, C/group, kernel..), or (C, O/group,
// kernel..) for Deconvolution, and bias (O).
class ConvolutionLayer : public WindowLayer {
 public:
  ConvolutionLayer(LayerSpec spec, LayerContext context)
      : WindowLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("convolution_param");
    outputs_ = extent("num_output", params.get_int("num_output"), 1);
    desc_.group = extent("group", params.get_int("group"), 1);
    desc_.bias = params.get_bool("bias_term");
    desc_.transposed = transposed_;
    weight_filler_ = read_filler(params.sub("weight_filler"), "weight_filler");
    bias_filler_ = read_filler(params.sub("bias_filler"), "bias_filler", desc_.bias);
  }

  Arity arity() const override { return {1, -1, 1, -1, true}; }

  std::vector<ParamDecl> params() const override {
    std::vector<ParamDecl> decls{{weights_, weight_filler_}};
    if (desc_.bias) decls.push_back({Shape{outputs_}, bias_filler_});
    return decls;
  }

  void lower(Lowering& to) const override {
    const std::vector<ParamId> params =
        desc_.bias ? std::vector<ParamId>{0, 1} : std::vector<ParamId>{0};
    for (size_t i = 0; i < spec().bottoms.size(); ++i) {
      ValueId x = to.bottom(static_cast<int>(i));
      if (to.shape(x) != x_) x = to.view(x, x_);
      const ValueId y = to.op(op(), {x}, params, {y_})[0];
      to.top(static_cast<int>(i), to.shape(y) == top_ ? y : to.view(y, top_));
    }
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& first = bottoms[0];
    for (size_t i = 1; i < bottoms.size(); ++i)
      require(bottoms[i] == first, "all bottoms share the weights and must agree in shape; ",
              bottom_text(0, first), " and ", bottom_text(i, bottoms[i]), " do not");
    const int axis = axis_in(first, axis_, "axis");
    keep_replicas_apart(axis == 0, "axis: 0");
    const int64_t channels = first[axis];
    if (spec().type == "ConvolutionDepthwise") desc_.group = channels;
    require(channels % desc_.group == 0, "group: ", desc_.group, " does not divide the ", channels,
            " channels of ", bottom_text(0, first));
    require(outputs_ % desc_.group == 0, "group: ", desc_.group,
            " does not divide num_output: ", outputs_);
    const int spatial = first.axes() - axis - 1;
    resolve_all(spatial, desc_);
    weights_ = transposed_ ? Shape{channels, outputs_ / desc_.group}
                           : Shape{outputs_, channels / desc_.group};
    for (const int64_t size : desc_.kernel) weights_.push_back(size);

    const int64_t samples = first.count(0, axis);
    x_ = Shape{samples, channels};
    y_ = Shape{samples, outputs_};
    top_ = Shape(std::vector<int64_t>(first.dims().begin(), first.dims().begin() + axis));
    top_.push_back(outputs_);
    for (int i = 0; i < spatial; ++i) {
      const int64_t size = output_size(desc_, first, axis, i);
      x_.push_back(first[axis + 1 + i]);
      y_.push_back(size);
      top_.push_back(size);
    }
    if (spatial == 0 && desc_.group > 1) {  // no gemm has groups: one spatial axis of length 1
      x_.push_back(1);
      y_.push_back(1);
      desc_.kernel = desc_.stride = desc_.dilation = {1};
      desc_.pad = {0};
    }
    return std::vector<Shape>(bottoms.size(), top_);
  }

 private:
  // Without spatial axes it is a matrix product.
  OpDesc op() const {
    if (x_.axes() > 2) return desc_;
    return GemmDesc{
        .m = x_[0], .k = x_[1], .n = outputs_, .transpose = transposed_, .bias = desc_.bias};
  }

  int64_t outputs_ = 0;
  FillerDesc weight_filler_, bias_filler_;
  ConvDesc desc_;
  Shape weights_, x_, y_, top_;  // x_, y_: as the op sees them, (N, C, spatial..)
};

// x (N.., C, d1..dk) -> y (N.., C * taps, e1..ek): what each position of a convolution sees.
class Im2colLayer : public WindowLayer {
 public:
  using WindowLayer::WindowLayer;
  void lower(Lowering& to) const override {
    const ValueId seen = to.view(to.bottom(0), x_);
    to.top(0, to.view(to.op(desc_, {seen}, {}, {y_})[0], top_));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    const int axis = axis_in(x, axis_, "axis"), spatial = x.axes() - axis - 1;
    keep_replicas_apart(axis == 0, "axis: 0");
    require(spatial >= 1, "expected an axis or more behind axis ", axis, "; got ",
            bottom_text(0, x));
    resolve_all(spatial, desc_);
    int64_t depth = x[axis];
    for (const int64_t size : desc_.kernel) {
      require(size <= kMaxCount / depth, "kernel ", by_sizes(desc_.kernel), " is too large");
      depth *= size;
    }
    top_ = Shape(std::vector<int64_t>(x.dims().begin(), x.dims().begin() + axis));
    top_.push_back(depth);
    x_ = Shape{x.count(0, axis), x[axis]};
    y_ = Shape{x_[0], depth};
    for (int i = 0; i < spatial; ++i) {
      const int64_t size = output_size(desc_, x, axis, i);
      top_.push_back(size);
      x_.push_back(x[axis + 1 + i]);
      y_.push_back(size);
    }
    return {top_};
  }

 private:
  Im2colDesc desc_;
  Shape x_, y_, top_;  // x_, y_: as the op sees them, (N, C, spatial..)
};

}  // namespace

std::vector<LayerType> convolution_layers() {
  return {
      entry<ConvolutionLayer>("Convolution"),
      entry<ConvolutionLayer>("Deconvolution"),
      entry<ConvolutionLayer>("DepthwiseConvolution"),
      entry<ConvolutionLayer>("ConvolutionDepthwise"),
      entry<Im2colLayer>("Im2col"),
  };
}

}  // namespace pcc
