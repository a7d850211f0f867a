// Iterations of the solver against the formulas of Caffe's sgd_solver.cpp, worked out by hand.
#include "solver/solver.h"

#include <cmath>
#include <limits>

#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// loss = weight of one number, times x, summed over the batch: its gradient is the sum of x.
std::string linear_net(const std::string& param = "") {
  return input_layer("x", {2, 1}) +
         layer("InnerProduct", "ip", "x", "y",
               "inner_product_param { num_output: 1 bias_term: false } loss_weight: 1 " + param);
}

struct Run {
  explicit Run(SolverParams params, const std::string& text = linear_net(),
               const std::string& backend = "reference", double start = 2) {
    net = make_net(text, net_on(backend));
    set_values(net->params()[0].data,
               Values(static_cast<size_t>(net->params()[0].shape.count()), start));
    feed(*net, "x", {0.5, 0.25});  // gradient 0.75
    solver = std::make_unique<Solver>(net, params);
  }
  double weight() { return values_of(net->params()[0].data)[0]; }
  double history() { return values_of(solver->history(0).tensor)[0]; }
  void step() {
    solver->forward_backward();
    solver->apply_update();
  }
  std::shared_ptr<Net> net;
  std::unique_ptr<Solver> solver;
};

SolverParams settings(float lr, float momentum = 0) {
  SolverParams params;
  params.schedule.lr_policy = "fixed";
  params.schedule.base_lr = lr;
  params.schedule.momentum = momentum;
  return params;
}

constexpr double kTolerance = 1e-6;

TEST(sgd_with_momentum) {
  for (const std::string& backend : backend_names()) {
    Run run(settings(0.1f, 0.9f), linear_net(), backend);
    double weight = 2, history = 0;
    for (int i = 0; i < 5; ++i) {
      run.step();
      history = 0.9 * history + 0.1 * 0.75;
      weight -= history;
      CHECK_NEAR(run.history(), history, kTolerance);
      CHECK_NEAR(run.weight(), weight, kTolerance);
      // As in Caffe the diff is left holding the update.
      CHECK_NEAR(param_diff(*run.net, "ip", 0)[0], history, kTolerance);
    }
    CHECK_EQ(run.solver->iteration(), int64_t{5});
  }
}

TEST(nesterov) {
  for (const std::string& backend : backend_names()) {
    SolverParams params = settings(0.1f, 0.9f);
    params.type = "Nesterov";
    Run run(params, linear_net(), backend);
    double weight = 2, history = 0;
    for (int i = 0; i < 5; ++i) {
      run.step();
      const double before = history;
      history = 0.9 * before + 0.1 * 0.75;
      weight -= (1 + 0.9) * history - 0.9 * before;
      CHECK_NEAR(run.history(), history, kTolerance);
      CHECK_NEAR(run.weight(), weight, kTolerance);
    }
  }
}

TEST(nesterov_takes_the_current_momentum_twice) {
  SolverParams params = settings(0.1f, 0.9f);
  params.type = "Nesterov";
  params.schedule.cyclical_momentum = {0.5f, 2.0f};
  Run run(params);
  double weight = 2, history = 0;
  for (int i = 0; i < 6; ++i) {
    const double momentum = run.solver->momentum();
    run.step();
    const double before = history;
    history = momentum * before + 0.1 * 0.75;
    weight -= (1 + momentum) * history - momentum * before;
    CHECK_NEAR(run.weight(), weight, kTolerance);
  }
  CHECK(Schedule(params.schedule).momentum(1) != Schedule(params.schedule).momentum(0));
}

// Caffe with the report's patch cycles the momentum of SGD and Nesterov only, but logs the cycle.
TEST(other_rules_take_the_plain_momentum) {
  for (const std::string& backend : backend_names())
    for (const char* type : {"Adam", "AdaDelta"}) {
      SolverParams params = settings(0.1f, 0.9f);
      params.type = type;
      Run plain(params, linear_net(), backend);
      params.schedule.cyclical_momentum = {0.5f, 2.0f};
      Run cyclic(params, linear_net(), backend);
      for (int i = 0; i < 5; ++i) {
        plain.step();
        cyclic.step();
        CHECK_EQ(cyclic.weight(), plain.weight());
      }
      CHECK_EQ(cyclic.solver->momentum(), Schedule(params.schedule).momentum(5));
      CHECK(cyclic.solver->momentum() != 0.9f);
    }
}

