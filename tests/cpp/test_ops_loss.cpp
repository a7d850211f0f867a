// Softmax, SoftmaxWithLoss and Accuracy on the reference backend.
#include <cfloat>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::AccuracyDesc;
using pcc::DType;
using pcc::Normalization;
using pcc::OpCase;
using pcc::OpResult;
using pcc::Shape;
using pcc::SoftmaxDesc;
using pcc::SoftmaxLossDesc;
using pcc::Values;

TEST(softmax_gradients) {
  for (int axis = 0; axis < 3; ++axis) {
    OpCase op;
    op.desc = SoftmaxDesc{axis};
    op.in = op.out = {{3, 4, 5}};
    check_gradient(op);
    compare_with_reference(op, "reference", 2e-6);
  }
}

TEST(softmax_of_large_scores) {
  OpCase op;
  op.desc = SoftmaxDesc{1};
  op.in = op.out = {{1, 2}};
  op.in_values = {{1000, 1000}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0], (Values{0.5, 0.5}));
}

OpCase loss(SoftmaxLossDesc desc, const Shape& scores, const Shape& labels) {
  OpCase op;
  op.desc = desc;
  op.in = {scores, labels};
  op.out = {Shape{}};
  op.want_din = {true, false};
  op.in_values = {pcc::random_values(scores.count(), 11, -3, 3),
                  pcc::label_values(labels.count(), scores[desc.axis], 12)};
  return op;
}

TEST(softmax_loss_gradients) {
  for (const Normalization mode :
       {Normalization::full, Normalization::valid, Normalization::batch_size, Normalization::none})
    for (const bool ignore : {false, true}) {
      SoftmaxLossDesc desc;
      desc.normalization = mode;
      desc.has_ignore_label = ignore;
      desc.ignore_label = 2;
      check_gradient(loss(desc, {5, 4}, {5}));
      check_gradient(loss(desc, {2, 4, 2, 3}, {2, 1, 2, 3}));
      OpCase with_probabilities = loss(desc, {2, 4, 3}, {2, 3});
      with_probabilities.out.push_back({2, 4, 3});
      with_probabilities.dout_parts = {1, 0};
      check_gradient(with_probabilities);
      compare_with_reference(loss(desc, {64, 10}, {64}), "reference", 1e-6);
    }
}

TEST(softmax_loss_by_hand) {
  OpCase op = loss({}, {2, 2}, {2});
  op.in_values = {{0, std::log(3.0), 0, 0}, {1, 0}};
  op.dout_values = {{2}};
  op.out.push_back({2, 2});
  const OpResult got = run_op(op, "reference", DType::f64);
  CHECK_NEAR(got.out[0][0], (std::log(4.0 / 3) + std::log(2.0)) / 2, 1e-12);
  CHECK_NEAR(got.out[1][1], 0.75, 1e-12);
  CHECK_NEAR(got.din[0][0], 0.25, 1e-12);
  CHECK_NEAR(got.din[0][2], -0.5, 1e-12);
}

TEST(an_impossible_class_costs_log_of_flt_min) {
  OpCase op = loss({}, {1, 2}, {1});
  op.in_values = {{0, 500}, {0}};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_NEAR(got.out[0][0], -std::log(FLT_MIN), 1e-5);
}

TEST(a_batch_of_ignored_labels_costs_nothing) {
  SoftmaxLossDesc desc;
  desc.has_ignore_label = true;
  desc.ignore_label = 255;
  OpCase op = loss(desc, {3, 2}, {3});
  op.in_values[1] = {255, 255, 255};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.out[0][0], 0);
  CHECK_EQ(got.din[0], Values(6, 0));
}

