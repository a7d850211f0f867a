// ReLU, Sigmoid, PReLU, dropout, Eltwise, Concat, Slice and sums of the CPU backend against the
// plain loops.
#include <cmath>
#include <limits>

#include "kernel_cases.h"

using namespace pcc;

namespace {

constexpr double kTolerance = 1e-6;  // a few roundings
constexpr double kSums = 4e-6;       // of a thousand terms

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

TEST(sigmoid) {
  const OpDesc desc = PointwiseDesc{.function = PointwiseDesc::Function::sigmoid};
  for (const Shape& shape : kShapes) {
    OpCase op = elementwise(desc, shape);
    check_kernels(op, kTolerance);
    op.in_values = {random_values(shape.count(), 3, -30, 30)};
    check_kernels(op, kTolerance);
  }
}

// Relative to the value itself: small probabilities count, too.
TEST(sigmoid_is_exact_to_a_few_units_at_any_size) {
  OpCase op = elementwise(PointwiseDesc{.function = PointwiseDesc::Function::sigmoid}, {4001});
  Values x;
  for (int i = -2000; i <= 2000; ++i) x.push_back(static_cast<float>(0.043 * i));
  op.in_values = {x};
  op.want_din = {false};
  for_each_isa([&](const std::string&) {
    const Values y = run_op(op, "cpu", DType::f32).out[0];
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = 1 / (1 + std::exp(-x[i]));
      CHECK(std::abs(y[i] - exact) <= 5e-7 * exact);
    }
  });
  op.in_values = {Values(4001, -200.0)};
  op.in_values[0][1] = 200;
  op.in_values[0][2] = std::numeric_limits<double>::quiet_NaN();
  op.in_values[0][3] = std::numeric_limits<double>::infinity();
  op.in_values[0][4] = -std::numeric_limits<double>::infinity();
  for_each_isa([&](const std::string&) {
    const Values y = run_op(op, "cpu", DType::f32).out[0];
    CHECK(y[0] >= 0 && y[0] < 1e-37 && y[1] == 1 && std::isnan(y[2]));
    CHECK(y[3] == 1 && y[4] >= 0 && y[4] < 1e-37);
  });
}

std::vector<PointwiseDesc> fast_functions() {
  using Function = PointwiseDesc::Function;
  return {{.function = Function::tanh},
          {.function = Function::elu, .a = 0.7},
          {.function = Function::elu, .a = -0.7},
          {.function = Function::swish, .a = 1.5},
          {.function = Function::power, .a = 1, .b = 0.3, .c = 2},
          {.function = Function::power, .a = 2, .b = 0.3, .c = 2}};
}

TEST(functions_of_one_element) {
  for (const PointwiseDesc& desc : fast_functions())
    for (const double size : {1.0, 30.0}) {
      OpCase op = elementwise(desc, {2, 16, 3, 5});
      op.in_values = {random_values(480, 3, -size, size)};
      check_kernels(op, 3e-6);
    }
}

// Relative to the value itself.
TEST(tanh_is_exact_to_a_few_units_at_any_size) {
  OpCase op = elementwise(PointwiseDesc{.function = PointwiseDesc::Function::tanh}, {4001});
  Values x;
  for (int i = -2000; i <= 2000; ++i) x.push_back(static_cast<float>(std::pow(0.007 * i, 3)));
  op.in_values = {x};
  op.want_din = {false};
  for_each_isa([&](const std::string&) {
    const Values y = run_op(op, "cpu", DType::f32).out[0];
    for (size_t i = 0; i < x.size(); ++i)
      CHECK(std::abs(y[i] - std::tanh(x[i])) <= 5e-7 * std::abs(std::tanh(x[i])));
  });
}

TEST(other_functions_on_cuda) {
  using Function = PointwiseDesc::Function;
  for (const PointwiseDesc& desc :
       std::vector<PointwiseDesc>{{.function = Function::absval},
                                  {.function = Function::bnll},
                                  {.function = Function::bnll, .x_is_y = true},
                                  {.function = Function::clip, .a = -0.5, .b = 0.4},
                                  {.function = Function::clip, .a = -0.5, .b = 0.4, .x_is_y = true},
                                  {.function = Function::exp, .a = 0.5, .b = 1.5},
                                  {.function = Function::log, .a = 0.5, .b = 0.3, .c = 2},
                                  {.function = Function::power, .a = 2.5, .b = 0.3, .c = 2},
                                  {.function = Function::power, .a = -1, .b = 0.3, .c = 2},
                                  {.function = Function::power, .a = 0, .b = 0.3, .c = 2}})
    check_kernels(elementwise(desc, {2, 3, 5, 7}), 2e-6, "cuda_host");
  OpCase threshold =
      elementwise(PointwiseDesc{.function = Function::threshold, .a = 0.2}, {2, 3, 5, 7});
  threshold.forward_only = true;
  check_kernels(threshold, 0, "cuda_host");
}

TEST(prelu) {
  const std::vector<Shape> shapes = {{2, 16, 5, 3},   {3, 5, 7, 1}, {7, 10},
                                     {1, 16, 37, 31}, {4, 3, 70},   {600, 33}};
  for (const Shape& shape : shapes)
    for (const Shape& slopes : {Shape{shape[1]}, Shape{}}) {
      OpCase op = elementwise(PointwiseDesc{.function = PointwiseDesc::Function::prelu}, shape);
      op.params = {slopes};
      op.in_values = {nonzero_values(shape.count(), 4)};
      check_kernels(op, kSums);
      op.dout_parts = {3};
      check_kernels(op, kSums);
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
