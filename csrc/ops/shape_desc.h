// Descriptors of ops that move, choose, or add up elements. How to read them: ops/desc.h.
#pragma once

#include <cstdint>
#include <vector>

namespace pcc {

struct ConcatDesc {
  int axis = 1;
};
struct SliceDesc {
  int axis = 1;
};

// x -> the part of it that begins `offset` elements into each axis and has y's shape.
struct CropDesc {
  static constexpr const char* kName = "crop";
  std::vector<int64_t> offset;
};

// x -> y, x's axis order[i] as axis i.
struct PermuteDesc {
  static constexpr const char* kName = "permute";
  std::vector<int> order;
};

// x -> `tiles` copies of it behind each other on that axis.
struct TileDesc {
  static constexpr const char* kName = "tile";
  int axis = 1;
  int64_t tiles = 1;
};

// x (N, rest..), index (M) -> y (M, rest..): sample index[m] of x. An index outside [0, N) raises a
// data error. Only x gets a gradient.
struct BatchReindexDesc {
  static constexpr const char* kName = "batch reindex";
};

// x.., selector (N) -> of each x the samples whose selector is not 0. Throws RowsChanged where they
// are not as many as the outputs have rows.
struct FilterDesc {
  static constexpr const char* kName = "filter";
};

// x (N, C, d1..dk) -> y (N, C * taps, e1..ek): what each position of a convolution sees.
struct Im2colDesc {
  static constexpr const char* kName = "im2col";
  std::vector<int64_t> kernel, stride, pad, dilation;  // one entry per spatial axis
};

// x (N, C, H, W) -> y (N, C, P, Q) by linear interpolation between the corners, which meet. x is
// cut by -pad_begin at its begin and by -pad_end at its end first (pads are 0 or less).
struct InterpDesc {
  static constexpr const char* kName = "interp";
  int64_t pad_begin = 0, pad_end = 0;
};

// x -> y (the axes before `axis`): coeff * the sum of what lies behind, of its magnitudes, or of
// its squares.
struct ReductionDesc {
  static constexpr const char* kName = "reduction";
  enum class Operation { sum, magnitudes, squares } operation = Operation::sum;
  int axis = 0;
  double coeff = 1;
};

// The top_k largest, largest first; of ties the later. axis >= 0: x -> y, which has top_k there:
// their places, or, where `values`, they themselves. axis -1: x (N, D..) -> y (N, 1, top_k): the
// places; where `values`, (N, 2, top_k): places, then values. No gradient.
struct ArgMaxDesc {
  static constexpr const char* kName = "argmax";
  int axis = -1;
  int64_t top_k = 1;
  bool values = false;
};

}  // namespace pcc
