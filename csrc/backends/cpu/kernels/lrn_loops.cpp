// s^-0.75, the only power that nets use, is 1 / (sqrt(s) * sqrt(sqrt(s))): three vector
// instructions instead of a call per number.
#include "backends/cpu/kernels/lrn_loops.h"

namespace pcc::cpu::PCC_ISA {

namespace {

void powers(int64_t count, float beta, const float* s, float* r) {
  if (beta == 0.75f) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      const float root = __builtin_sqrtf(s[i]);
      r[i] = 1 / (root * __builtin_sqrtf(root));
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) r[i] = __builtin_powf(s[i], -beta);
}

void add(int64_t count, const float* x, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] += x[i];
}

void clear(int64_t count, float* x) {
  for (int64_t i = 0; i < count; ++i) x[i] = 0;
}

// to = sums of `from` over size x size windows, clipped; beside: another plane. First along the
// rows, then down the columns.
void box(int64_t size, int64_t rows, int64_t columns, int64_t lanes, const float* from,
         float* beside, float* to) {
  const int64_t width = columns * lanes, reach = size / 2;
  clear(rows * width, beside);
  clear(rows * width, to);
  for (int64_t h = 0; h < rows; ++h)
    for (int64_t d = -reach; d <= reach; ++d) {
      const int64_t far = (d < 0 ? -d : d) * lanes;
      if (far >= width) continue;
      add(width - far, from + h * width + (d > 0 ? far : 0),
          beside + h * width + (d < 0 ? far : 0));
    }
  for (int64_t h = 0; h < rows; ++h)
    for (int64_t d = -reach; d <= reach; ++d)
      if (h + d >= 0 && h + d < rows) add(width, beside + (h + d) * width, to + h * width);
}

void within(const LrnRates& rates, int64_t rows, int64_t columns, int64_t lanes, const float* x,
            float* y, float* s, float* scratch) {
  const int64_t count = rows * columns * lanes;
  float *const squares = scratch, *const beside = scratch + count;
  for (int64_t i = 0; i < count; ++i) squares[i] = x[i] * x[i];
  box(rates.size, rows, columns, lanes, squares, beside, y);
  float* const kept = s ? s : squares;
  for (int64_t i = 0; i < count; ++i) kept[i] = rates.k + rates.rate * y[i];
  powers(count, rates.beta, kept, y);
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] *= x[i];
}

void within_backward(const LrnRates& rates, int64_t rows, int64_t columns, int64_t lanes,
                     const float* x, const float* s, const float* dy, float* dx, float* scratch) {
  const int64_t count = rows * columns * lanes;
  float *const owed = scratch, *const beside = scratch + count;
  powers(count, rates.beta, s, owed);
  for (int64_t i = 0; i < count; ++i) owed[i] *= dy[i] * x[i] / s[i];
  box(rates.size, rows, columns, lanes, owed, beside, dx);
  powers(count, rates.beta, s, owed);
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * owed[i] - rates.back * x[i] * dx[i];
}

void across(const LrnRates& rates, int64_t channels, int64_t area, int64_t count, const float* x,
            float* y, float* s) {
  const int64_t before = (rates.size - 1) / 2;
  float sum[kLrnTile], power[kLrnTile];
  for (int64_t c = 0; c < channels; ++c) {
    const int64_t first = c < before ? 0 : c - before, reach = c - before + rates.size;
    const int64_t end = reach < channels ? reach : channels;
    clear(count, sum);
    for (int64_t d = first; d < end; ++d)
      for (int64_t i = 0; i < count; ++i) sum[i] += x[d * area + i] * x[d * area + i];
    for (int64_t i = 0; i < count; ++i) sum[i] = rates.k + rates.rate * sum[i];
    if (s)
      for (int64_t i = 0; i < count; ++i) s[c * area + i] = sum[i];
    powers(count, rates.beta, sum, power);
    for (int64_t i = 0; i < count; ++i) y[c * area + i] = x[c * area + i] * power[i];
  }
}

