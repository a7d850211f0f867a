// Concat, Slice, Split, Flatten, Reshape, Silence: layers that move or rename values.
// Source: Caffe's files of those names.
#include <algorithm>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// Concat and Slice: the axis, or its old name (concat_dim, slice_dim), which is not counted from
// the end.
class AxisLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;

 protected:
  void read_axis(const Attributes& params, const std::string& old_name) {
    const bool old = params.has(old_name);
    require(!old || !params.has("axis"), "give either axis or ", old_name, "; not both");
    field_ = old ? old_name : "axis";
    value_ = old ? extent(old_name, params.get_int(old_name), 0) : params.get_int("axis");
  }
  int axis_of(const Shape& shape) const { return axis_in(shape, value_, field_); }

 private:
  std::string field_;
  int64_t value_ = 1;
};

// Bottoms that agree on all axes but one -> one value that has them behind each other on that axis.
class ConcatLayer : public AxisLayer {
 public:
  ConcatLayer(LayerSpec spec, LayerContext context)
      : AxisLayer(std::move(spec), std::move(context)) {
    read_axis(attributes().sub("concat_param"), "concat_dim");
  }

  Arity arity() const override { return {1, -1, 1, 1, false}; }

  void lower(Lowering& to) const override {
    if (spec().bottoms.size() == 1) return to.top(0, to.bottom(0));
    to.simple(desc_, bottoms(to), {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    desc_.axis = axis_of(bottoms[0]);
    keep_replicas_apart(desc_.axis == 0 && bottoms.size() > 1, "joining along axis 0");
    top_ = bottoms[0];
    for (size_t i = 1; i < bottoms.size(); ++i) {
      Shape rest = bottoms[i];
      if (rest.axes() == top_.axes()) rest[desc_.axis] = bottoms[0][desc_.axis];
      require(rest == bottoms[0], "bottoms must agree on all axes but ", desc_.axis, "; ",
              bottom_text(0, bottoms[0]), " and ", bottom_text(i, bottoms[i]), " do not");
      top_[desc_.axis] += bottoms[i][desc_.axis];
    }
    return {top_};
  }

 private:
  ConcatDesc desc_;
  Shape top_;
};

// One bottom -> its parts along an axis: cut at the slice_points, or into equal parts.
class SliceLayer : public AxisLayer {
 public:
  SliceLayer(LayerSpec spec, LayerContext context)
      : AxisLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("slice_param");
    read_axis(params, "slice_dim");
    points_ = params.ints("slice_point");
  }

  Arity arity() const override { return {1, 1, 1, -1, false}; }

  void lower(Lowering& to) const override {
    if (tops_.size() == 1) return to.top(0, to.bottom(0));
    to.tops(to.op(desc_, {to.bottom(0)}, {}, tops_));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape& x = bottoms[0];
    desc_.axis = axis_of(x);
    const int64_t size = x[desc_.axis], count = static_cast<int64_t>(top_count());
    keep_replicas_apart(desc_.axis == 0 && count > 1, "cutting along axis 0");
    std::vector<int64_t> ends = points_;
    if (points_.empty()) {
      require(size % count == 0, "axis ", desc_.axis, " of ", bottom_text(0, x),
              " does not divide into ", count, " equal tops; give slice_point");
      for (int64_t i = 1; i < count; ++i) ends.push_back(i * (size / count));
    }
    require(static_cast<int64_t>(ends.size()) == count - 1, "slice_point is given ", ends.size(),
            " times; ", count, " tops need ", count - 1);
    ends.push_back(size);
    tops_.assign(top_count(), x);
    int64_t from = 0;
    for (size_t i = 0; i < ends.size(); ++i) {
      require(ends[i] > from, "slice points must rise and lie inside axis ", desc_.axis, " of ",
              bottom_text(0, x));
      tops_[i][desc_.axis] = ends[i] - from;
      from = ends[i];
    }
    return tops_;
  }

 private:
  std::vector<int64_t> points_;
  SliceDesc desc_;
  std::vector<Shape> tops_;
};

// One bottom -> the same value under several names; their gradients add up in the order of the
// tops.
class SplitLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {1, 1, 1, -1, false}; }
  bool shares_memory() const override { return true; }
  void lower(Lowering& to) const override {
    for (size_t i = 0; i < top_count(); ++i) to.top(static_cast<int>(i), to.bottom(0));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    refuse_in_place();
    return std::vector<Shape>(top_count(), bottoms[0]);
  }
};

// A layer whose top is its bottom under another shape. The shape is worked out for one replica and
// its axis 0 then multiplied: each replica's samples stay together.
class ViewLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  void lower(Lowering& to) const override { to.top(0, to.view(to.bottom(0), top_)); }

 protected:
  virtual Shape infer_one(const Shape& x) const = 0;

  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    refuse_in_place();
    Shape x = bottoms[0];
    if (replicas() > 1) {
      require(x.axes() > 0 && x[0] % replicas() == 0, "the batch of ", bottom_text(0, x),
              " does not divide into ", replicas(), " replicas");
      x[0] /= replicas();
    }
    top_ = infer_one(x);
    if (replicas() > 1) {
      keep_replicas_apart(top_.axes() == 0, "a shape without axes");
      top_[0] *= replicas();
    }
    return {top_};
  }

 private:
  Shape top_;
};

