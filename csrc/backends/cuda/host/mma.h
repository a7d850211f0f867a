// mma.cuh on the host: the last lane of a warp to come computes for all.
#pragma once

#include "backends/cuda/host/dialect.h"
#include "core/bfloat16.h"

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

}  // namespace host

struct Tf32 {
  static constexpr int kPerWord = 1;
  static uint32_t pack(const float (&x)[1]) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[0]);
    return isfinite(x[0]) ? (bits + 0x1000u) & ~0x1fffu : bits;  // to nearest, ties away from 0
  }
  static float number(uint32_t word, int) { return std::bit_cast<float>(word & ~0x1fffu); }
  static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4],
                       std::source_location where = std::source_location::current()) {
    host::MmaLane mine{a, b, c};
    host::collective(~0u, &mine, host::mma<Tf32>, where);
  }
};

struct Bf16 {
  static constexpr int kPerWord = 2;
  static uint32_t pack(const float (&x)[2]) {
    return BFloat16(x[0]).bits | uint32_t{BFloat16(x[1]).bits} << 16;
  }
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
