// Pooling and local response normalisation of the reference backend.
#include <cfloat>
#include <cmath>

#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::DType;
using pcc::LrnDesc;
using pcc::OpCase;
using pcc::OpResult;
using pcc::PoolDesc;
using pcc::Shape;
using pcc::Values;
using Method = pcc::PoolDesc::Method;

// Caffe's output size: rounded up, and without windows that begin in the padding behind.
int64_t pooled(int64_t size, int64_t kernel, int64_t stride, int64_t pad) {
  int64_t count = (size + 2 * pad - kernel + stride - 1) / stride + 1;
  if (pad > 0 && (count - 1) * stride >= size + pad) --count;
  return count;
}

OpCase pool(Method method, const Shape& in, int64_t kernel_h, int64_t kernel_w, int64_t stride,
            int64_t pad) {
  OpCase op;
  op.desc = PoolDesc{method, {kernel_h, kernel_w}, {stride, stride}, {pad, pad}};
  op.in = {in};
  op.out = {
      {in[0], in[1], pooled(in[2], kernel_h, stride, pad), pooled(in[3], kernel_w, stride, pad)}};
  op.in_values = {pcc::distinct_values(in.count(), 5)};
  return op;
}

TEST(pooling_gradients) {
  for (const Method method : {Method::max, Method::average}) {
    check_gradient(pool(method, {2, 3, 4, 4}, 2, 2, 2, 0));
    check_gradient(pool(method, {2, 2, 7, 7}, 3, 3, 2, 0));
    check_gradient(pool(method, {1, 2, 5, 6}, 3, 3, 2, 1));
    check_gradient(pool(method, {2, 2, 5, 7}, 2, 3, 1, 0));
    check_gradient(pool(method, {1, 2, 6, 6}, 3, 3, 3, 2));
    check_gradient(pool(method, {2, 3, 4, 5}, 4, 5, 1, 0));
    compare_with_reference(pool(method, {2, 8, 9, 8}, 3, 3, 2, 1), "reference", 1e-6);
  }
}

TEST(max_pooling_keeps_the_first_of_ties) {
  OpCase op = pool(Method::max, {1, 1, 2, 4}, 2, 2, 2, 0);
  op.in_values = {{1, 1, 0, 5, 1, 1, 5, 0}};
  op.out.push_back(op.out[0]);  // the mask
  op.dout_parts = {1, 0};
  op.dout_values = {{3, 4}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{1, 5}));
  CHECK_EQ(got.out[1], (Values{0, 3}));
  CHECK_EQ(got.din[0], (Values{3, 0, 0, 4, 0, 0, 0, 0}));
}

TEST(average_divides_by_the_window_with_its_padding) {
  OpCase op = pool(Method::average, {1, 1, 3, 3}, 3, 3, 2, 1);
  op.in_values = {Values(9, 1.0)};
  const OpResult got = run_op(op, "reference", DType::f64);
  for (const double value : got.out[0]) CHECK_NEAR(value, 4.0 / 9, 1e-15);
}

// Kernel 2, stride 3 on 6 pixels: the third window begins behind the image.
TEST(windows_beyond_the_image_are_empty) {
  const Values gradient = pcc::random_values(9, 8);
  OpCase op = pool(Method::max, {1, 1, 6, 6}, 2, 2, 3, 0);
  op.dout_values = {gradient};
  const OpResult max = run_op(op, "reference", DType::f32);
  for (const size_t i : {2, 5, 6, 7, 8}) CHECK_EQ(max.out[0][i], -FLT_MAX);
  for (const size_t i : {0, 1, 3, 4}) CHECK(std::abs(max.out[0][i]) < 1);
  // What comes to an empty window goes nowhere.
  double sent = 0, arrived = 0;
  for (const size_t i : {0, 1, 3, 4}) sent += gradient[i];
  for (const double value : max.din[0]) arrived += value;
  CHECK_NEAR(arrived, sent, 1e-6);
  const OpResult average =
      run_op(pool(Method::average, {1, 1, 6, 6}, 2, 2, 3, 0), "reference", DType::f32);
  CHECK(std::isnan(average.out[0][8]));
}

OpCase lrn(bool across, const Shape& shape, int64_t size, double alpha, double beta, double k) {
  OpCase op;
  op.desc = LrnDesc{across, size, alpha, beta, k};
  op.in = {shape};
  op.out = {shape};
  return op;
}

TEST(lrn_gradients) {
  for (const bool across : {true, false}) {
    check_gradient(lrn(across, {2, 7, 3, 3}, 5, 1, 0.75, 1));
    check_gradient(lrn(across, {1, 3, 4, 5}, 3, 2, 0.5, 2));
    check_gradient(lrn(across, {2, 2, 6, 4}, 5, 0.1, 0.75, 1));
    compare_with_reference(lrn(across, {2, 16, 7, 7}, 3, 5e-5, 0.75, 1), "reference", 1e-6);
  }
}

TEST(lrn_across_three_channels_by_hand) {
  OpCase op = lrn(true, {1, 3, 1, 1}, 3, 3, 0.5, 2);
  op.in_values = {{1, 2, 3}};
  const OpResult got = run_op(op, "reference", DType::f64);
  CHECK_NEAR(got.out[0][0], 1 / std::sqrt(2 + 1.0 + 4), 1e-12);
  CHECK_NEAR(got.out[0][1], 2 / std::sqrt(2 + 1.0 + 4 + 9), 1e-12);
  CHECK_NEAR(got.out[0][2], 3 / std::sqrt(2 + 4.0 + 9), 1e-12);
}

TEST(lrn_within_clips_windows_and_ignores_k) {
  OpCase op = lrn(false, {1, 1, 1, 3}, 3, 9, 1, 7);
  op.in_values = {{1, 2, 3}};
  const OpResult got = run_op(op, "reference", DType::f64);
  CHECK_NEAR(got.out[0][0], 1 / (1 + 1.0 + 4), 1e-12);
  CHECK_NEAR(got.out[0][1], 2 / (1 + 1.0 + 4 + 9), 1e-12);
}

}  // namespace
