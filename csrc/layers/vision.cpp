// Pooling, SPP, LRN, Interp, Resize. Source: Caffe's pooling_layer.cpp, spp_layer.cpp,
// lrn_layer.cpp; DeepLab's interp_layer.cpp, caffe-windows' resize_layer.cpp.
#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

PoolDesc::Method pool_method(const std::string& name) {
  if (name == "AVE") return PoolDesc::Method::average;
  return name == "STOCHASTIC" ? PoolDesc::Method::stochastic : PoolDesc::Method::max;
}

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
    desc_.method = pool_method(method);
    desc_.sample = this->context().train;
    max_ = desc_.method == PoolDesc::Method::max;
    floor_ = params.get_string("round_mode") == "FLOOR";
    global_ = params.get_bool("global_pooling");
    read_kernel(params);
    read_pair(params, "pad", 0, desc_.pad);
    read_pair(params, "stride", 1, desc_.stride);
    require(
        desc_.method != PoolDesc::Method::stochastic || (desc_.pad[0] == 0 && desc_.pad[1] == 0),
        "pool: STOCHASTIC takes no pad");
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
    to.tops(to.op(desc_, {to.bottom(0)}, {}, outs));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require_maps(0, x);
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

// x (N, C, H, W) -> y (N, C * (1 + 4 + .. + 4^(pyramid_height-1))): pooled over 1x1, 2x2, 4x4, ..
// windows, one level behind the other; of one level alone (N, C, 1, 1).
class SppLayer : public LayerBase {
 public:
  SppLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("spp_param");
    method_ = pool_method(params.get_string("pool"));
    require(params.has("pyramid_height"), "pyramid_height is missing: the number of levels");
    height_ = extent("pyramid_height", params.get_int("pyramid_height"), 1);
    require(height_ <= 16, "pyramid_height: ", height_, " is out of range; expected 1 to 16");
  }

  void lower(Lowering& to) const override {
    std::vector<ValueId> levels;
    for (const PoolDesc& level : levels_) {
      const int64_t bins = int64_t{1} << levels.size();
      const ValueId y = to.op(level, {to.bottom(0)}, {}, {Shape{x_[0], x_[1], bins, bins}})[0];
      levels.push_back(height_ == 1 ? y : to.view(y, Shape{x_[0], x_[1] * bins * bins}));
    }
    if (levels.size() == 1) return to.top(0, levels[0]);
    to.simple(ConcatDesc{1}, levels, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    x_ = bottoms[0];
    require_maps(0, x_);
    levels_.clear();
    int64_t all = 0;
    for (int64_t bins = 1; static_cast<int64_t>(levels_.size()) < height_; bins *= 2) {
      PoolDesc level{.method = method_};
      level.sample = context().train;
      for (int i = 0; i < 2; ++i) {
        const int64_t kernel = (x_[2 + i] + bins - 1) / bins;
        level.kernel[i] = level.stride[i] = kernel;
        level.pad[i] = (kernel * bins - x_[2 + i] + 1) / 2;
        require(level.pad[i] < kernel, "pyramid_height: ", height_, " cuts bottom ",
                bottom_text(0, x_), " into ", bins, "x", bins,
                " windows, of which some would be empty");
        require(method_ != PoolDesc::Method::stochastic || level.pad[i] == 0, bins, "x", bins,
                " windows need padding on bottom ", bottom_text(0, x_),
                ", which pool: STOCHASTIC does not take");
      }
      levels_.push_back(level);
      all += x_[1] * bins * bins;
    }
    top_ = height_ == 1 ? Shape{x_[0], x_[1], 1, 1} : Shape{x_[0], all};
    return {top_};
  }

 private:
  PoolDesc::Method method_;
  int64_t height_ = 1;
  std::vector<PoolDesc> levels_;
  Shape x_, top_;
};

