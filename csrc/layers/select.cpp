// Crop, Tile, Permute, ShuffleChannel, BatchReindex, Filter, ArgMax, Reduction, Parameter: layers
// that choose, repeat, reorder or fold elements. Source: Caffe's files of those names; Permute is
// SSD's, ShuffleChannel ShuffleNet's.
#include <algorithm>
#include <numeric>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// x, and a bottom of which only the shape counts -> the part of x that has that shape from `axis`
// on. offset: where it begins, one for each of those axes or one for all.
class CropLayer : public LayerBase {
 public:
  CropLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("crop_param");
    axis_ = params.get_int("axis");
    offsets_ = params.ints("offset");
  }
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom == 0; }
  void lower(Lowering& to) const override { to.simple(desc_, {to.bottom(0)}, {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape &x = bottoms[0], &like = bottoms[1];
    const int axis = axis_in(x, axis_, "axis");
    const auto cropped = static_cast<size_t>(x.axes() - axis);
    keep_replicas_apart(axis == 0, "axis: 0");
    require(like.axes() >= x.axes(), "expected a size for each axis of ", bottom_text(0, x),
            "; got ", bottom_text(1, like));
    require(offsets_.size() <= 1 || offsets_.size() == cropped, "offset is given ", offsets_.size(),
            " times; expected once, or once for each of the ", cropped, " axes from ", axis, " on");
    top_ = x;
    desc_.offset.assign(static_cast<size_t>(x.axes()), 0);
    for (int i = axis; i < x.axes(); ++i) {
      const auto k = static_cast<size_t>(i - axis);
      const int64_t offset = offsets_.empty() ? 0 : offsets_[offsets_.size() == 1 ? 0 : k];
      extent("offset", offset, 0);
      require(offset + like[i] <= x[i], "offset: ", offset, " and the ", like[i], " elements of ",
              bottom_text(1, like), " reach past the end of axis ", i, " of ", bottom_text(0, x));
      desc_.offset[static_cast<size_t>(i)] = offset;
      top_[i] = like[i];
    }
    return {top_};
  }

 private:
  int64_t axis_ = 2;
  std::vector<int64_t> offsets_;
  CropDesc desc_;
  Shape top_;
};

// `tiles` copies of x behind each other on an axis.
class TileLayer : public LayerBase {
 public:
  TileLayer(LayerSpec spec, LayerContext context) : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("tile_param");
    axis_ = params.get_int("axis");
    require(params.has("tiles"), "tiles is missing: the number of copies");
    desc_.tiles = extent("tiles", params.get_int("tiles"), 1);
  }
  void lower(Lowering& to) const override { to.simple(desc_, {to.bottom(0)}, {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    desc_.axis = axis_in(bottoms[0], axis_, "axis");
    keep_replicas_apart(desc_.axis == 0, "axis: 0");
    top_ = bottoms[0];
    require(desc_.tiles <= kMaxCount / top_.count(), "tiles: ", desc_.tiles, " of ",
            bottom_text(0, top_), " are too many");
    top_[desc_.axis] *= desc_.tiles;
    return {top_};
  }

 private:
  int64_t axis_ = 1;
  TileDesc desc_;
  Shape top_;
};

// The axes of x in another order: the listed ones, then the others as they were.
class PermuteLayer : public LayerBase {
 public:
  PermuteLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    order_ = attributes().sub("permute_param").ints("order");
  }
  void lower(Lowering& to) const override {
    if (std::is_sorted(desc_.order.begin(), desc_.order.end())) return to.top(0, to.bottom(0));
    to.simple(desc_, {to.bottom(0)}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    desc_.order.clear();
    const auto listed = [this](int axis) {
      return std::count(desc_.order.begin(), desc_.order.end(), axis) > 0;
    };
    for (const int64_t axis : order_) {
      require(axis >= 0 && axis < x.axes() && !listed(static_cast<int>(axis)), "order: ", axis,
              " is listed twice or is no axis of bottom ", bottom_text(0, x));
      desc_.order.push_back(static_cast<int>(axis));
    }
    for (int axis = 0; axis < x.axes(); ++axis)
      if (!listed(axis)) desc_.order.push_back(axis);
    keep_replicas_apart(!desc_.order.empty() && desc_.order[0] != 0,
                        "another axis in axis 0's place");
    top_ = Shape{};
    for (const int axis : desc_.order) top_.push_back(x[axis]);
    return {top_};
  }

 private:
  std::vector<int64_t> order_;
  PermuteDesc desc_;
  Shape top_;
};

// The channels, as `group` rows of them, read column by column.
class ShuffleChannelLayer : public LayerBase {
 public:
  ShuffleChannelLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    group_ = extent("group", attributes().sub("shuffle_channel_param").get_int("group"), 1);
  }
  void lower(Lowering& to) const override {
    const Shape x = to.shape(to.bottom(0));
    const int64_t each = x[1] / group_;
    const ValueId seen = to.view(to.bottom(0), Shape{x[0], group_, each, x.count(2)});
    const ValueId mixed =
        to.op(PermuteDesc{{0, 2, 1, 3}}, {seen}, {}, {Shape{x[0], each, group_, x.count(2)}})[0];
    to.top(0, to.view(mixed, x));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require(x.axes() >= 2, "expected a bottom of 2 axes or more; got ", bottom_text(0, x));
    require(x[1] % group_ == 0, "group: ", group_, " does not divide the ", x[1], " channels of ",
            bottom_text(0, x));
    return {x};
  }

 private:
  int64_t group_ = 1;
};

// x, and numbers of samples (M) -> those samples of x, in that order; one may come several times.
class BatchReindexLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom == 0; }
  void lower(Lowering& to) const override {
    to.simple(BatchReindexDesc{}, {to.bottom(0), to.bottom(1)}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "choosing samples");
    require(bottoms[0].axes() >= 1, "expected a bottom of samples; got ",
            bottom_text(0, bottoms[0]));
    require(bottoms[1].axes() == 1, "expected the numbers of samples as one axis; got ",
            bottom_text(1, bottoms[1]));
    top_ = bottoms[0];
    top_[0] = bottoms[1][0];
    return {top_};
  }

 private:
  Shape top_;
};

