// The matrix product behind inner products and convolutions: C (rows, columns) = A (rows, depth)
// times B (depth, columns), a batch of them at once. A and B need not lie in memory as matrices: a
// Problem knows where each of their numbers is, and where one of C goes:
//   static constexpr or not: bool a_along_depth, b_along_depth: whether neighbours along the depth,
//     rather than along the rows or columns, lie side by side in memory;
//   float a(batch, row, k), float b(batch, k, column): within bounds;
//   void store(batch, row, column, sum): called once for each.
// Each number of C is summed along the depth in an order that the shape alone decides.
#pragma once

#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

// A block of threads makes a tile of C, kTileDepth numbers along the depth at a time.
inline constexpr int kTileColumns = 64, kTileDepth = 16, kTileThreads = 128;

struct MatmulShape {
  uint32_t rows, columns, depth, batches;
  uint32_t splits;  // of the depth, each summed by blocks of its own

  MatmulShape(int64_t rows, int64_t columns, int64_t depth, int64_t batches = 1)
      : rows(static_cast<uint32_t>(rows)),
        columns(static_cast<uint32_t>(columns)),
        depth(static_cast<uint32_t>(depth)),
        batches(static_cast<uint32_t>(batches)) {
    // A GPU has work with some hundred blocks.
    constexpr int64_t kBlocks = 512, kShortest = 256;
    const int64_t tiles = row_tiles() * column_tiles() * batches;
    splits = static_cast<uint32_t>(
        std::clamp<int64_t>(std::min(kBlocks / tiles, depth / kShortest), 1, 64));
  }
  int tile_rows() const { return rows <= 16 ? 16 : rows <= 32 ? 32 : 64; }
  int64_t row_tiles() const { return (rows + tile_rows() - 1) / tile_rows(); }
  int64_t column_tiles() const { return (int64_t{columns} + kTileColumns - 1) / kTileColumns; }
  int64_t count() const { return int64_t{batches} * rows * columns; }
  // For the sums of the splits.
  int64_t scratch_bytes() const {
    return splits == 1 ? 0 : splits * count() * static_cast<int64_t>(sizeof(float));
  }
};

// What a block holds of A and B, the depth outside. Padded so that threads that walk along the
// depth hit different banks.
template <int Rows>
struct Tile {
  float a[kTileDepth][Rows + 4], b[kTileDepth][kTileColumns + 4];
};

// The numbers of a tile (kTileDepth, Width) that one thread carries to shared memory: neighbours in
// memory by neighbouring threads.
template <int Width>
struct Carried {
  static constexpr int kCount = kTileDepth * Width / kTileThreads;
  float value[kCount];

  // k, at: which the i-th of them is.
  __device__ static void place(bool along_depth, int i, int& k, int& at) {
    const int e = static_cast<int>(threadIdx.x) + i * kTileThreads;
    k = along_depth ? e % kTileDepth : e / Width;
    at = along_depth ? e / kTileDepth : e % Width;
  }
  template <typename Get>
  __device__ void fetch(bool along_depth, const Get& get) {
    for (int i = 0; i < kCount; ++i) {
      int k, at;
      place(along_depth, i, k, at);
      value[i] = get(k, at);
    }
  }
  __device__ void put(bool along_depth, float (&to)[kTileDepth][Width + 4]) const {
    for (int i = 0; i < kCount; ++i) {
      int k, at;
      place(along_depth, i, k, at);
      to[k][at] = value[i];
    }
  }
};

