// ReLU, Sigmoid, PReLU, dropout, Eltwise, Scale and Bias on the reference backend.
#include <cmath>
#include <limits>

#include "core/random.h"
#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::AffineDesc;
using pcc::DropoutDesc;
using pcc::DType;
using pcc::EltwiseDesc;
using pcc::OpCase;
using pcc::OpResult;
using pcc::PointwiseDesc;
using pcc::Shape;
using pcc::Values;
using Operation = pcc::EltwiseDesc::Operation;

OpCase same_shape(pcc::OpDesc desc, const Shape& shape, size_t inputs = 1) {
  OpCase op;
  op.desc = std::move(desc);
  op.in.assign(inputs, shape);
  op.out = {shape};
  return op;
}

TEST(relu_gradients) {
  for (const double slope : {0.0, 0.1, -0.5}) {
    OpCase op = same_shape(PointwiseDesc{PointwiseDesc::Function::relu, slope}, {2, 3, 4, 5});
    op.in_values = {pcc::nonzero_values(120, 3)};
    check_gradient(op);
    compare_with_reference(op, "reference", 1e-6);
  }
}

TEST(relu_passes_nan_on) {
  OpCase op = same_shape(PointwiseDesc{}, {3});
  op.in_values = {{std::numeric_limits<double>::quiet_NaN(), -2, 0}};
  op.want_din = {false};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK(std::isnan(got.out[0][0]));
  CHECK_EQ(got.out[0][1], 0);
}

TEST(sigmoid_gradients) {
  const OpCase op =
      same_shape(PointwiseDesc{.function = PointwiseDesc::Function::sigmoid}, {2, 3, 4, 5});
  check_gradient(op);
  compare_with_reference(op, "reference", 1e-6);
}

TEST(sigmoid_by_hand) {
  OpCase op = same_shape(PointwiseDesc{.function = PointwiseDesc::Function::sigmoid}, {4});
  op.in_values = {{0, 800, -800, std::log(3.0)}};
  op.dout_values = {{2, 1, 1, 16}};
  const OpResult got = run_op(op, "reference", DType::f64);
  CHECK_EQ(got.out[0][0], 0.5);
  CHECK_EQ(got.out[0][1], 1);
  CHECK_EQ(got.out[0][2], 0);
  CHECK_NEAR(got.out[0][3], 0.75, 1e-7);
  CHECK_EQ(got.din[0][0], 0.5);
  CHECK_EQ(got.din[0][1], 0);
  CHECK_NEAR(got.din[0][3], 3, 1e-6);
}

OpCase prelu(const Shape& shape, const Shape& slopes) {
  OpCase op = same_shape(PointwiseDesc{.function = PointwiseDesc::Function::prelu}, shape);
  op.params = {slopes};
  op.in_values = {pcc::nonzero_values(shape.count(), 3)};
  return op;
}

TEST(prelu_gradients) {
  for (const Shape& shape : {Shape{2, 3, 4, 5}, Shape{4, 3, 5}, Shape{5, 6}})
    for (const Shape& slopes : {Shape{shape[1]}, Shape{}}) {
      check_gradient(prelu(shape, slopes));
      compare_with_reference(prelu(shape, slopes), "reference", 1e-6);
    }
}

TEST(prelu_by_hand) {
  OpCase op = prelu({2, 2, 2}, {2});
  op.in_values = {{1, -2, -3, 0, -5, 6, 7, -8}};
  op.param_values = {{0.5, -2}};
  op.dout_values = {{1, 1, 1, 1, 2, 2, 2, 2}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{1, -1, 6, 0, -2.5, 6, 7, 16}));
  CHECK_EQ(got.din[0], (Values{1, 0.5, -2, -2, 1, 2, 2, -4}));
  CHECK_EQ(got.dparams[0], (Values{-2 - 10, -3 - 16}));
}

TEST(dropout_follows_the_random_stream) {
  OpCase op = same_shape(DropoutDesc{0.25}, {5, 9});
  const pcc::RandomStream stream{op.state.seed, op.state.net, pcc::hash_name("test"),
                                 op.state.pass};
  op.in_values = {Values(45, 3.0)};
  op.dout_values = {Values(45, 6.0)};
  const OpResult got = run_op(op, "reference", DType::f32);
  int kept = 0;
  for (uint64_t i = 0; i < 45; ++i) {
    const bool keep = stream.bits(i) > DropoutDesc{0.25}.threshold();
    kept += keep;
    CHECK_EQ(got.out[0][i], keep ? 4 : 0);
    CHECK_EQ(got.din[0][i], keep ? 8 : 0);
  }
  CHECK(kept > 22 && kept < 45);
  check_gradient(same_shape(DropoutDesc{0.25}, {5, 9}));
}

