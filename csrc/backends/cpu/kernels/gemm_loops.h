// Inner loops of matrix products over rows and columns that lie in any order.
#pragma once

#include <cstdint>

namespace pcc::cpu {

// c = a b, or c += a b, with a: m x depth, b: depth x n, c: m x n. One of a's two steps is 1, and
// one of b's.
struct GemmShape {
  int64_t m, n, depth;
  int64_t a_row, a_step;     // floats between rows of a, between its columns
  int64_t b_step, b_column;  // between rows of b, between its columns
  int64_t c_row;             // between rows of c
  bool add = false;          // to what c holds
  // b as GemmLoops::pack put it, for products of more than two rows: `multiply` reads this instead.
  const float* packed = nullptr;
};

struct GemmLoops {
  // The rows [row, row_end) of the columns [column, column_end) of c; column is a multiple of
  // `panel`. bias: added to each row, or null; not with `add`. The order of a sum's terms is the
  // same wherever c is cut.
  void (*multiply)(const GemmShape&, const float* a, const float* b, const float* bias, float* c,
                   int64_t row, int64_t row_end, int64_t column, int64_t column_end);
  // Puts the columns [column, column_end) of b in the order of a product of that shape, which is
  // worth it where many products share them; packed: b's floats, its columns rounded up to whole
  // panels.
  void (*pack)(const GemmShape&, const float* b, float* packed, int64_t column, int64_t column_end);
  int64_t panel, rows;  // columns and rows that are worked on at once
};

// The table for the instruction set in use (loops.h).
const GemmLoops& gemm_loops();

// The whole product, spread over threads.
void multiply_parallel(const GemmLoops& loops, const GemmShape& shape, const float* a,
                       const float* b, const float* bias, float* c);
// Floats of b packed, and the packing, spread over threads.
int64_t packed_floats(const GemmLoops& loops, const GemmShape& shape);
void pack_parallel(const GemmLoops& loops, const GemmShape& shape, const float* b, float* packed);

}  // namespace pcc::cpu