// Each bottom but the last, (N, ..) -> those of its samples whose selector, the last bottom (N), is
// not 0. How many they are is known when the net runs; until it has, all.
class FilterLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {2, -1, 1, -1, false}; }
  bool differentiable(int bottom) const override {
    return bottom + 1 < static_cast<int>(spec().bottoms.size());
  }
  bool varies() const override { return true; }
  void set_rows(int64_t rows) override { rows_ = rows; }
  void lower(Lowering& to) const override { to.tops(to.op(FilterDesc{}, bottoms(to), {}, tops_)); }

 protected:
  bool may_be_empty() const override { return true; }
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "choosing samples");
    const Shape& selector = bottoms.back();
    require(bottoms.size() == top_count() + 1, "expected a top for each bottom but the last; got ",
            bottoms.size(), " bottoms and ", top_count(), " tops");
    require(selector.axes() >= 1 && selector.count() == selector[0],
            "expected one number for each sample; got ", bottom_text(bottoms.size() - 1, selector));
    if (rows_ > selector[0]) rows_ = -1;
    tops_.clear();
    for (size_t i = 0; i + 1 < bottoms.size(); ++i) {
      require(bottoms[i].axes() >= 1 && bottoms[i][0] == selector[0],
              "expected a number for each sample of ", bottom_text(i, bottoms[i]), "; got ",
              bottom_text(bottoms.size() - 1, selector));
      tops_.push_back(bottoms[i]);
      if (rows_ >= 0) tops_.back()[0] = rows_;
    }
    return tops_;
  }

 private:
  int64_t rows_ = -1;
  std::vector<Shape> tops_;
};

