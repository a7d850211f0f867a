#include "backends/reference/matrix.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"

namespace pcc::reference {
namespace {

template <typename T>
struct Vector {
  static constexpr int kSize = 16 / sizeof(T);
  typedef T Type __attribute__((vector_size(16)));
};

constexpr int kRows = 4;  // of C in one tile
constexpr int kVectors =
    2;  // columns of C in one tile, in vectors: 8 accumulators fit every vector unit's registers
constexpr int64_t kDepth =
    256;  // of one panel of B: with this many rows it stays in the first cache
template <typename T>
constexpr int kColumns = kVectors * Vector<T>::kSize;

// panel (depth, kColumns) = b, `columns` wide and zeros beyond.
template <typename T>
void pack(MatrixView<T> b, int64_t depth, int64_t columns, T* panel) {
  constexpr int kWidth = kColumns<T>;
  if (columns == kWidth && b.column == 1) {
    for (int64_t k = 0; k < depth; ++k)
      std::memcpy(panel + k * kWidth, b.data + k * b.row, kWidth * sizeof(T));
    return;
  }
  for (int64_t j = 0; j < kWidth; ++j) {
    const T* from = b.data + j * b.column;
    for (int64_t k = 0; k < depth; ++k)
      panel[k * kWidth + j] = j < columns ? from[k * b.row] : T(0);
  }
}

// A tile of C (rows, columns) = or += rows of a times the panel. The rows beyond `rows` repeat the
// last one and are dropped.
template <typename T>
void tile(int64_t rows, int64_t columns, int64_t depth, MatrixView<T> a, const T* panel, T* c,
          int64_t stride, bool accumulate) {
  using V = typename Vector<T>::Type;
  constexpr int kSize = Vector<T>::kSize, kWidth = kColumns<T>;
  const T* row[kRows];
  for (int i = 0; i < kRows; ++i) row[i] = a.data + std::min<int64_t>(i, rows - 1) * a.row;
  V sum[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    V b[kVectors];
    std::memcpy(b, panel + k * kWidth, sizeof(b));
    for (int i = 0; i < kRows; ++i)
      for (int v = 0; v < kVectors; ++v) sum[i][v] += row[i][k * a.column] * b[v];
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      const T value = sum[i][j / kSize][j % kSize];
      c[i * stride + j] = accumulate ? c[i * stride + j] + value : value;
    }
}

}  // namespace

template <typename T>
void multiply(int64_t m, int64_t n, int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
              int64_t stride, bool accumulate) {
  alignas(64) T panel[kDepth * kColumns<T>];
  for (int64_t first = 0; first == 0 || first < k; first += kDepth) {
    const int64_t depth = std::min(kDepth, k - first);
    const bool add = accumulate || first > 0;
    for (int64_t j = 0; j < n; j += kColumns<T>) {
      const int64_t columns = std::min<int64_t>(kColumns<T>, n - j);
      pack<T>({b.data + first * b.row + j * b.column, b.row, b.column}, depth, columns, panel);
      for (int64_t i = 0; i < m; i += kRows)
        tile<T>(std::min<int64_t>(kRows, m - i), columns, depth,
                {a.data + i * a.row + first * a.column, a.row, a.column}, panel, c + i * stride + j,
                stride, add);
    }
  }
}

template <typename T>
void multiply_parallel(int64_t m, int64_t n, int64_t k, MatrixView<T> a, MatrixView<T> b, T* c,
                       int64_t stride, bool accumulate) {
  constexpr int64_t kTile = 64;
  const int64_t across = (n + kTile - 1) / kTile, down = (m + kTile - 1) / kTile;
  const int64_t grain = m * n * k < 16384 ? across * down : 1;
  parallel(across * down, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t i = piece / across * kTile, j = piece % across * kTile;
      multiply<T>(std::min(kTile, m - i), std::min(kTile, n - j), k,
                  {a.data + i * a.row, a.row, a.column}, {b.data + j * b.column, b.row, b.column},
                  c + i * stride + j, stride, accumulate);
    }
  });
}

template void multiply<float>(int64_t, int64_t, int64_t, MatrixView<float>, MatrixView<float>,
                              float*, int64_t, bool);
template void multiply<double>(int64_t, int64_t, int64_t, MatrixView<double>, MatrixView<double>,
                               double*, int64_t, bool);
template void multiply_parallel<float>(int64_t, int64_t, int64_t, MatrixView<float>,
                                       MatrixView<float>, float*, int64_t, bool);
template void multiply_parallel<double>(int64_t, int64_t, int64_t, MatrixView<double>,
                                        MatrixView<double>, double*, int64_t, bool);

}  // namespace pcc::reference
