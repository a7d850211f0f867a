// Ops of the CUDA backend that move, choose and repeat elements, against the plain loops.
#include <cmath>

#include "kernel_cases.h"

using namespace pcc;

namespace {

void check(const OpCase& op) { check_kernels(op, 2e-6, cuda_backend()); }

OpCase moved(OpDesc desc, const Shape& x, const Shape& y) {
  OpCase op;
  op.desc = std::move(desc);
  op.in = {x};
  op.out = {y};
  return op;
}

// x, and numbers below `end` -> y.
OpCase chosen(OpDesc desc, const Shape& x, int64_t count, int64_t end, const Shape& y) {
  OpCase op = moved(std::move(desc), x, y);
  op.in.push_back({count});
  op.in_values = {{}, label_values(count, end, 6)};
  op.want_din = {true, false};
  return op;
}

OpCase embed_case(const Shape& numbers, int64_t rows, int64_t width, bool bias) {
  Shape y = numbers;
  y.push_back(width);
  OpCase op = moved(EmbedDesc{bias}, numbers, y);
  op.params = {{rows, width}};
  if (bias) op.params.push_back({width});
  op.in_values = {label_values(numbers.count(), rows, 8)};
  op.want_din = {false};
  return op;
}

}  // namespace

TEST(crops) {
  check(moved(CropDesc{{0, 0, 1, 2}}, {2, 3, 6, 7}, {2, 3, 4, 4}));
  check(moved(CropDesc{{1, 2, 0}}, {3, 5, 4}, {2, 1, 4}));
  check(moved(CropDesc{{0, 0}}, {3, 5}, {3, 5}));
}

TEST(orders_of_axes) {
  check(moved(PermuteDesc{{0, 2, 3, 1}}, {2, 5, 3, 4}, {2, 3, 4, 5}));
  check(moved(PermuteDesc{{3, 1, 0, 2}}, {2, 5, 3, 4}, {4, 5, 2, 3}));
  check(moved(PermuteDesc{{1, 0}}, {70, 33}, {33, 70}));
  check(moved(PermuteDesc{{0, 2, 1, 3}}, {2, 4, 6, 50}, {2, 6, 4, 50}));
  check(moved(PermuteDesc{{2, 0, 1}}, {1, 4, 1}, {1, 1, 4}));
}

TEST(tiles) {
  check(moved(TileDesc{1, 3}, {2, 3, 4}, {2, 9, 4}));
  check(moved(TileDesc{0, 2}, {2, 3}, {4, 3}));
  check(moved(TileDesc{2, 5}, {2, 3, 1}, {2, 3, 5}));
}

TEST(what_a_convolution_sees) {
  check(moved(Im2colDesc{{3, 2}, {2, 1}, {1, 0}, {1, 2}}, {2, 3, 7, 6}, {2, 18, 4, 4}));
  check(moved(Im2colDesc{{2, 3, 2}, {1, 2, 1}, {0, 1, 1}, {1, 1, 1}}, {1, 2, 3, 5, 4},
              {1, 24, 2, 3, 5}));
  check(moved(Im2colDesc{{3}, {1}, {1}, {1}}, {2, 2, 40}, {2, 6, 40}));
}

TEST(samples_by_number) {
  check(chosen(BatchReindexDesc{}, {4, 3, 2}, 7, 4, {7, 3, 2}));
  check(chosen(BatchReindexDesc{}, {90, 2}, 100, 2, {100, 2}));
  check(chosen(BatchReindexDesc{}, {5, 60}, 2, 5, {2, 60}));
}

TEST(rows_of_a_table) {
  for (const bool bias : {false, true}) {
    check(embed_case({7}, 5, 3, bias));
    check(embed_case({9, 10}, 4, 40, bias));
  }
}

TEST(a_parameter_as_a_value) {
  OpCase op;
  op.desc = ParameterDesc{};
  op.params = op.out = {{3, 50}};
  check(op);
}

TEST(a_number_of_no_row_is_named) {
  OpCase embed = embed_case({3}, 5, 2, false);
  OpCase reindex = chosen(BatchReindexDesc{}, {5, 2}, 3, 5, {3, 2});
  for (const double number : {5.0, -1.0, 1e20, std::nan("")}) {
    embed.in_values[0] = reindex.in_values[1] = {0, number, 9};
    CHECK_THROWS_WITH("index 1 is ", run_op(embed, cuda_backend(), DType::f32));
    CHECK_THROWS_WITH("index 1 is ", run_op(reindex, cuda_backend(), DType::f32));
  }
}