TEST(dropout_draws_anew_at_each_pass) {
  OpCase op = same_shape(DropoutDesc{0.5}, {64});
  op.in_values = {Values(64, 1.0)};
  const Values first = run_op(op, "reference", DType::f32).out[0];
  op.state.pass = 1;
  const Values second = run_op(op, "reference", DType::f32).out[0];
  CHECK(first != second);
}

TEST(eltwise_gradients) {
  for (const size_t inputs : {2, 3}) {
    EltwiseDesc sum{Operation::sum, {}, true};
    check_gradient(same_shape(sum, {2, 3, 2}, inputs));
    sum.coeff = {1, -0.5, 2};
    sum.coeff.resize(inputs);
    check_gradient(same_shape(sum, {2, 3, 2}, inputs));
    for (const bool stable : {true, false}) {
      OpCase product = same_shape(EltwiseDesc{Operation::product, {}, stable}, {2, 7}, inputs);
      for (size_t i = 0; i < inputs; ++i)
        product.in_values.push_back(pcc::nonzero_values(14, 40 + i, 0.2));
      check_gradient(product);
    }
    OpCase max = same_shape(EltwiseDesc{Operation::max, {}, true}, {3, 5}, inputs);
    const Values all = pcc::distinct_values(static_cast<int64_t>(15 * inputs), 6);
    for (size_t i = 0; i < inputs; ++i)
      max.in_values.emplace_back(all.begin() + static_cast<int64_t>(15 * i),
                                 all.begin() + static_cast<int64_t>(15 * (i + 1)));
    check_gradient(max);
    compare_with_reference(max, "reference", 1e-6);
  }
}

TEST(eltwise_max_gives_ties_to_the_second_input) {
  OpCase op = same_shape(EltwiseDesc{Operation::max, {}, true}, {3}, 3);
  op.in_values = {{1, 2, 0}, {1, 1, 0}, {1, 2, 3}};
  op.dout_values = {{5, 6, 7}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.din[0], (Values{0, 6, 0}));
  CHECK_EQ(got.din[1], (Values{5, 0, 0}));
  CHECK_EQ(got.din[2], (Values{0, 0, 7}));
}

TEST(eltwise_product_gradient_at_zero) {
  OpCase op = same_shape(EltwiseDesc{Operation::product, {}, true}, {1}, 2);
  op.in_values = {{0}, {3}};
  op.dout_values = {{2}};
  const OpResult stable = run_op(op, "reference", DType::f32);
  CHECK_EQ(stable.din[0], (Values{6}));
  std::get<EltwiseDesc>(op.desc).stable_product = false;
  CHECK(std::isnan(run_op(op, "reference", DType::f32).din[0][0]));
}

OpCase affine(const Shape& shape, int64_t outer, int64_t dim, bool scale, bool scale_input,
              bool bias, bool bias_input) {
  OpCase op;
  op.desc =
      AffineDesc{outer, dim, shape.count() / outer / dim, scale, scale_input, bias, bias_input};
  op.in = {shape};
  op.out = {shape};
  if (scale) (scale_input ? op.in : op.params).push_back({dim});
  if (bias) (bias_input ? op.in : op.params).push_back({dim});
  return op;
}

TEST(affine_gradients) {
  for (const auto& [outer, dim] :
       std::vector<std::pair<int64_t, int64_t>>{{2, 3}, {1, 6}, {6, 20}, {120, 1}, {1, 120}})
    for (const bool scale_input : {false, true})
      for (const bool bias_input : {false, true}) {
        const Shape shape{2, 3, 4, 5};
        check_gradient(affine(shape, outer, dim, true, scale_input, false, false));
        check_gradient(affine(shape, outer, dim, true, scale_input, true, bias_input));
        check_gradient(affine(shape, outer, dim, false, false, true, bias_input));
        compare_with_reference(affine(shape, outer, dim, true, scale_input, true, bias_input),
                               "reference", 2e-6);
      }
}

TEST(affine_by_hand) {
  OpCase op = affine({2, 2}, 1, 2, true, false, true, false);
  op.in_values = {{1, 2, 3, 4}};
  op.param_values = {{10, -1}, {0.5, 0}};
  op.dout_values = {{1, 1, 2, 2}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{10.5, 20.5, -3, -4}));
  CHECK_EQ(got.din[0], (Values{10, 10, -2, -2}));
  CHECK_EQ(got.dparams[0], (Values{3, 14}));
  CHECK_EQ(got.dparams[1], (Values{2, 4}));
}

}  // namespace
