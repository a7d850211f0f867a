// What the kernels of convolutions over plain layout have in common: stride 1, no padding, output
// rows of whole vectors.
#pragma once

#include <cstdint>

namespace pcc::cpu {

struct PlainConvShape {
  int64_t inputs, outputs;
  int64_t height, width;          // of x
  int64_t out_height, out_width;  // of y; out_width is a multiple of 8

  int64_t x_count() const { return inputs * height * width; }
  int64_t y_count() const { return outputs * out_height * out_width; }
};

}  // namespace pcc::cpu
