// The solver's step on the reference backend, in Caffe's order, with numbers that can be followed
// by hand.
#include <cmath>

#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::DType;
using pcc::OpCase;
using pcc::OpResult;
using pcc::UpdateDesc;
using pcc::Values;

OpCase update(UpdateDesc desc, Values w, Values dw, Values history) {
  OpCase op;
  const auto count = static_cast<int64_t>(w.size());
  if (desc.segments.empty()) desc.segments = {{0, count, 1, 1}};
  op.desc = std::move(desc);
  op.params = {{count}, {count}, {count}};
  op.want_dparam = {false, false, false};
  op.param_values = {std::move(w), std::move(dw), std::move(history)};
  op.state.lr = 0.5;
  op.state.momentum = 0.25;
  op.state.weight_decay = 0;
  return op;
}

OpResult run(const OpCase& op) { return run_op(op, "reference", DType::f32); }

TEST(sgd) {
  const OpResult got = run(update({}, {1, 2}, {4, -2}, {8, 0}));
  CHECK_EQ(got.params[2], (Values{0.25 * 8 + 0.5 * 4, -1}));
  CHECK_EQ(got.params[1], (Values{4, -1}));
  CHECK_EQ(got.params[0], (Values{-3, 3}));
}

TEST(nesterov) {
  UpdateDesc desc;
  desc.rule = UpdateDesc::Rule::nesterov;
  const OpResult got = run(update(desc, {1}, {4}, {8}));
  CHECK_EQ(got.params[2], (Values{4}));
  CHECK_EQ(got.params[1], (Values{1.25 * 4 - 0.25 * 8}));
  CHECK_EQ(got.params[0], (Values{-2}));
}

TEST(multipliers_belong_to_segments) {
  UpdateDesc desc;
  desc.segments = {{0, 1, 2, 0}, {2, 1, 1, 4}};
  OpCase op = update(desc, {1, 1, 1}, {1, 1, 1}, {0, 0, 0});
  op.state.weight_decay = 0.5;
  const OpResult got = run(op);
  CHECK_EQ(got.params[0], (Values{1 - 0.5 * 2, 1, 1 - 0.5 * (1 + 4 * 0.5)}));
  CHECK_EQ(got.params[2], (Values{1, 0, 1.5}));
  CHECK_EQ(got.params[1][1], 1);  // not a learnable parameter: left alone
}

TEST(l1_decays_by_the_sign) {
  UpdateDesc desc;
  desc.l1 = true;
  OpCase op = update(desc, {3, -3, 0}, {0, 0, 0}, {0, 0, 0});
  op.state.weight_decay = 0.5;
  const OpResult got = run(op);
  CHECK_EQ(got.params[0], (Values{2.75, -2.75, 0}));
}

// Clipped on the norm of the sums, then divided, then decayed.
TEST(clip_divide_decay_in_this_order) {
  UpdateDesc desc;
  desc.segments = {{0, 1, 1, 1}, {1, 1, 1, 1}};
  desc.clip = 2.5;
  desc.iter_size = 2;
  OpCase op = update(desc, {8, 8}, {3, 4}, {0, 0});
  op.state.weight_decay = 0.25;
  const OpResult got = run(op);
  CHECK_EQ(got.params[1], (Values{0.5 * (0.75 + 2), 0.5 * (1 + 2)}));
  CHECK_EQ(got.params[0], (Values{8 - 1.375, 6.5}));
}

TEST(a_small_gradient_is_not_clipped) {
  UpdateDesc desc;
  desc.clip = 10;
  const OpResult got = run(update(desc, {0, 0}, {3, 4}, {0, 0}));
  CHECK_EQ(got.params[1], (Values{1.5, 2}));
}

TEST(clip_counts_learnable_parameters_only) {
  UpdateDesc desc;
  desc.segments = {{0, 2, 1, 1}};
  desc.clip = 5;
  const OpResult got = run(update(desc, {0, 0, 0}, {3, 4, 100}, {0, 0, 0}));
  CHECK_EQ(got.params[1], (Values{1.5, 2, 100}));
}

TEST(a_rate_of_zero_leaves_weights_but_moves_on) {
  UpdateDesc desc;
  desc.segments = {{0, 1, 0, 1}};
  desc.rule = UpdateDesc::Rule::nesterov;
  const OpResult got = run(update(desc, {1}, {4}, {0}));
  CHECK_EQ(got.params[0], (Values{1}));
}

}  // namespace