TEST(adam_counts_its_iterations) {
  for (const std::string& backend : backend_names()) {
    SolverParams params = settings(0.1f, 0.9f);
    params.type = "Adam";
    params.delta = 1e-3f;
    params.momentum2 = 0.99f;
    Run run(params, linear_net(), backend);
    double weight = 2, m = 0, v = 0;
    for (int t = 1; t <= 5; ++t) {
      run.step();
      m = 0.9 * m + 0.1 * 0.75;
      v = 0.99 * v + 0.01 * 0.75 * 0.75;
      const double correction = std::sqrt(1 - std::pow(0.99, t)) / (1 - std::pow(0.9, t));
      weight -= 0.1 * correction * m / (std::sqrt(v) + 1e-3);
      CHECK_NEAR(run.history(), m, kTolerance);
      CHECK_NEAR(values_of(run.solver->history(0, 1).tensor)[0], v, kTolerance);
      CHECK_NEAR(run.weight(), weight, 3 * kTolerance);
    }
  }
}

TEST(decay_goes_into_the_gradient_behind_clip_and_iter_size) {
  for (const std::string& backend : backend_names())
    for (const char* kind : {"L2", "L1"}) {
      SolverParams params = settings(0.1f);
      params.weight_decay = 0.2f;
      params.regularization_type = kind;
      params.clip_gradients = 0.5f;
      params.iter_size = 2;
      Run run(params, linear_net("param { lr_mult: 3 decay_mult: 0.5 }"), backend);
      double weight = 2;
      for (int i = 0; i < 3; ++i) {
        run.step();
        // Two passes add 0.75 each: 1.5, clipped to 0.5, halved to 0.25; then the decay, unclipped.
        const double decay = 0.2 * 0.5 * (kind[1] == '2' ? weight : 1);
        weight -= 0.1 * 3 * (0.25 + decay);
        CHECK_NEAR(run.weight(), weight, kTolerance);
      }
    }
}

TEST(a_small_gradient_is_not_clipped) {
  SolverParams params = settings(0.1f);
  params.clip_gradients = 0.76f;
  Run run(params);
  run.step();
  CHECK_NEAR(run.weight(), 2 - 0.075, kTolerance);
}

TEST(clipping_sees_the_norm_of_all_parameters) {
  const std::string text =
      input_layer("x", {1, 2}) +
      layer("InnerProduct", "a", "x", "a", "inner_product_param { num_output: 1 } loss_weight: 1") +
      layer("InnerProduct", "b", "x", "b",
            "inner_product_param { num_output: 1 bias_term: false } loss_weight: 2");
  for (const std::string& backend : backend_names()) {
    const auto net = make_net(text, net_on(backend));
    feed(*net, "x", {3, 4});
    SolverParams params = settings(1);
    params.clip_gradients = 1;
    Solver solver(net, params);
    solver.forward_backward();
    solver.apply_update();
    // Gradients (3, 4), 1 and (6, 8): their norm is sqrt(126).
    const double norm = std::sqrt(126.0);
    const Values w = param_data(*net, "a", 0), bias = param_data(*net, "a", 1),
                 b = param_data(*net, "b", 0);
    CHECK_NEAR(w[0], -3 / norm, kTolerance);
    CHECK_NEAR(w[1], -4 / norm, kTolerance);
    CHECK_NEAR(bias[0], -1 / norm, kTolerance);
    CHECK_NEAR(b[1], -8 / norm, kTolerance);
  }
}

TEST(clipping_sees_what_does_not_learn_where_backward_is_forced) {
  const std::string text =
      input_layer("x", {1, 2}) +
      layer("InnerProduct", "a", "x", "a",
            "inner_product_param { num_output: 1 } param { lr_mult: 0 } loss_weight: 1");
  for (const bool force : {false, true}) {
    NetOptions options = reference_net();
    options.force_backward = force;
    const auto net = make_net(text, options);
    feed(*net, "x", {3, 4});
    SolverParams params = settings(1);
    params.clip_gradients = 0.5f;
    Solver solver(net, params);
    solver.forward_backward();
    solver.apply_update();
    // Gradients (3, 4), which stands still, and 1.
    CHECK_NEAR(param_data(*net, "a", 0)[1], 0, 0);
    CHECK_NEAR(param_data(*net, "a", 1)[0], -0.5 / (force ? std::sqrt(26.0) : 1.0), kTolerance);
  }
}

