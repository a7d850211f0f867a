#include "graph/work.h"

#include <algorithm>

namespace pcc {

namespace {

int64_t bytes_of(const std::vector<Tensor>& tensors) {
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors)
    if (tensor) bytes += tensor.spec.bytes();
  return bytes;
}

// Of those that a list of needs marks.
int64_t marked_bytes(const std::vector<Tensor>& tensors, const std::vector<bool>& marks) {
  int64_t bytes = 0;
  for (size_t i = 0; i < std::min(tensors.size(), marks.size()); ++i)
    if (marks[i] && tensors[i]) bytes += tensors[i].spec.bytes();
  return bytes;
}

// Of those that lie in the whole, and are not copied.
int64_t bytes_there(const std::vector<Tensor>& parts, const Tensor& whole) {
  int64_t bytes = 0;
  for (const Tensor& part : parts)
    if (is_part_of(part, whole)) bytes += part.spec.bytes();
  return bytes;
}

struct Product {
  const Shape &in, &out;
  // Each number on the side of the maps meets the channels of its group under each tap.
  int64_t operator()(const ConvDesc& d) const {
    int64_t taps = 1;
    for (const int64_t side : d.kernel) taps *= side;
    const Shape &image = d.transposed ? out : in, &map = d.transposed ? in : out;
    return 2 * map.count() * (image[1] / d.group) * taps;
  }
  int64_t operator()(const GemmDesc& d) const { return 2 * d.m * d.k * d.n; }
  template <typename Desc>
  int64_t operator()(const Desc&) const {
    return 0;
  }
};

}  // namespace

// Scratch, and parameters in a form of the op's own, are written and read.
int64_t bytes_forward(const OpBuffers& buffers, const OpNeeds& needs) {
  const int64_t there = needs.joins_channels ? bytes_there(buffers.in, buffers.out[0]) : 0;
  return bytes_of(buffers.in) + bytes_of(buffers.out) - 2 * there + bytes_of(buffers.params) +
         needs.stash_bytes + 2 * (needs.forward_scratch + needs.prepared_bytes) +
         needs.forward_again;
}

int64_t bytes_backward(const OpBuffers& buffers, const OpNeeds& needs) {
  int64_t bytes = marked_bytes(buffers.in, needs.in) + marked_bytes(buffers.out, needs.out) +
                  bytes_of(buffers.din) - marked_bytes(buffers.din, needs.passes_dout) +
                  marked_bytes(buffers.din, buffers.adds) + bytes_of(buffers.params) +
                  bytes_of(buffers.dparams) + needs.stash_bytes + 2 * needs.backward_scratch +
                  needs.backward_again;
  for (const std::vector<Tensor>& parts : buffers.dout) bytes += bytes_of(parts);
  if (needs.joins_channels && buffers.dout[0].size() == 1)
    bytes -= 2 * bytes_there(buffers.din, buffers.dout[0][0]);
  return bytes;
}

int64_t flops_of_product(const OpDesc& desc, const Shape& in, const Shape& out) {
  return std::visit(Product{in, out}, desc);
}

}  // namespace pcc
