// Pooling windows, cut as pooling_layer.cpp cuts them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace pcc {

// What window `index` covers along one axis: [begin, end) inside the image; `width` counts the
// padding too, up to size + pad, and is the divisor of average pooling. Caffe's rounding up allows
// windows wholly beyond the image: then begin >= end, and width may be 0 or negative.
struct Window {
  int64_t begin = 0, end = 0, width = 0;

  constexpr Window(int64_t index, int64_t kernel, int64_t stride, int64_t pad, int64_t size) {
    const int64_t from = index * stride - pad;
    const int64_t to = std::min(from + kernel, size + pad);
    width = to - from;
    begin = std::max<int64_t>(from, 0);
    end = std::min(to, size);
  }
};

}  // namespace pcc
