#include "core/tensor.h"

#include <functional>

namespace pcc {

const char* name_of(DType dtype) {
  return dtype == DType::f32 ? "float32" : dtype == DType::f64 ? "float64" : "bfloat16";
}

const char* name_of(Layout layout) {
  switch (layout) {
    case Layout::plain:
      return "plain";
    case Layout::nhwc:
      return "nhwc";
    case Layout::c8:
      return "c8";
    case Layout::c16:
      return "c16";
  }
  return "?";
}

int64_t Shape::count(int from, int to) const {
  int64_t product = 1;
  for (int axis = from; axis < to; ++axis) product *= (*this)[axis];
  return product;
}

int Shape::canonical(int64_t axis) const {
  const int64_t positive = axis < 0 ? axis + axes() : axis;
  return positive < 0 || positive >= axes() ? -1 : static_cast<int>(positive);
}

std::string Shape::str() const {
  if (dims_.empty()) return "scalar";
  std::string text;
  for (size_t i = 0; i < dims_.size(); ++i) text += (i ? "x" : "") + std::to_string(dims_[i]);
  return text;
}

bool is_part_of(const Tensor& part, const Tensor& whole) {
  const auto* const first = static_cast<const char*>(whole.data);
  const auto* const at = static_cast<const char*>(part.data);
  const std::less<> before;
  if (!part || !whole || part.pitch == 0 || before(at, first)) return false;
  return before(at, first + whole.shape()[1] * size_of(whole.spec.dtype));
}

}  // namespace pcc
