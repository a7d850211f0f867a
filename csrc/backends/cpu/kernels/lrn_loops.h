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

// Channels in blocks of `lanes`, side by side for each pixel; `stride` floats from block to block.
struct LrnBlocks {
  int64_t channels, lanes, stride;
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
  // The same, of channels in blocks. scratch: lrn_blocks_scratch floats.
  void (*across_blocks)(const LrnRates&, const LrnBlocks&, int64_t count, const float* x, float* y,
                        float* s, float* scratch);
  void (*across_blocks_backward)(const LrnRates&, const LrnBlocks&, int64_t count, const float* x,
                                 const float* s, const float* dy, float* dx, float* scratch);
};

inline constexpr int64_t kLrnTile = 64;

// Channels of a pixel and what its windows reach beyond them.
inline constexpr int64_t lrn_row(const LrnRates& rates, const LrnBlocks& blocks) {
  return blocks.channels + rates.size - 1;
}
// Pixels at once that the first cache holds with what is made of them.
inline constexpr int64_t lrn_blocks_tile(const LrnRates& rates, const LrnBlocks& blocks) {
  const int64_t row = lrn_row(rates, blocks);
  return row >= 2048 ? 1 : row < 2048 / kLrnTile ? kLrnTile : 2048 / row;
}
inline constexpr int64_t lrn_blocks_scratch(const LrnRates& rates, const LrnBlocks& blocks) {
  return 3 * lrn_blocks_tile(rates, blocks) * lrn_row(rates, blocks) + rates.size;
}

}  // namespace pcc::cpu
