// Concat, Slice, reorders and sums on the reference backend.
#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::DType;
using pcc::Layout;
using pcc::OpCase;
using pcc::OpResult;
using pcc::Shape;
using pcc::Values;

OpCase concat(int axis, std::vector<Shape> parts) {
  OpCase op;
  op.desc = pcc::ConcatDesc{axis};
  Shape whole = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) whole[axis] += parts[i][axis];
  op.in = std::move(parts);
  op.out = {whole};
  return op;
}

OpCase slice(int axis, std::vector<Shape> parts) {
  OpCase op = concat(axis, std::move(parts));
  std::swap(op.in, op.out);
  op.desc = pcc::SliceDesc{axis};
  return op;
}

TEST(concat_and_slice_gradients) {
  for (const auto& make : {concat, slice}) {
    check_gradient(make(1, {{2, 3, 2, 2}, {2, 1, 2, 2}, {2, 4, 2, 2}}));
    check_gradient(make(0, {{1, 3}, {2, 3}}));
    check_gradient(make(3, {{2, 2, 2, 3}, {2, 2, 2, 1}}));
    check_gradient(make(0, {{4}}));
    compare_with_reference(make(1, {{2, 8, 3, 3}, {2, 16, 3, 3}}), "reference", 0);
  }
}

TEST(concat_by_hand) {
  OpCase op = concat(1, {{2, 1}, {2, 2}});
  op.in_values = {{1, 2}, {3, 4, 5, 6}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{1, 3, 4, 2, 5, 6}));
}

TEST(slice_takes_parts_without_a_gradient_as_zero) {
  OpCase op = slice(1, {{1, 2}, {1, 1}, {1, 2}});
  op.dout_values = {{1, 2}, {3}, {4, 5}};
  op.dout_parts = {1, 0, 1};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.din[0], (Values{1, 2, 0, 4, 5}));
}

TEST(reorders_between_all_layouts) {
  const std::vector<Layout> layouts = {Layout::plain, Layout::nhwc, Layout::c8, Layout::c16};
  for (const Shape& shape : {Shape{2, 32, 3, 5}, Shape{1, 16, 1, 1}, Shape{3, 48, 7, 2}})
    for (const Layout from : layouts)
      for (const Layout to : layouts)
        for (const DType dtype : {DType::f32, DType::f64}) {
          OpCase op;
          op.desc = pcc::ReorderDesc{};
          op.in = op.out = {shape};
          op.in_values = {pcc::random_values(shape.count(), 2)};
          op.dout_values = {pcc::random_values(shape.count(), 3)};
          const OpResult got = run_op(op, "reference", dtype, pcc::LayoutChoice{{from}, {to}});
          CHECK(got.out[0] == op.in_values[0]);
          CHECK(got.din[0] == op.dout_values[0]);
        }
}

TEST(blocks_put_eight_channels_side_by_side) {
  const Shape shape{2, 16, 2, 3};
  // (n 1, c 11, h 1, w 2)
  const int64_t index = ((1 * 16 + 11) * 2 + 1) * 3 + 2;
  CHECK_EQ(pcc::offset_in_layout(shape, Layout::c8, index),
           (((1 * 2 + 1) * 2 + 1) * 3 + 2) * 8 + 3);
  CHECK_EQ(pcc::offset_in_layout(shape, Layout::c16, index), ((1 * 2 + 1) * 3 + 2) * 16 + 11);
  CHECK_EQ(pcc::offset_in_layout(shape, Layout::nhwc, index), ((1 * 2 + 1) * 3 + 2) * 16 + 11);
}

TEST(a_copy_of_any_shape) {
  OpCase op;
  op.desc = pcc::ReorderDesc{};
  op.in = op.out = {{3, 5, 2}};
  check_gradient(op);
}

TEST(sums_of_parts_in_any_layout) {
  OpCase op;
  op.desc = pcc::SumDesc{};
  op.in = {{2, 8, 2, 2}, {2, 8, 2, 2}, {2, 8, 2, 2}};
  op.out = {{2, 8, 2, 2}};
  check_gradient(op);
  const OpResult plain = run_op(op, "reference", DType::f32);
  const OpResult blocked =
      run_op(op, "reference", DType::f32,
             pcc::LayoutChoice{{Layout::c8, Layout::c8, Layout::c8}, {Layout::c8}});
  CHECK(plain.out == blocked.out);
}

TEST(other_ops_refuse_other_layouts) {
  OpCase op = concat(1, {{1, 8, 2, 2}, {1, 8, 2, 2}});
  CHECK_THROWS_WITH("plain layouts only",
                    run_op(op, "reference", DType::f32,
                           pcc::LayoutChoice{{Layout::c8, Layout::c8}, {Layout::c8}}));
}

}  // namespace
