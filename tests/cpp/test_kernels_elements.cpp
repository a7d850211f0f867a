// ReLU, dropout, Eltwise, Concat, Slice and sums of the CPU backend against the plain loops.
#include "kernel_cases.h"

using namespace pcc;

namespace {

constexpr double kTolerance = 1e-6;  // a few roundings

OpCase elementwise(OpDesc desc, const Shape& shape, size_t inputs = 1) {
  OpCase op;
  op.desc = std::move(desc);
  op.in.assign(inputs, shape);
  op.out = {shape};
  return op;
}

const std::vector<Shape> kShapes = {{2, 16, 5, 3}, {3, 5, 7, 1}, {7, 10}, {1, 16, 37, 31}};

OpCase joined(OpDesc desc, int axis, const std::vector<int64_t>& sizes, Shape whole, bool slice) {
  OpCase op;
  op.desc = std::move(desc);
  std::vector<Shape> parts;
  whole[axis] = 0;
  for (const int64_t size : sizes) {
    parts.push_back(whole);
    parts.back()[axis] = size;
  }
  for (const int64_t size : sizes) whole[axis] += size;
  op.in = slice ? std::vector<Shape>{whole} : parts;
  op.out = slice ? parts : std::vector<Shape>{whole};
  return op;
}

}  // namespace

TEST(relu) {
  for (const double slope : {0.0, 0.1, -0.5})
    for (const Shape& shape : kShapes) {
      PointwiseDesc desc;
      desc.a = slope;
      OpCase op = elementwise(desc, shape);
      op.in_values = {nonzero_values(shape.count(), 4)};
      check_kernels(op, kTolerance);
      for (const int parts : {3, 4}) {
        op.dout_parts = {parts};
        check_kernels(op, kTolerance);
      }
    }
}

TEST(dropout_drops_the_same_in_every_layout) {
  for (const double ratio : {0.2, 0.5})
    for (const Shape& shape : kShapes)
      check_kernels(elementwise(DropoutDesc{ratio}, shape), kTolerance);
}

TEST(sums) {
  for (const Shape& shape : kShapes)
    for (const size_t inputs : {2, 5}) {
      EltwiseDesc desc;
      check_kernels(elementwise(desc, shape, inputs), kTolerance);
      desc.coeff = {1, -0.5, 2, 1, 0};
      desc.coeff.resize(inputs);
      check_kernels(elementwise(desc, shape, inputs), kTolerance);
    }
}

TEST(products) {
  for (const bool stable : {false, true})
    for (const size_t inputs : {2, 3}) {
      EltwiseDesc desc;
      desc.operation = EltwiseDesc::Operation::product;
      desc.stable_product = stable;
      for (const Shape& shape : kShapes) {
        OpCase op = elementwise(desc, shape, inputs);
        for (size_t k = 0; k < inputs; ++k)
          op.in_values.push_back(nonzero_values(shape.count(), 10 + k, 0.2));
        check_kernels(op, 3e-6);
      }
    }
}

TEST(maxima) {
  for (const size_t inputs : {2, 4}) {
    EltwiseDesc desc;
    desc.operation = EltwiseDesc::Operation::max;
    for (const Shape& shape : kShapes) {
      OpCase op = elementwise(desc, shape, inputs);
      check_kernels(op, kTolerance);
      for (size_t k = 0; k < inputs; ++k)  // with ties
        op.in_values.push_back(label_values(shape.count(), 3, 20 + k));
      check_kernels(op, kTolerance);
    }
  }
}

TEST(sums_of_gradient_parts) {
  for (const size_t inputs : {1, 2, 3, 7}) {
    OpCase op = elementwise(SumDesc{}, Shape{50021}, inputs);
    op.want_din.assign(inputs, false);
    check_kernels(op, kTolerance);
  }
}

TEST(concat) {
  check_kernels(joined(ConcatDesc{1}, 1, {8, 16}, {3, 0, 4, 5}, false), kTolerance);
  check_kernels(joined(ConcatDesc{1}, 1, {16, 12, 12}, {3, 0, 4, 5}, false), kTolerance);
  check_kernels(joined(ConcatDesc{0}, 0, {2, 3}, {0, 8, 4, 5}, false), kTolerance);
  check_kernels(joined(ConcatDesc{0}, 0, {2, 3}, {0, 8000}, false), kTolerance);
  check_kernels(joined(ConcatDesc{2}, 2, {1, 3}, {2, 8, 0, 5}, false), kTolerance);
  check_kernels(joined(ConcatDesc{1}, 1, {4, 1}, {6, 0}, false), kTolerance);
  OpCase op = joined(ConcatDesc{1}, 1, {8, 16}, {3, 0, 4, 5}, false);
  op.dout_parts = {4};
  check_kernels(op, kTolerance);
}

TEST(slice) {
  check_kernels(joined(SliceDesc{1}, 1, {8, 16}, {3, 0, 4, 5}, true), kTolerance);
  check_kernels(joined(SliceDesc{1}, 1, {3, 2, 5}, {3, 0, 4, 5}, true), kTolerance);
  check_kernels(joined(SliceDesc{0}, 0, {2, 3}, {0, 8, 4, 5}, true), kTolerance);
  check_kernels(joined(SliceDesc{3}, 3, {2, 3}, {2, 8, 4, 0}, true), kTolerance);
  OpCase op = joined(SliceDesc{1}, 1, {8, 16, 8}, {3, 0, 4, 5}, true);
  op.dout_parts = {1, 0, 3};
  check_kernels(op, kTolerance);
}
