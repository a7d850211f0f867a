// Inner loops of 5x5 convolutions by Winograd's F(4, 5) along the rows: four neighbouring results
// for 8 products per row of the kernel instead of 20 (Lavin and Gray, "Fast algorithms for
// convolutional neural networks", 2016, in one dimension; rounding about twice that of direct
// sums). Plain layout, stride 1, no padding, output rows of whole vectors. A tile is four
// neighbouring results of a row; it reads eight of x, and its eight products are the lanes of a
// vector. Letters: V transformed inputs, D transformed output gradients, U transformed weights.
#pragma once

#include <cstdint>

#include "backends/cpu/kernels/plain_conv.h"

namespace pcc::cpu {

struct RowShape : PlainConvShape {
  static constexpr int64_t kTaps = 5, kPoints = 8, kTile = 4, kBlock = 3;

  int64_t tiles() const { return out_width / kTile; }  // of a row
  int64_t v_count() const { return inputs * height * tiles() * kPoints; }
  // Rows of zeros lie above and below D.
  int64_t d_count() const { return outputs * (out_height + 2 * (kTaps - 1)) * tiles() * kPoints; }
  int64_t u_count() const { return outputs * inputs * kTaps * kPoints; }
};

struct RowLoops {
  // U from w (outputs, inputs, 5, 5). For forward in blocks of kBlock outputs: (block, input, row
  // of the kernel, output of the block, point); for backward in blocks of inputs, with the roles of
  // inputs and outputs exchanged.
  void (*pack)(const RowShape&, bool for_forward, const float* w, float* u);
  // y of one sample. v: v_count; bias: null: none.
  void (*forward)(const RowShape&, const float* x, const float* u, const float* bias, float* v,
                  float* y);
  // D of one sample, and, where db is not null, the sums of dy added to it. The rows of zeros must
  // be there and stay.
  void (*transform_gradient)(const RowShape&, const float* dy, float* d, float* db);
  // dx of one sample. u packed for backward; v: v_count.
  void (*backward_data)(const RowShape&, const float* d, const float* u, float* v, float* dx);
  // Adds one sample's transformed gradient of the weights to du (outputs, inputs, 5, point). Not
  // too many samples in a row: the sums of a tile's points cancel, and rounding shows. v: v_count.
  void (*backward_weights)(const RowShape&, const float* x, const float* d, float* v, float* du);
  // dw = or, with `add`, += the gradient from the sum of `parts` du's that lie `stride` floats
  // apart, for the outputs [begin, end).
  void (*unpack)(const RowShape&, int64_t begin, int64_t end, const float* du, int64_t parts,
                 int64_t stride, bool add, float* dw);
};

// The table for the instruction set in use (loops.h).
const RowLoops& row_loops();

}  // namespace pcc::cpu