// Each replica has a normalizer of its own and gets the whole gradient; the loss is that of the
// first.
TEST(loss_groups_are_replicas) {
  SoftmaxLossDesc desc;
  desc.has_ignore_label = true;
  desc.ignore_label = 0;
  desc.groups = 2;
  OpCase whole = loss(desc, {6, 3}, {6});
  whole.in_values[1] = {0, 1, 2, 0, 0, 2};
  whole.dout_values = {{1.5}};
  const OpResult got = run_op(whole, "reference", DType::f64);
  for (const int part : {0, 1}) {
    desc.groups = 1;
    OpCase half = loss(desc, {3, 3}, {3});
    const auto& x = whole.in_values[0];
    const auto& t = whole.in_values[1];
    half.in_values = {Values(x.begin() + 9 * part, x.begin() + 9 * (part + 1)),
                      Values(t.begin() + 3 * part, t.begin() + 3 * (part + 1))};
    half.dout_values = whole.dout_values;
    const OpResult one = run_op(half, "reference", DType::f64);
    if (part == 0) CHECK_NEAR(got.out[0][0], one.out[0][0], 1e-12);
    for (size_t i = 0; i < 9; ++i)
      CHECK_NEAR(got.din[0][9 * static_cast<size_t>(part) + i], one.din[0][i], 1e-12);
  }
}

TEST(bad_labels_name_the_sample) {
  for (const double label : {4.0, -1.0, 1e30, std::numeric_limits<double>::quiet_NaN()}) {
    OpCase op = loss({}, {3, 4}, {3});
    op.in_values[1] = {0, 1, label};
    CHECK_THROWS_WITH("sample 2", run_op(op, "reference", DType::f32));
    op.desc = AccuracyDesc{};
    op.want_din = {false, false};
    CHECK_THROWS_WITH("there are 4 classes", run_op(op, "reference", DType::f32));
  }
}

OpResult accuracy(AccuracyDesc desc, const Shape& scores, Values values, Values labels,
                  bool per_class = false) {
  OpCase op;
  op.desc = desc;
  op.in = {scores, {static_cast<int64_t>(labels.size())}};
  op.out = {Shape{}};
  if (per_class) op.out.push_back({scores[1]});
  op.want_din = {false, false};
  op.in_values = {std::move(values), std::move(labels)};
  return run_op(op, "reference", DType::f32);
}

TEST(accuracy_by_hand) {
  const Values scores = {3, 1, 2, /**/ 1, 3, 2, /**/ 0, 1, 5, /**/ 2, 2, 1};
  const OpResult top1 = accuracy({}, {4, 3}, scores, {0, 2, 2, 0}, true);
  CHECK_EQ(top1.out[0], (Values{0.5}));  // the last is a tie
  CHECK_EQ(top1.out[1], (Values{0.5, 0, 0.5}));
  const OpResult top2 = accuracy({.top_k = 2}, {4, 3}, scores, {0, 2, 2, 0});
  CHECK_EQ(top2.out[0], (Values{1}));
  const OpResult ignoring =
      accuracy({.has_ignore_label = true, .ignore_label = 2}, {4, 3}, scores, {0, 2, 2, 0}, true);
  CHECK_EQ(ignoring.out[0], (Values{0.5}));
  CHECK_EQ(ignoring.out[1], (Values{0.5, 0, 0}));
  const OpResult nothing =
      accuracy({.has_ignore_label = true, .ignore_label = 2}, {1, 3}, {1, 2, 3}, {2});
  CHECK_EQ(nothing.out[0], (Values{0}));
  const OpResult replica = accuracy({.groups = 2}, {4, 3}, scores, {0, 1, 0, 0});
  CHECK_EQ(replica.out[0], (Values{1}));
}

TEST(accuracy_takes_nan_for_right_as_caffe_does) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const OpResult got = accuracy({}, {1, 2}, {nan, nan}, {1});
  CHECK_EQ(got.out[0], (Values{1}));
}

TEST(accuracy_over_places) {
  const OpResult got = accuracy({}, {1, 2, 2}, {1, 5, 2, 3}, {1, 0});
  CHECK_EQ(got.out[0], (Values{1}));
}

}  // namespace