void across_backward(const LrnRates& rates, int64_t channels, int64_t area, int64_t count,
                     const float* x, const float* s, const float* dy, float* dx, float* scratch) {
  const int64_t before = (rates.size - 1) / 2, after = rates.size - 1 - before;
  float sum[kLrnTile], power[kLrnTile];
  for (int64_t c = 0; c < channels; ++c) {
    float* const owed = scratch + c * kLrnTile;
    const int64_t at = c * area;
    powers(count, rates.beta, s + at, owed);
    for (int64_t i = 0; i < count; ++i) owed[i] *= dy[at + i] * x[at + i] / s[at + i];
  }
  for (int64_t c = 0; c < channels; ++c) {  // the windows of channels d that hold c
    const int64_t first = c < after ? 0 : c - after, at = c * area;
    const int64_t end = c + before + 1 < channels ? c + before + 1 : channels;
    clear(count, sum);
    for (int64_t d = first; d < end; ++d) add(count, scratch + d * kLrnTile, sum);
    powers(count, rates.beta, s + at, power);
    for (int64_t i = 0; i < count; ++i)
      dx[at + i] = dy[at + i] * power[i] - rates.back * x[at + i] * sum[i];
  }
}

// body(float of the picture, float of the row): for each channel of `count` pixels, whose rows of
// `row` floats follow each other.
template <int kLanes, typename Body>
inline void for_lanes(const LrnBlocks& b, int64_t count, int64_t row, Body body) {
  const int64_t lanes = kLanes > 0 ? kLanes : b.lanes;
  for (int64_t pixel = 0; pixel < count; ++pixel)
    for (int64_t c = 0; c < b.channels; c += lanes) {
      const int64_t at = c / lanes * b.stride + pixel * lanes, to = pixel * row + c;
#pragma GCC ivdep
      for (int64_t lane = 0; lane < lanes; ++lane) body(at + lane, to + lane);
    }
}
template <typename Body>
inline void for_channels(const LrnBlocks& b, int64_t count, int64_t row, Body body) {
  if (b.lanes == 16)
    for_lanes<16>(b, count, row, body);
  else if (b.lanes == 8)
    for_lanes<8>(b, count, row, body);
  else
    for_lanes<0>(b, count, row, body);
}

// sums[i] = from[i] + .. + from[i + size - 1]. What comes of windows over two rows is not used.
void slide(int64_t size, int64_t count, const float* from, float* sums) {
  clear(count, sums);
  for (int64_t d = 0; d < size; ++d) add(count, from + d, sums);
}

void across_blocks(const LrnRates& rates, const LrnBlocks& blocks, int64_t count, const float* x,
                   float* y, float* s, float* scratch) {
  const int64_t row = lrn_row(rates, blocks), all = count * row, before = (rates.size - 1) / 2;
  float *const sums = scratch, *const power = sums + all, *const squares = power + all;
  clear(all + rates.size, squares);
  for_channels(blocks, count, row,
               [=](int64_t at, int64_t to) { squares[before + to] = x[at] * x[at]; });
  slide(rates.size, all, squares, sums);
  for (int64_t i = 0; i < all; ++i) sums[i] = rates.k + rates.rate * sums[i];
  powers(all, rates.beta, sums, power);
  for_channels(blocks, count, row, [=](int64_t at, int64_t to) { y[at] = x[at] * power[to]; });
  if (s) for_channels(blocks, count, row, [=](int64_t at, int64_t to) { s[at] = sums[to]; });
}

void across_blocks_backward(const LrnRates& rates, const LrnBlocks& blocks, int64_t count,
                            const float* x, const float* s, const float* dy, float* dx,
                            float* scratch) {
  const int64_t row = lrn_row(rates, blocks), all = count * row;
  const int64_t after = rates.size - 1 - (rates.size - 1) / 2;
  const float back = rates.back;
  float *const sums = scratch, *const power = sums + all, *const owed = power + all;
  for (int64_t i = 0; i < all; ++i) sums[i] = 1;
  clear(all + rates.size, owed);
  for_channels(blocks, count, row, [=](int64_t at, int64_t to) { sums[to] = s[at]; });
  powers(all, rates.beta, sums, power);
  for_channels(blocks, count, row, [=](int64_t at, int64_t to) {
    owed[after + to] = power[to] * (dy[at] * x[at] / sums[to]);
  });
  slide(rates.size, all, owed, sums);  // over the windows that hold a channel
  for_channels(blocks, count, row, [=](int64_t at, int64_t to) {
    dx[at] = dy[at] * power[to] - back * x[at] * sums[to];
  });
}

}  // namespace

extern const LrnLoops lrn_loops;
const LrnLoops lrn_loops = {within,          within_backward, across,
                            across_backward, across_blocks,   across_blocks_backward};

}  // namespace pcc::cpu::PCC_ISA