TEST(iter_size_averages_gradient_and_loss) {
  SolverParams params = settings(0.1f);
  params.iter_size = 4;
  Run run(params);
  CHECK_NEAR(run.solver->forward_backward(), 2 * 0.75, kTolerance);
  run.solver->apply_update();
  CHECK_NEAR(run.weight(), 2 - 0.075, kTolerance);
  CHECK_EQ(run.net->state().pass, uint64_t{4});
  CHECK_EQ(run.solver->iteration(), int64_t{1});
}

TEST(fixed_parameters_and_statistics_are_left_alone) {
  const std::string text =
      input_layer("x", {4, 3}) + input_layer("label", {4}) +
      layer("BatchNorm", "bn", "x", "bn", "batch_norm_param { use_global_stats: true }") +
      layer("InnerProduct", "fixed", "bn", "fixed",
            "inner_product_param { num_output: 4 weight_filler { type: 'gaussian' } }"
            " param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 5 }") +
      classifier("fixed", 5);
  const auto net = make_net(text);
  feed_all(*net, 5);
  set_values(net->params()[param_index(*net, "bn", 0)].data, {1, 2, 3});
  const Values before = param_data(*net, "fixed", 0), free = param_data(*net, "ip", 0);
  SolverParams params = settings(0.1f, 0.9f);
  params.weight_decay = 0.5f;
  Solver solver(net, params);
  solver.forward_backward();
  solver.apply_update();
  CHECK_EQ(param_data(*net, "fixed", 0), before);
  CHECK_EQ(param_data(*net, "bn", 0), Values({1, 2, 3}));
  CHECK(param_data(*net, "ip", 0) != free);
}

TEST(shared_parameters_are_updated_once) {
  const std::string text = input_layer("x", {1, 2}) +
                           layer("InnerProduct", "a", "x", "a",
                                 "inner_product_param { num_output: 1 bias_term: false }"
                                 " param { name: 'w' } loss_weight: 1") +
                           layer("InnerProduct", "b", "x", "b",
                                 "inner_product_param { num_output: 1 bias_term: false }"
                                 " param { name: 'w' lr_mult: 2 } loss_weight: 1");
  const auto net = make_net(text);
  feed(*net, "x", {3, 4});
  Solver solver(net, settings(0.1f));
  solver.forward_backward();
  solver.apply_update();
  CHECK_NEAR(param_data(*net, "b", 0)[0], -0.1 * 2 * 6, kTolerance);
}

TEST(the_schedule_counts_iterations) {
  SolverParams params = settings(0.4f);
  params.schedule.lr_policy = "step";
  params.schedule.gamma = 0.5f;
  params.schedule.stepsize = 2;
  Run run(params);
  double weight = 2;
  for (const double lr : {0.4, 0.4, 0.2, 0.2, 0.1}) {
    CHECK_NEAR(run.solver->lr(), lr, kTolerance);
    run.step();
    weight -= lr * 0.75;
    CHECK_NEAR(run.weight(), weight, kTolerance);
  }
  run.solver->restore(2, 1);
  CHECK_EQ(run.solver->iteration(), int64_t{2});
  CHECK_NEAR(run.solver->lr(), 0.2, kTolerance);
}

TEST(restored_histories_go_on) {
  for (const UpdateRule& rule : update_rules()) {
    SolverParams params = settings(0.1f, rule.momentum ? 0.9f : 0);
    params.type = rule.type;
    Run whole(params), first(params), second(params);
    for (int i = 0; i < 6; ++i) whole.step();
    for (int i = 0; i < 3; ++i) first.step();
    set_values(second.net->params()[0].data, {first.weight()});
    CHECK_EQ(second.solver->histories(), rule.histories);
    for (int k = 0; k < rule.histories; ++k)
      set_values(second.solver->history(0, k).tensor,
                 values_of(first.solver->history(0, k).tensor));
    second.solver->restore(3, 0);
    for (int i = 0; i < 3; ++i) second.step();
    CHECK_EQ(second.weight(), whole.weight());
  }
}

TEST(histories_lie_beside_their_parameters) {
  const auto net =
      make_net(input_layer("data", {2, 3}) + input_layer("label", {2}) + classifier("data", 5));
  SolverParams params = settings(0.1f);
  params.type = "Adam";
  Solver solver(net, params);
  const auto at = [&](int param, int k) { return solver.history(param, k).tensor; };
  for (int k = 0; k < 2; ++k) {
    CHECK_EQ(at(0, k).shape(), (Shape{5, 3}));
    CHECK_EQ(at(1, k).shape(), (Shape{5}));
    CHECK(at(0, k).data != at(1, k).data);
  }
  CHECK(at(0, 0).data != at(0, 1).data);
  CHECK_THROWS_WITH("type Adam keeps 2 per parameter, counted from 0; there is no history 2",
                    solver.history(0, 2));
}