// The top_k largest: of each sample, or along `axis`. No gradient.
class ArgMaxLayer : public LayerBase {
 public:
  ArgMaxLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("argmax_param");
    desc_.values = params.get_bool("out_max_val");
    desc_.top_k = extent("top_k", params.get_int("top_k"), 1);
    has_axis_ = params.has("axis");
    if (has_axis_) axis_ = params.get_int("axis");
  }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  void lower(Lowering& to) const override { to.simple(desc_, {to.bottom(0)}, {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    require(x.axes() >= 1, "expected a bottom of 1 axis or more; got ", bottom_text(0, x));
    desc_.axis = has_axis_ ? axis_in(x, axis_, "axis") : -1;
    keep_replicas_apart(desc_.axis == 0, "axis: 0");
    const int64_t from = has_axis_ ? x[desc_.axis] : x.count(1);
    require(desc_.top_k <= from, "top_k: ", desc_.top_k, " exceeds the ", from, " numbers of ",
            bottom_text(0, x), " to choose from");
    if (has_axis_) {
      top_ = x;
      top_[desc_.axis] = desc_.top_k;
    } else {  // as many axes as x has, three at least
      top_ = Shape{x[0], desc_.values ? 2 : 1, desc_.top_k};
      while (top_.axes() < x.axes()) top_.push_back(1);
    }
    return {top_};
  }

 private:
  bool has_axis_ = false;
  int64_t axis_ = 0;
  ArgMaxDesc desc_;
  Shape top_;
};

// Folds the axes from `axis` on: coeff times their sum (SUM), mean (MEAN), sum of magnitudes (ASUM)
// or of squares (SUMSQ).
class ReductionLayer : public LayerBase {
 public:
  ReductionLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("reduction_param");
    const std::string operation = params.get_string("operation");
    desc_.operation = operation == "ASUM"    ? ReductionDesc::Operation::magnitudes
                      : operation == "SUMSQ" ? ReductionDesc::Operation::squares
                                             : ReductionDesc::Operation::sum;
    mean_ = operation == "MEAN";
    axis_ = params.get_int("axis");
    coeff_ = params.get_double("coeff");
  }
  void lower(Lowering& to) const override { to.simple(desc_, {to.bottom(0)}, {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    desc_.axis = axis_in(x, axis_, "axis");
    keep_replicas_apart(desc_.axis == 0, "axis: 0");
    desc_.coeff = mean_ ? coeff_ / static_cast<double>(x.count(desc_.axis)) : coeff_;
    top_ = Shape(std::vector<int64_t>(x.dims().begin(), x.dims().begin() + desc_.axis));
    return {top_};
  }

 private:
  bool mean_ = false;
  int64_t axis_ = 0;
  double coeff_ = 1;
  ReductionDesc desc_;
  Shape top_;
};

// A learned array of parameter_param.shape as a top. It begins as zeros.
class ParameterLayer : public LayerBase {
 public:
  ParameterLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    for (const int64_t dim : attributes().sub("parameter_param").sub("shape").ints("dim")) {
      require(dim > 0 && dim <= kMaxCount, "shape dim: ", dim,
              " is out of range; every size must be at least 1 and below 2^31");
      shape_.push_back(dim);
    }
  }
  Arity arity() const override { return {0, 0, 1, 1, false}; }
  std::vector<ParamDecl> params() const override { return {{shape_, {}}}; }
  void lower(Lowering& to) const override { to.simple(ParameterDesc{}, {}, {0}, shape_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override {
    keep_replicas_apart(true, "a parameter as a top");
    return {shape_};
  }

 private:
  Shape shape_;
};

}  // namespace

std::vector<LayerType> select_layers() {
  return {
      entry<CropLayer>("Crop"),           entry<TileLayer>("Tile"),
      entry<PermuteLayer>("Permute"),     entry<ShuffleChannelLayer>("ShuffleChannel"),
      entry<ArgMaxLayer>("ArgMax"),       entry<BatchReindexLayer>("BatchReindex"),
      entry<FilterLayer>("Filter"),       entry<ReductionLayer>("Reduction"),
      entry<ParameterLayer>("Parameter"),
  };
}

}  // namespace pcc
