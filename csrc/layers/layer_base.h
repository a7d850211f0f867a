// What every layer of this room shares: checks of shapes before and after inference, names for
// messages, fillers.
#pragma once

#include <string>
#include <vector>

#include "graph/layer.h"
#include "ops/fill.h"

namespace pcc {

// Largest kernel, stride, pad, dilation or group that is taken: products of two of them stay far
// inside int64.
inline constexpr int64_t kMaxExtent = int64_t{1} << 30;
// As Caffe's blobs: at most 32 axes, and fewer than 2^31 elements.
inline constexpr int kMaxAxes = 32;
inline constexpr int64_t kMaxCount = (int64_t{1} << 31) - 1;

class LayerBase : public Layer {
 public:
  using Layer::Layer;

  // Checks the bottoms, calls infer, checks the tops and the parameters.
  std::vector<Shape> infer_shapes(const std::vector<Shape>& bottoms) final;

 protected:
  // Shapes of the tops. The bottoms have no empty axis, fewer than 2^31 elements each, and their
  // number fits arity().
  virtual std::vector<Shape> infer(const std::vector<Shape>& bottoms) = 0;

  // Whether a top may be without elements; nobody can read it then.
  virtual bool may_be_empty() const { return false; }

  // Throws a config error that begins with title().
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    PCC_THROW(config, title(), ": ", parts...);
  }
  template <typename... Parts>
  void require(bool condition, const Parts&... parts) const {
    if (!condition) fail(parts...);
  }

  // A FillerParameter, which stands in `field`; throws a config error for an unknown type. Not
  // `used`: any type will do, as in Caffe, and no field is reported as unread.
  FillerDesc read_filler(const Attributes& filler, const std::string& field,
                         bool used = true) const;
  int64_t replicas() const { return context().replicas; }
  size_t top_count() const { return spec().tops.size(); }
  // The values of all bottoms, in order.
  std::vector<ValueId> bottoms(const Lowering& to) const;
  // "'conv1' (64x20x12x12)".
  std::string bottom_text(size_t index, const Shape& shape) const;
  // The axis a field names, counted from the end where negative.
  int axis_in(const Shape& shape, int64_t axis, const std::string& field) const;
  // An unsigned field, between `least` and kMaxExtent.
  int64_t extent(const std::string& field, int64_t value, int64_t least) const;
  // Replicas stand one after the other on axis 0: a layer that mixes or fixes that axis would mix
  // them.
  void keep_replicas_apart(bool mixes, const std::string& what) const;
  // That bottom `index` has 4 axes.
  void require_maps(size_t index, const Shape& shape) const;
  // That no top is the bottom: Caffe's layer of this type refuses it.
  void refuse_in_place() const;
  // No empty axis, at most kMaxAxes of them, at most kMaxCount elements.
  void check_shape(const std::string& what, const Shape& shape) const;
};

}  // namespace pcc
