// The solver's step on the reference backend, in Caffe's order: with numbers that can be followed
// by hand, and each rule over several steps against its formula in double.
#include <cmath>

#include "op_harness.h"
#include "ops/rules.h"
#include "testing.h"

namespace {

using pcc::DType;
using pcc::OpCase;
using pcc::OpResult;
using pcc::UpdateDesc;
using pcc::Values;

using Rule = UpdateDesc::Rule;

// history, second: as many as the rule keeps.
OpCase update(UpdateDesc desc, Values w, Values dw, Values history, Values second = {}) {
  OpCase op;
  const auto count = static_cast<int64_t>(w.size());
  if (desc.segments.empty()) desc.segments = {{0, count, 1, 1}};
  op.param_values = {std::move(w), std::move(dw), std::move(history)};
  if (desc.histories() == 2) op.param_values.push_back(std::move(second));
  op.params.assign(op.param_values.size(), {count});
  op.want_dparam.assign(op.param_values.size(), false);
  op.desc = std::move(desc);
  op.state.lr = 0.5;
  op.state.momentum = 0.25;
  op.state.weight_decay = 0;
  return op;
}

OpResult run(const OpCase& op) { return run_op(op, "reference", DType::f32); }

UpdateDesc desc_of(Rule rule) {
  UpdateDesc desc;
  desc.rule = rule;
  return desc;
}

// One weight, moved step by step by the rule's formula in double.
struct Path {
  double w, h, h2 = 0;
  double lr, momentum, delta, momentum2, rms_decay;