TEST(a_run_counts_and_reports_every_loss) {
  Run run(settings(0.1f));
  int polls = 0;
  const Solver::Run result = run.solver->run(4, 1e9, [&] { ++polls; });
  CHECK_EQ(polls, 4);
  REQUIRE(result.losses.size() == 4);
  CHECK(!result.stopped && !result.diverged);
  for (int i = 0; i < 4; ++i)
    CHECK_NEAR(result.losses[static_cast<size_t>(i)], 0.75 * (2 - 0.075 * i), 1e-5);
  CHECK_EQ(run.solver->run(100, 0, nullptr).losses.size(), size_t{1});  // at least one
}

TEST(a_loss_that_is_no_number_stops_before_the_update) {
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()})
    for (const std::string& backend : backend_names()) {
      Run run(settings(0.1f), linear_net(), backend);
      run.solver->run(2, 1e9, nullptr);
      const double weight = run.weight(), history = run.history();
      feed(*run.net, "x", {bad, 0.25});
      const Solver::Run result = run.solver->run(5, 1e9, nullptr);
      CHECK(result.diverged);
      REQUIRE(result.losses.size() == 1);
      CHECK(!std::isfinite(result.losses[0]));
      CHECK_EQ(run.weight(), weight);
      CHECK_EQ(run.history(), history);
      CHECK_EQ(run.solver->iteration(), int64_t{2});
    }
}

TEST(a_stop_ends_the_run_after_its_iteration) {
  Run run(settings(0.1f));
  int polls = 0;
  const Solver::Run result = run.solver->run(10, 1e9, [&] {
    if (++polls == 3) run.solver->request_stop();
  });
  CHECK(result.stopped);
  CHECK_EQ(result.losses.size(), size_t{3});
  CHECK_EQ(run.solver->iteration(), int64_t{3});
  CHECK_EQ(run.solver->run(2, 1e9, nullptr).losses.size(), size_t{2});  // the request is used up
}

TEST(settings_that_make_no_sense_are_errors) {
  const auto with = [](auto change) {
    SolverParams params = settings(0.1f);
    change(params);
    Run run(params);
  };
  CHECK_THROWS_WITH("iter_size must be at least 1, not 0", with([](auto& p) { p.iter_size = 0; }));
  CHECK_THROWS_WITH("regularization_type \"L3\" is unknown; known: L1, L2",
                    with([](auto& p) { p.regularization_type = "L3"; }));
  CHECK_THROWS_WITH("solver type \"Adamant\" is not implemented",
                    with([](auto& p) { p.type = "Adamant"; }));
  for (const char* type : {"AdaGrad", "RMSProp"})
    CHECK_THROWS_WITH(std::string("momentum cannot be used with type ") + type, with([=](auto& p) {
                        p.type = type;
                        p.schedule.momentum = 0.5f;
                      }));
  CHECK_THROWS_WITH("rms_decay must be at least 0 and less than 1, not 1", with([](auto& p) {
                      p.type = "RMSProp";
                      p.rms_decay = 1;
                    }));
  CHECK_THROWS_WITH("triangluar", with([](auto& p) { p.schedule.lr_policy = "triangluar"; }));
}

// On real nets the backends' updates agree with the plain loops, iteration by iteration.
TEST(backends_follow_the_same_path) {
  const std::string text = input_layer("data", {8, 3, 8, 8}) + input_layer("label", {8}) +
                           conv_layer("c", "data", 8, 3) + norm_layers_on("c") +
                           layer("ReLU", "r", "c", "c") + classifier("c", 5);
  SolverParams params = settings(0.05f, 0.9f);
  params.type = "Nesterov";
  params.weight_decay = 0.01f;
  params.clip_gradients = 3;
  const NetOptions exact = double_net();
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = make_net(text, net_on(backend, fuse)), again = make_net(text, exact);
      feed_all(*net, 5);
      feed_all(*again, 5);
      Solver got(net, params), path(again, params);
      for (int i = 0; i < 5; ++i) {
        const double loss = path.forward_backward();
        CHECK_CLOSE(got.forward_backward(), loss, 1e-4);
        path.apply_update();
        got.apply_update();
      }
      CHECK(relative_difference(param_data(*net, "c", 0), param_data(*again, "c", 0)) < 1e-4);
    }
}

}  // namespace
}  // namespace pcc
