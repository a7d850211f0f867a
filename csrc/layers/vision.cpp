// Pooling and LRN. Source: Caffe's pooling_layer.cpp, lrn_layer.cpp.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// x (N, C, H, W) -> y (N, C, P, Q) [, for MAX: mask, the index of each maximum in its plane].
//   P = ceil((H + 2*pad - kernel) / stride) + 1 (floor with round_mode: FLOOR); where there is
//   padding, a last window that would start beyond H + pad is dropped. A kernel larger than the
//   padded image by less than a stride gives one window. global_pooling: the window is the image.
class PoolingLayer : public LayerBase {
 public:
  PoolingLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("pooling_param");
    const std::string method = params.get_string("pool");
    require(method != "STOCHASTIC", "pool: STOCHASTIC is not implemented; expected MAX or AVE");
    require(method == "MAX" || method == "AVE", "pool: ", method,
            " is unknown; expected MAX or AVE");
    max_ = method == "MAX";
    desc_.method = max_ ? PoolDesc::Method::max : PoolDesc::Method::average;
    floor_ = params.get_string("round_mode") == "FLOOR";
    global_ = params.get_bool("global_pooling");
    read_kernel(params);
    read_pair(params, "pad", 0, desc_.pad);
    read_pair(params, "stride", 1, desc_.stride);
    if (global_) {
      require(
          desc_.pad[0] == 0 && desc_.pad[1] == 0 && desc_.stride[0] == 1 && desc_.stride[1] == 1,
          "global_pooling takes neither pad nor stride");
      return;
    }
    for (int i = 0; i < 2; ++i)
      require(desc_.pad[i] < desc_.kernel[i], "pad ", desc_.pad[0], "x", desc_.pad[1],
              " must be smaller than the kernel, ", desc_.kernel[0], "x", desc_.kernel[1]);
  }

  Arity arity() const override { return {1, 1, 1, max_ ? 2 : 1, false}; }

  void lower(Lowering& to) const override {
    const std::vector<Shape> outs(top_count(), top_);
    const std::vector<ValueId> values = to.op(desc_, {to.bottom(0)}, {}, outs);
    for (size_t i = 0; i < values.size(); ++i) to.top(static_cast<int>(i), values[i]);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require(x.axes() == 4, "expected a bottom of 4 axes (N, C, H, W); got ", bottom_text(0, x));
    if (global_) {
      desc_.kernel[0] = x[2];
      desc_.kernel[1] = x[3];
    }
    top_ = x;
    for (int i = 0; i < 2; ++i) top_[2 + i] = output_size(x, i);
    return std::vector<Shape>(top_count(), top_);
  }

 private:
  void read_kernel(const Attributes& params) {
    const bool square = params.has("kernel_size");
    const bool h = params.has("kernel_h"), w = params.has("kernel_w");
    if (global_) {
      require(!square && !h && !w,
              "global_pooling takes its kernel from the image; remove kernel_size");
      return;
    }
    require(square != (h && w), "expected either kernel_size or both kernel_h and kernel_w");
    desc_.kernel[0] = extent("kernel", params.get_int(square ? "kernel_size" : "kernel_h"), 1);
    desc_.kernel[1] = extent("kernel", params.get_int(square ? "kernel_size" : "kernel_w"), 1);
  }

  void read_pair(const Attributes& params, const std::string& field, int64_t least,
                 int64_t* pair) const {
    const bool h = params.has(field + "_h"), w = params.has(field + "_w");
    require(h == w && !(h && params.has(field)), "expected either ", field, " or both ", field,
            "_h and ", field, "_w");
    pair[0] = extent(field, params.get_int(h ? field + "_h" : field), least);
    pair[1] = extent(field, params.get_int(w ? field + "_w" : field), least);
  }

  int64_t output_size(const Shape& x, int i) const {
    const int64_t in = x[2 + i], pad = desc_.pad[i], stride = desc_.stride[i];
    const int64_t room = in + 2 * pad - desc_.kernel[i];
    const int64_t down = room >= 0 ? room / stride : -((-room + stride - 1) / stride);
    int64_t out = (floor_ || room % stride == 0 ? down : down + 1) + 1;
    if (desc_.pad[0] > 0 || desc_.pad[1] > 0) {
      if ((out - 1) * stride >= in + pad) --out;
      require((out - 1) * stride < in + pad,
              "the last window would start outside the padded image; bottom ", bottom_text(0, x),
              ", stride ", stride, ", pad ", pad);
    }
    require(out > 0, "kernel ", desc_.kernel[0], "x", desc_.kernel[1], " does not fit bottom ",
            bottom_text(0, x), " with pad ", desc_.pad[0], "x", desc_.pad[1],
            ". Did the images shrink too far before this layer?");
    return out;
  }

  PoolDesc desc_;
  bool max_ = true, floor_ = false, global_ = false;
  Shape top_;
};

// x (N, C, H, W) -> y of that shape.
//   ACROSS_CHANNELS: y = x * (k + alpha/local_size * sum of x^2 over local_size channels)^-beta.
//   WITHIN_CHANNEL: y = x * (1 + alpha * mean of x^2 over a local_size square)^-beta.
// k counts across channels only.
class LrnLayer : public LayerBase {
 public:
  LrnLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("lrn_param");
    desc_.across = params.get_string("norm_region") == "ACROSS_CHANNELS";
    desc_.size = extent("local_size", params.get_int("local_size"), 1);
    desc_.alpha = params.get_double("alpha");
    desc_.beta = params.get_double("beta");
    desc_.k = params.get_double("k");
    require(desc_.size % 2 == 1, "local_size: ", desc_.size, " must be odd");
  }

  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].axes() == 4, "expected a bottom of 4 axes (N, C, H, W); got ",
            bottom_text(0, bottoms[0]));
    return {bottoms[0]};
  }

 private:
  LrnDesc desc_;
};

}  // namespace

std::vector<LayerType> vision_layers() {
  return {
      entry<PoolingLayer>("Pooling"),
      entry<LrnLayer>("LRN"),
  };
}

}  // namespace pcc
