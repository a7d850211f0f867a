// Where the parts of Concat and Slice lie.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace pcc {

// A whole of `outer` rows of `row` elements each, cut along an axis: part k begins first[k]
// elements into every row and has size[k] of them. Along the channels a row of channels last is a
// pixel; a blocked sample is as contiguous there as a plain one.
struct Cut {
  int64_t outer = 1, row = 1;
  std::vector<int64_t> first, size;

  Cut(const TensorSpec& whole, const std::vector<TensorSpec>& parts, int axis) {
    const bool pixels = whole.layout == Layout::nhwc && axis == 1;
    const Shape& shape = whole.shape;
    outer = pixels ? shape[0] * shape.count(2) : shape.count(0, axis);
    row = pixels ? shape[1] : shape.count(axis);
    int64_t at = 0;
    for (const TensorSpec& part : parts) {
      first.push_back(at);
      size.push_back(pixels ? part.shape[1] : part.shape.count(axis));
      at += size.back();
    }
  }
};

}  // namespace pcc
