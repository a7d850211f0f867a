// BatchNorm and its fused chain on the reference backend.
#include <cmath>

#include "core/parallel.h"
#include "norm_cases.h"
#include "testing.h"

namespace {

using pcc::all_chains;
using pcc::DType;
using pcc::norm;
using pcc::NormActDesc;
using pcc::OpCase;
using pcc::OpResult;
using pcc::Shape;
using pcc::Values;

TEST(norm_gradients_of_every_chain) {
  pcc::GradientCheck check;
  check.tolerance = 2e-5;  // the second derivative of 1 / sqrt(variance) is large on few numbers
  for (NormActDesc desc : all_chains()) {
    check_gradient(norm(desc, {3, 4, 2, 3}), check);
    check_gradient(norm(desc, {6, 3}), check);
    desc.groups = 2;
    check_gradient(norm(desc, {4, 2, 3, 1}), check);
  }
}

TEST(norm_with_a_leaky_relu) {
  for (const double slope : {0.1, -0.3}) {
    NormActDesc desc;
    desc.gain = desc.shift = desc.add = desc.relu = true;
    desc.negative_slope = slope;
    check_gradient(norm(desc, {3, 2, 2, 3}));
  }
}

TEST(norm_in_float_agrees_with_double) {
  for (const NormActDesc& desc : all_chains())
    compare_with_reference(norm(desc, {5, 8, 5, 7}), "reference", 3e-6);
}

TEST(running_averages) {
  NormActDesc desc;
  desc.fraction = 0.75;
  desc.eps = 0;
  OpCase op = norm(desc, {2, 1, 1, 2});
  op.in_values = {{1, 2, 3, 6}};
  op.param_values = {{10}, {20}, {2}};
  const OpResult got = run_op(op, "reference", DType::f64);
  CHECK_NEAR(got.params[0][0], 0.75 * 10 + 3, 1e-12);
  CHECK_NEAR(got.params[1][0], 0.75 * 20 + 3.5 * 4 / 3, 1e-12);
  CHECK_NEAR(got.params[2][0], 0.75 * 2 + 1, 1e-12);
  CHECK_NEAR(got.out[0][3], 3 / std::sqrt(3.5), 1e-12);
}

TEST(a_lone_sample_keeps_its_zero_variance) {
  OpCase op = norm({}, {1, 2, 1, 1});
  op.param_values = {{0, 0}, {0, 0}, {0}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{0, 0}));
  CHECK_EQ(got.params[1], (Values{0, 0}));
}

TEST(global_statistics_of_a_fresh_layer_are_zero) {
  NormActDesc desc;
  desc.use_global_stats = true;
  desc.eps = 0.25;
  OpCase op = norm(desc, {1, 1, 1, 2});
  op.in_values = {{1, -3}};
  op.param_values = {{5}, {7}, {0}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{2, -6}));
  CHECK_EQ(got.params[2], (Values{0}));
}

// Two replicas in one op are two ops over half the batch, and the running averages are the first
// one's.
TEST(groups_are_replicas) {
  NormActDesc desc;
  desc.gain = desc.shift = desc.relu = true;
  OpCase whole = norm(desc, {4, 3, 2, 2});
  std::get<NormActDesc>(whole.desc).groups = 2;
  whole.in_values = {pcc::random_values(48, 8)};
  whole.dout_values = {pcc::random_values(48, 9)};
  whole.param_values.push_back({1, 2, 3});
  whole.param_values.push_back({0.5, 0, -0.5});
  const OpResult got = run_op(whole, "reference", DType::f64);
  Values out, din, dgain(3);
  for (const int part : {0, 1}) {
    OpCase half = whole;
    std::get<NormActDesc>(half.desc).groups = 1;
    half.in = half.out = {{2, 3, 2, 2}};
    const auto cut = [&](const Values& v) {
      return Values(v.begin() + 24 * part, v.begin() + 24 * (part + 1));
    };
    half.in_values = {cut(whole.in_values[0])};
    half.dout_values = {cut(whole.dout_values[0])};
    const OpResult one = run_op(half, "reference", DType::f64);
    out.insert(out.end(), one.out[0].begin(), one.out[0].end());
    din.insert(din.end(), one.din[0].begin(), one.din[0].end());
    for (size_t c = 0; c < 3; ++c) dgain[c] += one.dparams[3][c];
    if (part == 0) CHECK(one.params == got.params);
  }
  CHECK(out == got.out[0]);
  CHECK(din == got.din[0]);
  CHECK_NEAR(pcc::relative_difference(got.dparams[3], dgain), 0, 1e-12);
}

TEST(norm_does_not_depend_on_threads) {
  NormActDesc desc;
  desc.gain = desc.shift = desc.add = desc.relu = true;
  const OpCase op = norm(desc, {8, 6, 30, 30});
  const int before = pcc::threads();
  pcc::set_threads(1);
  const OpResult one = run_op(op, "reference", DType::f32);
  pcc::set_threads(3);
  const OpResult three = run_op(op, "reference", DType::f32);
  CHECK(one.out == three.out && one.din == three.din && one.dparams == three.dparams);
  CHECK(one.params == three.params);
  pcc::set_threads(before);
}

}  // namespace
