// Convolutions by the shape of x, for tests.
#pragma once

#include "op_harness.h"

namespace pcc {

struct Conv {
  Shape x;
  int64_t outputs;
  std::vector<int64_t> kernel, stride, pad, dilation;
  int64_t group = 1;
  bool bias = true, transposed = false;
};

inline OpCase conv_case(const Conv& c) {
  Shape y{c.x[0], c.outputs}, w{c.outputs, c.x[1] / c.group};
  if (c.transposed) w = Shape{c.x[1], c.outputs / c.group};
  for (size_t i = 0; i < c.kernel.size(); ++i) {
    const int64_t size = c.x[static_cast<int>(i) + 2],
                  reach = c.dilation[i] * (c.kernel[i] - 1) + 1;
    y.push_back(c.transposed ? (size - 1) * c.stride[i] + reach - 2 * c.pad[i]
                             : (size + 2 * c.pad[i] - reach) / c.stride[i] + 1);
    w.push_back(c.kernel[i]);
  }
  OpCase op;
  op.desc = ConvDesc{c.kernel, c.stride, c.pad, c.dilation, c.group, c.bias, c.transposed};
  op.in = {c.x};
  op.params = {w};
  op.out = {y};
  if (c.bias) op.params.push_back(Shape{c.outputs});
  return op;
}

inline std::vector<int64_t> two(int64_t n) { return {n, n}; }

}  // namespace pcc