  void step(Rule rule, double g, int64_t iteration) {
    const double before = h, t = static_cast<double>(iteration) + 1;
    double update = 0;
    switch (rule) {
      case Rule::sgd:
        update = h = momentum * h + lr * g;
        break;
      case Rule::nesterov:
        h = momentum * h + lr * g;
        update = (1 + momentum) * h - momentum * before;
        break;
      case Rule::adagrad:
        h += g * g;
        update = lr * g / (std::sqrt(h) + delta);
        break;
      case Rule::rmsprop:
        h = rms_decay * h + (1 - rms_decay) * g * g;
        update = lr * g / (std::sqrt(h) + delta);
        break;
      case Rule::adadelta: {
        h = momentum * h + (1 - momentum) * g * g;
        const double root = g * std::sqrt(h2 + delta) / std::sqrt(h + delta);
        h2 = momentum * h2 + (1 - momentum) * root * root;
        update = lr * root;
        break;
      }
      case Rule::adam:
        h = momentum * h + (1 - momentum) * g;
        h2 = momentum2 * h2 + (1 - momentum2) * g * g;
        update = lr * std::sqrt(1 - std::pow(momentum2, t)) / (1 - std::pow(momentum, t)) * h /
                 (std::sqrt(h2) + delta);
    }
    w -= update;
  }
};

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

TEST(adagrad) {
  UpdateDesc desc = desc_of(Rule::adagrad);
  desc.delta = 1;
  const OpResult got = run(update(desc, {1, 1}, {4, 0}, {9, 4}));
  CHECK_EQ(got.params[2], (Values{25, 4}));
  CHECK_CLOSE(got.params[1][0], 0.5 * 4 / (5 + 1), 1e-6);  // delta outside the root
  CHECK_EQ(got.params[0][1], 1);
}

TEST(rmsprop) {
  UpdateDesc desc = desc_of(Rule::rmsprop);
  desc.delta = 1;
  desc.rms_decay = 0.75f;
  const OpResult got = run(update(desc, {1}, {4}, {16}));
  CHECK_EQ(got.params[2], (Values{0.75 * 16 + 0.25 * 16}));
  CHECK_CLOSE(got.params[1][0], 0.5 * 4 / (4 + 1), 1e-6);
}

// The momentum is the decay of both histories, delta stands inside both roots, and the rate counts
// behind the history of updates.
TEST(adadelta) {
  UpdateDesc desc = desc_of(Rule::adadelta);
  desc.delta = 1;
  const OpResult got = run(update(desc, {1}, {2}, {20}, {35}));
  CHECK_EQ(got.params[2], (Values{0.25 * 20 + 0.75 * 4}));
  CHECK_CLOSE(got.params[1][0], 0.5 * 2 * std::sqrt(36.0 / 9), 1e-6);
  CHECK_CLOSE(got.params[3][0], 0.25 * 35 + 0.75 * 16, 1e-6);
}

TEST(adam) {
  UpdateDesc desc = desc_of(Rule::adam);
  desc.delta = 1;
  desc.momentum2 = 0.5f;
  OpCase op = update(desc, {1}, {4}, {8}, {16});
  op.state.iteration = 1;
  const OpResult got = run(op);
  CHECK_EQ(got.params[2], (Values{0.25 * 8 + 0.75 * 4}));
  CHECK_EQ(got.params[3], (Values{16}));
  // The second update: t = 2; delta outside the root, and not corrected.
  const double corrected = 0.5 * std::sqrt(1 - 0.25) / (1 - 0.0625);
  CHECK_CLOSE(got.params[1][0], corrected * 5 / (4 + 1), 1e-6);
}

TEST(every_rule_follows_its_formula) {
  for (const pcc::UpdateRule& rule : pcc::update_rules())
    for (const DType dtype : {DType::f32, DType::f64}) {
      const double tolerance = dtype == DType::f32 ? 2e-6 : 1e-12;
      UpdateDesc desc = desc_of(rule.rule);
      desc.delta = 0.125f;
      desc.momentum2 = 0.875f;
      desc.rms_decay = 0.75f;
      Path path{.w = 0.75,
                .h = 0,
                .lr = 0.5,
                .momentum = 0.25,
                .delta = desc.delta,
                .momentum2 = desc.momentum2,
                .rms_decay = desc.rms_decay};
      for (int64_t iteration = 0; iteration < 5; ++iteration) {
        const double gradient = 0.375 - 0.25 * static_cast<double>(iteration);
        OpCase op = update(desc, {path.w}, {gradient}, {path.h}, {path.h2});
        op.state.iteration = iteration;
        const double before = path.w;
        path.step(rule.rule, gradient, iteration);
        const OpResult got = run_op(op, "reference", dtype);
        CHECK_CLOSE(got.params[0][0], path.w, tolerance);
        CHECK_CLOSE(got.params[1][0], before - path.w, 10 * tolerance);
        CHECK_CLOSE(got.params[2][0], path.h, tolerance);
        if (rule.histories == 2) CHECK_CLOSE(got.params[3][0], path.h2, tolerance);
        CHECK(path.w != before);
      }
    }
}

TEST(adam_starts_at_full_size) {
  // Its correction makes up for histories that start at zero: the first update is the rate.
  for (const double gradient : {1e-3, 5.0}) {
    const OpResult got = run(update(desc_of(Rule::adam), {0}, {gradient}, {0}, {0}));
    CHECK_CLOSE(got.params[1][0], 0.5, 1e-3);
  }
  CHECK_CLOSE(pcc::adam_correction(0.9f, 0.999f, 1000000), 1, 1e-12);
}

TEST(what_rules_are_called_and_keep) {
  CHECK_EQ(pcc::update_rule("AdaDelta").histories, 2);
  CHECK_EQ(desc_of(Rule::rmsprop).histories(), 1);
  CHECK_THROWS_WITH("known: SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam",
                    pcc::update_rule("Adamant"));
  for (const pcc::UpdateRule& rule : pcc::update_rules()) {
    CHECK(&pcc::update_rule(rule.type) == &rule && &pcc::update_rule(rule.rule) == &rule);
    CHECK_EQ(pcc::name_of(desc_of(rule.rule)), rule.type);
  }
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

TEST(a_rate_of_zero_lets_histories_move_on) {
  for (const pcc::UpdateRule& rule : pcc::update_rules()) {
    UpdateDesc desc = desc_of(rule.rule);
    desc.segments = {{0, 1, 0, 1}};
    desc.rms_decay = 0.5f;
    desc.momentum2 = 0.5f;
    const OpResult got = run(update(desc, {1}, {4}, {8}, {16}));
    double moved = 0, history = 0;
    switch (rule.rule) {
      // The rate is in the history: what old gradients left moves the weight, this one does not.
      case Rule::sgd:
        moved = history = 0.25 * 8;
        break;
      case Rule::nesterov:
        history = 0.25 * 8;
        moved = 1.25 * history - 0.25 * 8;
        break;
      case Rule::adagrad:
        history = 8 + 16;
        break;
      case Rule::rmsprop:
        history = 0.5 * 8 + 0.5 * 16;
        break;
      case Rule::adadelta:
        history = 0.25 * 8 + 0.75 * 16;
        CHECK_CLOSE(got.params[3][0], 0.25 * 16 + 0.75 * 16 * 16 / history, 1e-6);
        break;
      case Rule::adam:
        history = 0.25 * 8 + 0.75 * 4;
        CHECK_EQ(got.params[3], (Values{16}));
    }
    CHECK_EQ(got.params[0], (Values{1 - moved}));
    CHECK_EQ(got.params[1], (Values{moved}));
    CHECK_EQ(got.params[2], (Values{history}));
  }
}

}  // namespace
