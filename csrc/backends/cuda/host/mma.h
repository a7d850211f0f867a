// mma.cuh on the host: the last lane of a warp to come computes for all.
#pragma once

#include "backends/cuda/host/dialect.h"

namespace pcc::cuda {

namespace host {

struct MmaLane {
  const uint32_t *a, *b;
  float* c;
};

// Once all lanes have come: number(word, i) is the i-th of a word's numbers.
template <typename Number>
void mma(void* const* lanes, unsigned) {
  const auto lane = [&](int g, int t) -> const MmaLane& {
    return *static_cast<const MmaLane*>(lanes[4 * g + t]);
  };
  float a[16][8 * Number::kPerWord], b[8 * Number::kPerWord][8];
  for (int g = 0; g < 8; ++g)
    for (int word = 0; word < 8; ++word)
      for (int i = 0; i < Number::kPerWord; ++i) {
        const MmaLane& from = lane(g, word % 4);
        const int k = word * Number::kPerWord + i;
        a[g][k] = Number::number(from.a[word / 4 * 2], i);
        a[g + 8][k] = Number::number(from.a[word / 4 * 2 + 1], i);
        b[k][g] = Number::number(from.b[word / 4], i);
      }
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column) {
      float& c = lane(row % 8, column / 2).c[row / 8 * 2 + column % 2];
      for (int k = 0; k < 8 * Number::kPerWord; ++k) c += a[row][k] * b[k][column];
    }
}

// The rows that the lanes bring, and what each takes of the four matrices.
struct MatrixLane {
  const uint32_t* row;
  uint32_t* to;
};
template <bool kTransposed>
void load(void* const* lanes, unsigned) {
  const auto row = [&](int matrix, int r) {
    return static_cast<const MatrixLane*>(lanes[8 * matrix + r])->row;
  };
  const auto half = [&](int matrix, int r, int column) {
    return row(matrix, r)[column / 2] >> (column % 2 * 16) & 0xffffu;
  };
  for (int lane = 0; lane < 32; ++lane)
    for (int matrix = 0; matrix < 4; ++matrix) {
      const int g = lane / 4, t = lane % 4;
      static_cast<const MatrixLane*>(lanes[lane])->to[matrix] =
          kTransposed ? half(matrix, 2 * t, g) | half(matrix, 2 * t + 1, g) << 16
                      : row(matrix, g)[t];
    }
}

}  // namespace host

inline void load_matrices(uint32_t (&to)[4], const uint32_t* row,
                          std::source_location where = std::source_location::current()) {
  host::MatrixLane mine{row, to};
  host::collective(~0u, &mine, host::load<false>, where);
}
inline void load_transposed(uint32_t (&to)[4], const uint32_t* row,
                            std::source_location where = std::source_location::current()) {
  host::MatrixLane mine{row, to};
  host::collective(~0u, &mine, host::load<true>, where);
}

struct Tf32 {
  using Stored = float;
  static constexpr int kPerWord = 1;
  static uint32_t pack(const float (&x)[1]) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[0]);
    return isfinite(x[0]) ? (bits + 0x1000u) & ~0x1fffu : bits;  // to nearest, ties away from 0
  }
  static void unpack(uint32_t word, float (&x)[1]) { x[0] = std::bit_cast<float>(word); }
  static uint32_t rectified(const float (&x)[1]) {
    return std::bit_cast<uint32_t>(x[0] < 0 ? 0.0f : x[0]);
  }
  static void round(uint32_t (&words)[4]) {
    for (uint32_t& word : words) word = pack({std::bit_cast<float>(word)});
  }
  static float number(uint32_t word, int) { return std::bit_cast<float>(word & ~0x1fffu); }
  static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4],
                       std::source_location where = std::source_location::current()) {
    host::MmaLane mine{a, b, c};
    host::collective(~0u, &mine, host::mma<Tf32>, where);
  }
};

struct Bf16 {
  using Stored = BFloat16;
  static constexpr int kPerWord = 2;
  static uint32_t pack(const float (&x)[2]) {
    return BFloat16(x[0]).bits | uint32_t{BFloat16(x[1]).bits} << 16;
  }
  static void unpack(uint32_t word, float (&x)[2]) {
    x[0] = std::bit_cast<float>(word << 16);
    x[1] = std::bit_cast<float>(word & 0xffff0000u);
  }
  static uint32_t rectified(const float (&x)[2]) {
    return pack({x[0] < 0 ? 0.0f : x[0], x[1] < 0 ? 0.0f : x[1]});
  }
  static void round(uint32_t (&)[4]) {}
  static float number(uint32_t word, int i) {
    return std::bit_cast<float>(i == 0 ? word << 16 : word & 0xffff0000u);
  }
  static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4],
                       std::source_location where = std::source_location::current()) {
    host::MmaLane mine{a, b, c};
    host::collective(~0u, &mine, host::mma<Bf16>, where);
  }
};

}  // namespace pcc::cuda
