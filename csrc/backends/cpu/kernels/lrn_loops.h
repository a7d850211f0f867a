// Inner loops of local response normalisation. r(s) = s^-beta; s is what the sum of squares makes
// of a value's surroundings.
#pragma once

#include <cstdint>

namespace pcc::cpu {

struct LrnRates {
  int64_t size;   // of the window, odd within a channel
  float k, rate;  // s = k + rate * sum of squares
  float beta;
  float back;  // 2 * rate * beta
};

struct LrnLoops {
  // Within channels: one plane of (rows, columns, lanes), lanes being channels side by side.
  // scratch: 2 planes. s: null: not kept.
  void (*within)(const LrnRates&, int64_t rows, int64_t columns, int64_t lanes, const float* x,
                 float* y, float* s, float* scratch);
  void (*within_backward)(const LrnRates&, int64_t rows, int64_t columns, int64_t lanes,
                          const float* x, const float* s, const float* dy, float* dx,
                          float* scratch);
  // Across channels: `count` (at most kLrnTile) neighbouring pixels of one sample, channels `area`
  // apart.
  void (*across)(const LrnRates&, int64_t channels, int64_t area, int64_t count, const float* x,
                 float* y, float* s);
  // scratch: channels * kLrnTile.
  void (*across_backward)(const LrnRates&, int64_t channels, int64_t area, int64_t count,
                          const float* x, const float* s, const float* dy, float* dx,
                          float* scratch);
};

inline constexpr int64_t kLrnTile = 64;

}  // namespace pcc::cpu