// Joins the axes from `axis` to `end_axis` into one.
class FlattenLayer : public ViewLayer {
 public:
  FlattenLayer(LayerSpec spec, LayerContext context)
      : ViewLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("flatten_param");
    axis_ = params.get_int("axis");
    end_axis_ = params.get_int("end_axis");
  }

 protected:
  Shape infer_one(const Shape& x) const override {
    const int from = axis_in(x, axis_, "axis"), to = axis_in(x, end_axis_, "end_axis") + 1;
    require(from <= to, "axis: ", axis_, " lies behind end_axis: ", end_axis_, " for bottom ",
            bottom_text(0, x));
    std::vector<int64_t> dims(x.dims().begin(), x.dims().begin() + from);
    dims.push_back(x.count(from, to));
    dims.insert(dims.end(), x.dims().begin() + to, x.dims().end());
    return Shape(dims);
  }

 private:
  int64_t axis_ = 1, end_axis_ = -1;
};

// Replaces num_axes axes (-1: all) from `axis` on by shape: 0 keeps the bottom's size there, one -1
// takes what is left over. A negative axis counts from behind the last one: -1 appends.
class ReshapeLayer : public ViewLayer {
 public:
  ReshapeLayer(LayerSpec spec, LayerContext context)
      : ViewLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("reshape_param");
    axis_ = params.get_int("axis");
    num_axes_ = params.get_int("num_axes");
    dims_ = params.sub("shape").ints("dim");
    for (const int64_t dim : dims_)
      require(dim >= -1 && dim <= kMaxCount, "shape dim: ", dim,
              " is out of range; expected -1, 0 or a size");
    require(std::count(dims_.begin(), dims_.end(), -1) <= 1, "shape may hold one dim: -1 at most");
    require(num_axes_ >= -1, "num_axes: ", num_axes_,
            " is out of range; expected 0 or more, or -1 for all");
  }

 protected:
  Shape infer_one(const Shape& x) const override {
    const int64_t from = axis_ < 0 ? axis_ + x.axes() + 1 : axis_;
    require(from >= 0 && from <= x.axes(), "axis: ", axis_, " is out of range for bottom ",
            bottom_text(0, x));
    require(num_axes_ <= x.axes() - from, "axis: ", axis_, " and num_axes: ", num_axes_,
            " reach past the end of bottom ", bottom_text(0, x));
    const int64_t to = num_axes_ == -1 ? x.axes() : from + num_axes_;
    std::vector<int64_t> dims(x.dims().begin(), x.dims().begin() + from);
    for (const int64_t dim : dims_) {
      const auto here = static_cast<int>(dims.size());
      require(dim != 0 || here < x.axes(), "shape has a dim: 0 at axis ", here, ", which bottom ",
              bottom_text(0, x), " lacks");
      dims.push_back(dim == 0 ? x[here] : dim);
    }
    dims.insert(dims.end(), x.dims().begin() + to, x.dims().end());
    fill_in(x, dims);
    return Shape(dims);
  }

 private:
  // Puts the size that is left over in the place of -1; checks that nothing is lost.
  void fill_in(const Shape& x, std::vector<int64_t>& dims) const {
    const Shape wanted(dims);  // for messages
    int64_t left = x.count();
    int64_t* open = nullptr;
    for (int64_t& dim : dims) {
      if (dim == -1) {
        open = &dim;
        continue;
      }
      require(left % dim == 0, "the ", x.count(), " elements of ", bottom_text(0, x),
              " do not fit shape ", wanted);
      left /= dim;
    }
    require(open || left == 1, "the ", x.count(), " elements of ", bottom_text(0, x),
            " do not fit shape ", wanted);
    if (open) *open = left;
  }

  int64_t axis_ = 0, num_axes_ = -1;
  std::vector<int64_t> dims_;
};

// Takes bottoms that nobody else reads, so that they are no outputs of the net. Their gradient is
// zero.
class SilenceLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {1, -1, 0, 0, false}; }
  void lower(Lowering&) const override {}

 protected:
  std::vector<Shape> infer(const std::vector<Shape>&) override { return {}; }
};

}  // namespace

std::vector<LayerType> shape_layers() {
  return {
      entry<ConcatLayer>("Concat"),   entry<SliceLayer>("Slice"),
      entry<SplitLayer>("Split"),     entry<FlattenLayer>("Flatten"),
      entry<ReshapeLayer>("Reshape"), entry<SilenceLayer>("Silence"),
  };
}

}  // namespace pcc
