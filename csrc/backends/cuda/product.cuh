// The product of two matrices that lie in memory as such.
#pragma once

#include "backends/cuda/tensor_matmul.cuh"

namespace pcc::cuda {

// A matrix seen through strides, so that a transpose is a view. At most 2^32 elements.
struct View {
  const float* data;
  uint32_t row, column;  // elements from one row, one column to the next
  __device__ float at(uint32_t i, uint32_t j) const { return data[i * row + j * column]; }
};

// C = A B [+ bias, one for each column], or, with `adds`, C += A B; C lies row by row.
template <bool kAlongA, bool kAlongB>
struct Product {
  static constexpr bool a_along_depth = kAlongA, b_along_depth = kAlongB;
  View left, right;
  const float* bias;
  float* c;
  uint32_t width;
  bool adds;

  __device__ float a(uint32_t, uint32_t row, uint32_t k) const { return left.at(row, k); }
  __device__ float b(uint32_t, uint32_t k, uint32_t column) const { return right.at(k, column); }
  __device__ void store(uint32_t, uint32_t row, uint32_t column, float sum) const {
    float& to = c[row * width + column];
    to = adds ? to + sum : bias ? sum + bias[column] : sum;
  }
};

inline void multiply(const MatmulShape& shape, const View& a, const View& b, const float* bias,
                     float* c, bool adds, Precision precision, void* scratch) {
  const bool a_deep = a.column == 1, b_deep = b.column != 1;
  if (a_deep && b_deep)
    matmul(shape, Product<true, true>{a, b, bias, c, shape.columns, adds}, precision, scratch);
  else if (a_deep)
    matmul(shape, Product<true, false>{a, b, bias, c, shape.columns, adds}, precision, scratch);
  else
    matmul(shape, Product<false, false>{a, b, bias, c, shape.columns, adds}, precision, scratch);
}

}  // namespace pcc::cuda