// x (N, C, H, W), cut at its borders by the pads (0 or less), -> y of another height and width, by
// linear interpolation: height and width themselves, or 1 + (H - 1) * zoom_factor, or 1 + (H - 1) /
// shrink_factor, or the latter zoomed.
class InterpLayer : public LayerBase {
 public:
  InterpLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("interp_param");
    desc_.pad_begin = params.get_int("pad_beg");
    desc_.pad_end = params.get_int("pad_end");
    require(desc_.pad_begin <= 0 && desc_.pad_end <= 0 && desc_.pad_begin >= -kMaxExtent &&
                desc_.pad_end >= -kMaxExtent,
            "pad_beg and pad_end must be 0 or negative");
    if (params.has("shrink_factor"))
      shrink_ = extent("shrink_factor", params.get_int("shrink_factor"), 1);
    if (params.has("zoom_factor")) zoom_ = extent("zoom_factor", params.get_int("zoom_factor"), 1);
    if (shrink_ || zoom_) return;
    require(params.has("height") && params.has("width"),
            "expected height and width, zoom_factor or shrink_factor");
    size_[0] = extent("height", params.get_int("height"), 1);
    size_[1] = extent("width", params.get_int("width"), 1);
  }
  void lower(Lowering& to) const override { to.simple(desc_, {to.bottom(0)}, {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require_maps(0, bottoms[0]);
    top_ = bottoms[0];
    for (int i = 0; i < 2; ++i) {
      int64_t size = top_[2 + i] + desc_.pad_begin + desc_.pad_end;
      require(size > 0, "the pads leave nothing of bottom ", bottom_text(0, bottoms[0]));
      if (shrink_) size = (size - 1) / shrink_ + 1;
      if (zoom_) size += (size - 1) * (zoom_ - 1);
      top_[2 + i] = shrink_ || zoom_ ? size : size_[i];
    }
    return {top_};
  }

 private:
  InterpDesc desc_;
  int64_t shrink_ = 0, zoom_ = 0, size_[2] = {1, 1};
  Shape top_;
};

// x (N, C, H, W) -> y of height h and width w by linear interpolation at (i * H / h, j * W / w);
// behind the last row and column lie zeros. The sizes: height and width, or with is_pyramid_test
// those of x times out_height_scale and out_width_scale.
class ResizeLayer : public LayerBase {
 public:
  ResizeLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("resize_param");
    by_factors_ = params.get_bool("is_pyramid_test");
    const char* const names[] = {by_factors_ ? "out_height_scale" : "height",
                                 by_factors_ ? "out_width_scale" : "width"};
    for (int i = 0; i < 2; ++i) {
      require(params.has(names[i]), names[i], " is missing");
      if (by_factors_)
        factors_[i] = params.get_double(names[i]);
      else
        sizes_[i] = extent(names[i], params.get_int(names[i]), 1);
      require(!by_factors_ || (factors_[i] > 0 && factors_[i] < 1e6), names[i], ": ", factors_[i],
              " is out of range; expected a factor");
    }
  }

  // With a row and a column of zeros more, Interp's corners lie where both ends' ratio is that of
  // the sizes.
  void lower(Lowering& to) const override {
    Shape grown = to.shape(to.bottom(0)), drawn = top_;
    ValueId x = to.bottom(0);
    for (const int axis : {2, 3}) {
      Shape edge = grown;
      edge[axis] = 1;
      const ValueId zeros = to.op(FillDesc{}, {}, {}, {edge})[0];
      ++grown[axis];
      ++drawn[axis];
      x = to.op(ConcatDesc{axis}, {x, zeros}, {}, {grown})[0];
    }
    const ValueId y = to.op(InterpDesc{}, {x}, {}, {drawn})[0];
    to.simple(CropDesc{{0, 0, 0, 0}}, {y}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    require_maps(0, bottoms[0]);
    top_ = bottoms[0];
    for (int i = 0; i < 2; ++i) {
      const auto scaled =
          static_cast<int64_t>(static_cast<float>(factors_[i]) * static_cast<float>(top_[2 + i]));
      top_[2 + i] = by_factors_ ? scaled : sizes_[i];
    }
    return {top_};
  }

 private:
  bool by_factors_ = false;
  double factors_[2] = {1, 1};
  int64_t sizes_[2] = {1, 1};
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
    require_maps(0, bottoms[0]);
    return {bottoms[0]};
  }

 private:
  LrnDesc desc_;
};

}  // namespace

std::vector<LayerType> vision_layers() {
  return {
      entry<PoolingLayer>("Pooling"), entry<SppLayer>("SPP"), entry<InterpLayer>("Interp"),
      entry<ResizeLayer>("Resize"),   entry<LrnLayer>("LRN"),
  };
}

}  // namespace pcc
