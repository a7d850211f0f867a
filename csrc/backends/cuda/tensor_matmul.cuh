// The matrix products of matmul.cuh on the tensor cores: the same problems, cut into the same
// tiles, their factors rounded as a Number (mma.cuh) has them.
#pragma once

#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "ops/device.h"

namespace pcc::cuda {

// For the gradients of weights: bf16 would be another rounding of sums over all samples.
inline Precision weight_precision(Precision precision) {
  return precision == Precision::bf16 ? Precision::tf32 : precision;
}

inline constexpr int kTileWords = 16;  // along the depth
// Words of a row or column in shared memory. What a warp brings for a product, 8 neighbours by 4
// words, hits 32 banks.
inline constexpr int kTileLine = kTileWords + 4;

// The numbers of a tile (Width, kTileWords words) that one thread carries to shared memory:
// neighbours in memory by neighbouring threads.
template <typename Number, int Width>
struct CarriedWords {
  static constexpr int kCount = kTileWords * Width / kTileThreads;
  float value[kCount][Number::kPerWord];

  __device__ static void place(bool along_depth, int i, int& word, int& at) {
    const int e = static_cast<int>(threadIdx.x) + i * kTileThreads;
    word = along_depth ? e % kTileWords : e / Width;
    at = along_depth ? e / kTileWords : e % Width;
  }
  // get(k, at): a number, from the beginning of the tile on.
  template <typename Get>
  __device__ void fetch(bool along_depth, const Get& get) {
    PCC_UNROLL
    for (int i = 0; i < kCount; ++i) {
      int word, at;
      place(along_depth, i, word, at);
      PCC_UNROLL
      for (int n = 0; n < Number::kPerWord; ++n) value[i][n] = get(word * Number::kPerWord + n, at);
    }
  }
  __device__ void put(bool along_depth, uint32_t (&to)[Width][kTileLine]) const {
    PCC_UNROLL
    for (int i = 0; i < kCount; ++i) {
      int word, at;
      place(along_depth, i, word, at);
      to[at][word] = Number::pack(value[i]);
    }
  }
};

// Four warps, each with kHigh x kWide products of 16 rows by 8 columns. While a tile of A and B is
// multiplied the next one is on its way from memory; one barrier for each. Where the sums go:
// see multiply_tiles.
template <typename Number, int Rows, typename Problem>
__global__ void __launch_bounds__(kTileThreads, Rows == 64 ? 3 : 4)
    multiply_tiles_tensor(Problem problem, MatmulShape shape, float* partial) {
  constexpr int kWarpsDown = 2, kWarpsAcross = kTileThreads / kWarp / kWarpsDown;
  constexpr int kHigh = Rows / 16 / kWarpsDown, kWide = kTileColumns / 8 / kWarpsAcross;
  constexpr int kDepth = kTileWords * Number::kPerWord;
  __shared__ uint32_t a_tiles[2][Rows][kTileLine], b_tiles[2][kTileColumns][kTileLine];
  const uint32_t first_row = blockIdx.y * Rows, first_column = blockIdx.x * kTileColumns;
  const auto [split, batch] = divide(blockIdx.z, shape.batches);
  const uint32_t steps = (shape.depth + kDepth - 1) / kDepth;
  const uint32_t step_end = divide(int64_t{steps} * (split + 1), shape.splits).whole;
  uint32_t step = divide(int64_t{steps} * split, shape.splits).whole;

  CarriedWords<Number, Rows> a_carried;
  CarriedWords<Number, kTileColumns> b_carried;
  const auto fetch = [&](uint32_t at_step) {
    const uint32_t first = at_step * kDepth;
    a_carried.fetch(problem.a_along_depth, [&](int k, int row) {
      const bool inside = first + k < shape.depth && first_row + row < shape.rows;
      return inside ? problem.a(batch, first_row + row, first + k) : 0.0f;
    });
    b_carried.fetch(problem.b_along_depth, [&](int k, int column) {
      const bool inside = first + k < shape.depth && first_column + column < shape.columns;
      return inside ? problem.b(batch, first + k, first_column + column) : 0.0f;
    });
  };
  const auto put = [&](int tile) {
    a_carried.put(problem.a_along_depth, a_tiles[tile]);
    b_carried.put(problem.b_along_depth, b_tiles[tile]);
  };

  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int top = warp / kWarpsAcross * kHigh * 16, left = warp % kWarpsAcross * kWide * 8;
  float sum[kHigh][kWide][4] = {};
  fetch(step);
  put(0);
  __syncthreads();
  for (int now = 0; step < step_end; ++step, now ^= 1) {
    const bool more = step + 1 < step_end;
    if (more) fetch(step + 1);
    PCC_UNROLL
    for (int word = 0; word < kTileWords; word += 8) {
      uint32_t a[kHigh][4];
      PCC_UNROLL
      for (int i = 0; i < kHigh; ++i) PCC_UNROLL
      for (int part = 0; part < 4; ++part)
        a[i][part] = a_tiles[now][top + i * 16 + g + part % 2 * 8][word + t + part / 2 * 4];
      PCC_UNROLL
      for (int j = 0; j < kWide; ++j) {
        const uint32_t (&line)[kTileLine] = b_tiles[now][left + j * 8 + g];
        const uint32_t b[2] = {line[word + t], line[word + t + 4]};
        PCC_UNROLL
        for (int i = 0; i < kHigh; ++i) Number::multiply(a[i], b, sum[i][j]);
      }
    }
    if (more) put(now ^ 1);
    __syncthreads();
  }

  PCC_UNROLL
  for (int i = 0; i < kHigh; ++i) PCC_UNROLL
  for (int j = 0; j < kWide; ++j) PCC_UNROLL
  for (int part = 0; part < 4; ++part) {
    const uint32_t row = first_row + top + i * 16 + g + part / 2 * 8;
    const uint32_t column = first_column + left + j * 8 + 2 * t + part % 2;
    if (row >= shape.rows || column >= shape.columns) continue;
    if (partial)
      partial[(int64_t{blockIdx.z} * shape.rows + row) * shape.columns + column] = sum[i][j][part];
    else
      problem.store(batch, row, column, sum[i][j][part]);
  }
}

// scratch: shape.scratch_bytes().
template <typename Problem>
void matmul(const MatmulShape& shape, const Problem& problem, Precision precision, void* scratch) {
  const auto kernel = [&](auto number) {
    using Number = decltype(number);
    return shape.rows <= 32 ? multiply_tiles_tensor<Number, 32, Problem>
                            : multiply_tiles_tensor<Number, 64, Problem>;
  };
  switch (precision) {
    case Precision::tf32:
      return run_tiles(kernel(Tf32()), shape.rows <= 32 ? 32 : 64, shape, problem, scratch);
    case Precision::bf16:
      return run_tiles(kernel(Bf16()), shape.rows <= 32 ? 32 : 64, shape, problem, scratch);
    default:
      return matmul(shape, problem, scratch);
  }
}

}  // namespace pcc::cuda
