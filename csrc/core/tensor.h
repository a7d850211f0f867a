// Shape, DType, Layout and the non-owning Tensor. Plain values; whoever allocated the memory owns
// it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/check.h"

namespace pcc {

// bf16: for storage only (core/bfloat16.h).
enum class DType : uint8_t { f32, f64, bf16 };

inline int64_t size_of(DType dtype) {
  return dtype == DType::f32 ? 4 : dtype == DType::f64 ? 8 : 2;
}
const char* name_of(DType dtype);

// How the elements of a value lie in memory. plain is row-major, as Caffe's blobs and numpy have
// it. The others apply to (N, C, H, W) values only: nhwc moves the channels last; c8 and c16 cut
// the channels in blocks, (N, C/8, H, W, 8) and (N, C/16, H, W, 16), and are used only where C
// divides evenly: no layout ever pads.
enum class Layout : uint8_t { plain, nhwc, c8, c16 };

const char* name_of(Layout layout);

// Whose memory a value lies in: that of the device that a net runs on, or, where an op of that
// device is missing and the host makes up for it, the host's. One and the same on a CPU.
enum class Place : uint8_t { device, host };
// Channels per block: 8, 16, or 1 for the layouts without blocks.
inline int64_t block_of(Layout layout) {
  return layout == Layout::c8 ? 8 : layout == Layout::c16 ? 16 : 1;
}

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : dims_(dims) {}
  explicit Shape(std::vector<int64_t> dims) : dims_(std::move(dims)) {}

  int axes() const { return static_cast<int>(dims_.size()); }
  int64_t operator[](int axis) const { return dims_[static_cast<size_t>(axis)]; }
  int64_t& operator[](int axis) { return dims_[static_cast<size_t>(axis)]; }
  const std::vector<int64_t>& dims() const { return dims_; }
  void push_back(int64_t dim) { dims_.push_back(dim); }

  // Product of the dimensions [from, to); 1 where the range is empty. A shape without axes is a
  // scalar: count 1.
  int64_t count(int from, int to) const;
  int64_t count(int from = 0) const { return count(from, axes()); }
  // Turns a negative axis into its positive twin. Returns -1 when it is out of range.
  int canonical(int64_t axis) const;
  // "64x3x32x32"; "scalar" without axes.
  std::string str() const;

  bool operator==(const Shape&) const = default;

 private:
  std::vector<int64_t> dims_;
};

inline std::ostream& operator<<(std::ostream& stream, const Shape& shape) {
  return stream << shape.str();
}

struct TensorSpec {
  Shape shape;
  DType dtype = DType::f32;
  Layout layout = Layout::plain;
  Place place = Place::device;

  int64_t bytes() const { return shape.count() * size_of(dtype); }
  bool operator==(const TensorSpec&) const = default;
};

// "float32 64x3x32x32 nhwc".
inline std::ostream& operator<<(std::ostream& stream, const TensorSpec& spec) {
  return stream << name_of(spec.dtype) << ' ' << spec.shape << ' ' << name_of(spec.layout);
}

// A view of memory with a spec. `data` may be null: "not wanted here".
struct Tensor {
  void* data = nullptr;
  TensorSpec spec;
  // Elements from one pixel to the next where these are some of the channels of a wider value whose
  // channels lie last. 0: nothing lies in between.
  int64_t pitch = 0;

  const Shape& shape() const { return spec.shape; }
  int64_t count() const { return spec.shape.count(); }
  explicit operator bool() const { return data != nullptr; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// Whether a value is some of the channels of another one, where that lies.
bool is_part_of(const Tensor& part, const Tensor& whole);

}  // namespace pcc
