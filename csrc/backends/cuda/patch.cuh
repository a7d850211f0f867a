// How convolutions on the tensor cores cut their images: a block of threads makes a box of the
// output's positions, and holds in shared memory the patch of the input that they see.
#pragma once

#include "backends/cuda/divisor.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

using Direction = TensorConv::Direction;

constexpr int kPositions = 128;  // of a box; eight neighbours of a row make a tile of mma.cuh
constexpr int kBoxThreads = 128;

// Which positions a box has, and where in the patch they begin to see. All boxes are alike; what
// hangs over the edge of the output is left out when it is written.
struct Boxes {
  Direction d;
  int column_bits, row_bits;  // 2^bits columns and rows, and samples for the rest of kPositions
  int across, down, deep;     // boxes
  int reach, step;            // from one element of a patch to the next in the image; from what
                              // one position sees to the next one's, in the patch
  int patch_rows, patch_columns, plane;  // plane: elements of a patch from one channel to the next
  Divisor by_plane, by_columns, by_rows;

  // Channels lie 32 * something + `bank` words apart in shared memory.
  Boxes(const Direction& direction, int side, int bank) : d(direction) {
    int best = 0;
    for (const int bits : {5, 4, 3}) {
      const int padded = (d.out_columns + (1 << bits) - 1) >> bits << bits;
      if (best != 0 && padded >= best) continue;
      best = padded;
      column_bits = bits;
    }
    row_bits = 0;
    while (row_bits + column_bits < kPositionBits && 1 << row_bits < d.out_rows) ++row_bits;
    const auto boxes = [](int size, int bits) { return (size + (1 << bits) - 1) >> bits; };
    across = boxes(d.out_columns, column_bits);
    down = boxes(d.out_rows, row_bits);
    deep = boxes(d.samples, kPositionBits - column_bits - row_bits);
    reach = side == 1 ? d.stride : 1;
    step = side == 1 ? 1 : d.stride;
    patch_rows = ((1 << row_bits) - 1) * step + side;
    patch_columns = ((1 << column_bits) - 1) * step + side;
    const int elements = patch_elements();
    plane = elements + (bank - elements % 32 + 32) % 32;
    by_plane = Divisor(elements);
    by_columns = Divisor(patch_columns);
    by_rows = Divisor(patch_rows);
  }
  int64_t count() const { return int64_t{across} * down * deep; }
  __host__ __device__ int patch_elements() const {
    return (1 << (kPositionBits - column_bits - row_bits)) * patch_rows * patch_columns;
  }

 private:
  static constexpr int kPositionBits = 7;
};
static_assert(kPositions == 1 << 7);

// One position of the output.
struct Place {
  int sample, row, column;
};

struct Box {
  Place first;

  __device__ Box(const Boxes& boxes, uint32_t number) {
    const Quotient line = divide(number, boxes.across), deep = divide(line.whole, boxes.down);
    first = {static_cast<int>(deep.whole) << (7 - boxes.column_bits - boxes.row_bits),
             static_cast<int>(deep.rest) << boxes.row_bits,
             static_cast<int>(line.rest) << boxes.column_bits};
  }
  // The i-th of its positions, counted from its first.
  __device__ static Place position(const Boxes& boxes, int i) {
    const int row = i >> boxes.column_bits;
    return {row >> boxes.row_bits, row & ((1 << boxes.row_bits) - 1),
            i & ((1 << boxes.column_bits) - 1)};
  }
  // Where in a channel of the patch such a position's first tap lies.
  __device__ static int in_patch(const Boxes& boxes, const Place& at) {
    return (at.sample * boxes.patch_rows + at.row * boxes.step) * boxes.patch_columns +
           at.column * boxes.step;
  }
  __device__ Place plus(const Place& at) const {
    return {first.sample + at.sample, first.row + at.row, first.column + at.column};
  }

  // Fills `words` planes of the patch, each word made of the numbers of some channels, from channel
  // `first_channel` on; zeros outside of the image and behind the last channel.
  template <typename Number>
  __device__ void load(const Boxes& boxes, const float* x, int first_channel, int words,
                       uint32_t* patch) const {
    const Direction& d = boxes.d;
    const int top = first.row * d.stride - d.pad, left = first.column * d.stride - d.pad;
    const int area = d.rows * d.columns, elements = words * boxes.patch_elements();
    for (int e = static_cast<int>(threadIdx.x); e < elements; e += kBoxThreads) {
      const Quotient word = boxes.by_plane(static_cast<uint32_t>(e));
      const Quotient line = boxes.by_columns(word.rest), row = boxes.by_rows(line.whole);
      const int sample = first.sample + static_cast<int>(row.whole);
      const int h = top + static_cast<int>(row.rest) * boxes.reach;
      const int w = left + static_cast<int>(line.rest) * boxes.reach;
      const int channel = first_channel + static_cast<int>(word.whole) * Number::kPerWord;
      const bool inside = sample < d.samples && h >= 0 && h < d.rows && w >= 0 && w < d.columns;
      const float* const from = x + (sample * d.channels + channel) * area + h * d.columns + w;
      float numbers[Number::kPerWord];
      for (int i = 0; i < Number::kPerWord; ++i)
        numbers[i] = inside && channel + i < d.channels ? from[i * area] : 0.0f;
      patch[static_cast<int>(word.whole) * boxes.plane + static_cast<int>(word.rest)] =
          Number::pack(numbers);
    }
  }
};

// Where in the patch a tap lies from a position's first one.
template <int kSide>
__device__ __forceinline__ int tap_shift(const Boxes& boxes, int tap) {
  return tap / kSide * boxes.patch_columns + tap % kSide;
}

}  // namespace pcc::cuda