// 16 x 8 threads, each with (Rows / 8) x 4 numbers of C. While a tile of A and B is multiplied the
// next one is on its way from memory; one barrier for each. Writes the sums of a split to
// partial[split][batch][row][column], or, without splits, stores them.
template <int Rows, typename Problem>
__global__ void __launch_bounds__(kTileThreads, 4)
    multiply_tiles(Problem problem, MatmulShape shape, float* partial) {
  constexpr int kHigh = Rows / 8, kWide = kTileColumns / 16;
  __shared__ __align__(16) Tile<Rows> tiles[2];
  const uint32_t first_row = blockIdx.y * Rows, first_column = blockIdx.x * kTileColumns;
  const auto [split, batch] = divide(blockIdx.z, shape.batches);
  const uint32_t steps = (shape.depth + kTileDepth - 1) / kTileDepth;
  const uint32_t step_end = divide(int64_t{steps} * (split + 1), shape.splits).whole;
  uint32_t step = divide(int64_t{steps} * split, shape.splits).whole;

  Carried<Rows> a;
  Carried<kTileColumns> b;
  const auto fetch = [&](uint32_t at_step) {
    const uint32_t first = at_step * kTileDepth;
    a.fetch(problem.a_along_depth, [&](int k, int row) {
      const bool inside = first + k < shape.depth && first_row + row < shape.rows;
      return inside ? problem.a(batch, first_row + row, first + k) : 0.0f;
    });
    b.fetch(problem.b_along_depth, [&](int k, int column) {
      const bool inside = first + k < shape.depth && first_column + column < shape.columns;
      return inside ? problem.b(batch, first + k, first_column + column) : 0.0f;
    });
  };
  const auto put = [&](Tile<Rows>& tile) {
    a.put(problem.a_along_depth, tile.a);
    b.put(problem.b_along_depth, tile.b);
  };

  const int left = static_cast<int>(threadIdx.x) % 16 * kWide;
  const int top = static_cast<int>(threadIdx.x) / 16 * kHigh;
  float sum[kHigh][kWide] = {};
  fetch(step);
  put(tiles[0]);
  __syncthreads();
  for (int now = 0; step < step_end; ++step, now ^= 1) {
    const bool more = step + 1 < step_end;
    if (more) fetch(step + 1);
    for (int k = 0; k < kTileDepth; ++k) {
      float high[kHigh], wide[kWide];
      for (int i = 0; i < kHigh; ++i) high[i] = tiles[now].a[k][top + i];
      for (int j = 0; j < kWide; ++j) wide[j] = tiles[now].b[k][left + j];
      for (int i = 0; i < kHigh; ++i)
        for (int j = 0; j < kWide; ++j) sum[i][j] += high[i] * wide[j];
    }
    if (more) put(tiles[now ^ 1]);
    __syncthreads();
  }

  for (int i = 0; i < kHigh; ++i)
    for (int j = 0; j < kWide; ++j) {
      const uint32_t row = first_row + top + i, column = first_column + left + j;
      if (row >= shape.rows || column >= shape.columns) continue;
      if (partial)
        partial[(int64_t{blockIdx.z} * shape.rows + row) * shape.columns + column] = sum[i][j];
      else
        problem.store(batch, row, column, sum[i][j]);
    }
}

template <typename Problem>
struct JoinSplits {
  Problem problem;
  MatmulShape shape;
  const float* partial;
  int64_t count;
  __device__ void operator()(int64_t i) const {
    double sum = 0;
    for (uint32_t split = 0; split < shape.splits; ++split)
      sum += static_cast<double>(partial[split * count + i]);
    const Quotient line = divide(i, shape.columns), row = divide(line.whole, shape.rows);
    problem.store(row.whole, row.rest, line.rest, static_cast<float>(sum));
  }
};

// Runs a kernel of tiles, each of so many rows, over all of C.
template <typename Kernel, typename Problem>
void run_tiles(Kernel kernel, int64_t tile_rows, const MatmulShape& shape, const Problem& problem,
               void* scratch) {
  float* const partial = shape.splits == 1 ? nullptr : static_cast<float*>(scratch);
  launch(kernel,
         {shape.column_tiles(), (shape.rows + tile_rows - 1) / tile_rows,
          int64_t{shape.batches} * shape.splits},
         kTileThreads, 0, problem, shape, partial);
  if (partial) for_each(shape.count(), JoinSplits<Problem>{problem, shape, partial, shape.count()});
}

// scratch: shape.scratch_bytes().
template <typename Problem>
void matmul(const MatmulShape& shape, const Problem& problem, void* scratch) {
  const auto kernel = shape.tile_rows() == 16   ? multiply_tiles<16, Problem>
                      : shape.tile_rows() == 32 ? multiply_tiles<32, Problem>
                                                : multiply_tiles<64, Problem>;
  run_tiles(kernel, shape.tile_rows(), shape, problem, scratch);
}

}  // namespace pcc::cuda
