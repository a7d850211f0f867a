// One convolution, of which cuDNN knows three: its output, the gradient of its input and that of
// its weights; as a graph of cuDNN's operations.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "backends/cuda/conv_way.h"
#include "backends/cuda/cudnn/device.h"
#include "ops/op.h"

namespace pcc::cudnn {

// What is computed: y = x * w, dx = dy * w transposed, or dw = x * dy.
using Step = cuda::ConvStep;

// x (N, C, d1..dk), w (O, C/group, kernel..), y (N, O, e1..ek), k from 1 to 3, each a value or its
// gradient, as plain or nhwc (w too: (O, kernel.., C/group) then). float32 or bfloat16, all alike;
// sums are float32.
struct Convolution {
  Step step = Step::forward;
  TensorSpec x, w, y;
  std::vector<int64_t> stride, pad, dilation;
  std::optional<TensorSpec> bias;  // (O), of the type of y: added to y
  bool relu = false;               // of y, after the bias; only with one
  bool add = false;                // to what is there, instead of overwriting
};

// The convolution that carries out a step of an op: for a transposed one x is the op's output and y
// its input, so that its forward pass is a convolution's step `data`. A bias is taken along forward
// only, and not by a transposed one. Weights and bias are of the type of the images, and weights
// lie as those do; the op's own are float32 and plain.
Convolution convolution_of(const ConvDesc& desc, const OpSite& site, Step step);
// "forward float32 64x3x32x32 nhwc * float32 16x3x3x3 nhwc -> ... stride 1x1 pad 1x1 + bias +
// relu".
std::string text_of(const Convolution& convolution);

// By these a plan's tensors are named.
enum class Role : int64_t { x = 1, w = 2, y = 3, bias = 4 };

// Finalised operations in order; they must outlive whatever is made of them. Throws a Failure,
// which is `unsupported` where cuDNN has no such convolution.
struct Graph {
  std::deque<Descriptor> parts;  // the graph is the last
  const Descriptor& whole() const { return parts.back(); }
};
Graph graph_of(const Convolution& convolution, const Target& target);

}  // namespace pcc::cudnn
