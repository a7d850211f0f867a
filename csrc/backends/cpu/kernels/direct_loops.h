// Inner loops of convolutions over plain layout: a vector is eight neighbouring places of an output
// row. For few or odd numbers of channels, where blocks of channels would be padded.
#pragma once

#include <cstdint>

#include "backends/cpu/kernels/plain_conv.h"

namespace pcc::cpu {

struct DirectShape : PlainConvShape {
  int64_t kernel_height, kernel_width;

  int64_t taps() const { return kernel_height * kernel_width; }
};

struct DirectLoops {
  // y of one sample. w packed by pack_forward, in blocks of `block` outputs (4, 5 or 6); bias:
  // null: none.
  void (*forward)(const DirectShape&, int block, const float* x, const float* w, const float* bias,
                  float* y);
  void (*pack_forward)(const DirectShape&, int block, const float* w, float* packed);
  // dx of one sample. w turned to (inputs, outputs, taps) by pack_backward; dy: outputs x
  // (out_height + 2 * (kernel_height - 1)) rows, zeros above and below; folds: kernel_width x
  // height x (out_width + 2 * (kernel_width - 1)) floats, zeros left and right of each row.
  void (*backward_data)(const DirectShape&, const float* dy, const float* w, float* folds,
                        float* dx);
  void (*pack_backward)(const DirectShape&, const float* w, float* turned);
  // Adds the gradient over `samples` samples to dw and, where not null, db.
  void (*backward_weights)(const DirectShape&, int64_t samples, const float* x, const float* dy,
                           float* dw, float* db);
};

// Kernel widths that backward has code for.
inline bool direct_has_width(int64_t width) { return width == 3 || width == 5; }

// The table for the instruction set in use (loops.h).
const DirectLoops& direct_loops();

}  // namespace pcc::cpu
