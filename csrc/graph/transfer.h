// Between numbers that the host holds and tensors in a device's memory. Not for a step: each call
// may wait, and may allocate.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "ops/device.h"

namespace pcc {

// How users' arrays lie.
inline TensorSpec plain(const Shape& shape, DType dtype) { return {shape, dtype, Layout::plain}; }

// Sets every element to `value`.
void fill(Device& device, const Tensor& to, double value);
// Sets the elements, in the order in which they lie.
void write(Device& device, const Tensor& to, const std::vector<double>& values);
// The first `count` elements, in the order in which they lie.
std::vector<double> read(Device& device, const Tensor& from, int64_t count);
// The sum of the first `count` elements, or of their magnitudes; allocates nothing.
double sum(Device& device, const Tensor& from, int64_t count, bool magnitudes);

}  // namespace pcc
