// The matrix product behind convolutions and inner products: C = A B or C += A B.
#pragma once

#include <cstdint>

namespace pcc::reference {

// A matrix seen through strides, so that a transpose is a view.
template <typename T>
struct MatrixView {
  const T* data = nullptr;
  int64_t row = 0, column = 0;  // elements from one row, one column to the next

  MatrixView transposed() const { return {data, column, row}; }
};

// c (m, n), rows `stride` apart, = or += a (m, k) times b (k, n). Each element is summed over k in
// one fixed order, which depends neither on its place nor on m and n: however the work is cut, the
// result is the same. Runs on the calling thread.
template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
              int64_t stride, bool accumulate);

// The same, spread over threads.
template <typename T>
void multiply_parallel(int64_t m, int64_t n, int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                       int64_t stride, bool accumulate);

}  // namespace pcc::reference
