// Inner loops of pooling, one image plane (or block of channels) at a time; compiled once per
// instruction set.
#pragma once

#include <cstdint>

namespace pcc::cpu {

// Windows of one axis: window i covers [begin[i], end[i]) of the picture, after clipping; begin -
// start[i] of its rows were cut off.
struct PoolAxis {
  const int32_t *begin, *end, *start;
  int64_t size, windows;
};

// A plane of rows.size x columns.size places with `lanes` neighbouring floats each, `stride` floats
// from place to place. divisor: of window (i, j) at i * columns.windows + j. kernel: columns of a
// whole window.
struct PoolPlane {
  PoolAxis rows, columns;
  int64_t lanes, stride, kernel;
  const float* divisor;
};

// index: per output element the place of its maximum in the window, row * kernel + column.
template <typename Index>
struct MaxLoops {
  void (*forward)(const PoolPlane&, const float* x, float* y,
                  Index* index);  // index null: not wanted
  void (*backward)(const PoolPlane&, const float* dy, const Index* index, float* dx);
};

struct PoolLoops {
  MaxLoops<uint8_t> small;  // windows of up to 256 places
  MaxLoops<int32_t> large;
  // Windows of 2x2 side by side over planes of single floats with an even number of rows and
  // columns; index: row * 2 + column.
  void (*halve)(int64_t rows, int64_t columns, const float* x, float* y, uint8_t* index);
  void (*halve_backward)(int64_t rows, int64_t columns, const float* dy, const uint8_t* index,
                         float* dx);
  void (*average)(const PoolPlane&, const float* x, float* y);
  void (*average_backward)(const PoolPlane&, const float* dy, float* dx);
};

// The table for the instruction set in use (loops.h).
const PoolLoops& pool_loops();

}  // namespace pcc::cpu
