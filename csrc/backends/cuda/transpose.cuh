// Transposes of matrices, through tiles in shared memory.
#pragma once

#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

inline constexpr int kSide = 32, kHigh = kBlock / kSide;

// y (batch, columns, rows) = the transposes of x (batch, rows, columns). A block takes a tile of
// 32 x 32; blockIdx: its column, its row, the matrix.
template <typename From, typename To>
__global__ void __launch_bounds__(kBlock)
    transpose_tiles(int rows, int columns, const From* x, To* y) {
  __shared__ float tile[kSide][kSide + 1];
  const int across = static_cast<int>(threadIdx.x) % kSide;
  const int down = static_cast<int>(threadIdx.x) / kSide;
  const int row = static_cast<int>(blockIdx.y) * kSide;
  const int column = static_cast<int>(blockIdx.x) * kSide;
  const int64_t first = int64_t{blockIdx.z} * rows * columns;
  for (int k = down; k < kSide; k += kHigh)
    if (row + k < rows && column + across < columns)
      tile[k][across] = number(x[first + int64_t{row + k} * columns + column + across]);
  __syncthreads();
  for (int k = down; k < kSide; k += kHigh)
    if (column + k < columns && row + across < rows)
      y[first + int64_t{column + k} * rows + row + across] = stored<To>(tile[across][k]);
}

template <typename From, typename To>
void transpose(int64_t batch, int64_t rows, int64_t columns, const From* x, To* y) {
  // A grid has at most 65535 matrices.
  constexpr int64_t kMost = 65535;
  const auto tiles = [](int64_t size) { return (size + kSide - 1) / kSide; };
  for (int64_t n = 0; n < batch; n += kMost)
    launch(transpose_tiles<From, To>, {tiles(columns), tiles(rows), std::min(kMost, batch - n)},
           kBlock, 0, static_cast<int>(rows), static_cast<int>(columns), x + n * rows * columns,
           y + n * rows * columns);
}

}  // namespace pcc::cuda
