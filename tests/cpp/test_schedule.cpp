// Learning rates and momenta against values that Caffe itself computed, compared bit for bit.
#include <cmath>
#include <string>

#include "core/check.h"
#include "solver/schedule.h"
#include "testing.h"

namespace {

pcc::ScheduleParams policy(const std::string& name, float base_lr) {
  pcc::ScheduleParams params;
  params.lr_policy = name;
  params.base_lr = base_lr;
  params.momentum = 0.9f;
  return params;
}

pcc::ScheduleParams cycle(const std::string& name, float base_lr, float max_lr, int64_t stepsize) {
  pcc::ScheduleParams params = policy(name, base_lr);
  params.max_lr = max_lr;
  params.stepsize = stepsize;
  return params;
}

std::string message_of(const pcc::ScheduleParams& params) {
  try {
    pcc::Schedule schedule(params);
  } catch (const pcc::Error& error) {
    return error.what();
  }
  return "";
}

bool mentions(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST(schedule_fixed_and_step_match_caffe) {
  CHECK_EQ(pcc::Schedule(policy("fixed", 0.01f)).lr(599), 0.00999999978f);
  pcc::ScheduleParams params = policy("step", 0.1f);
  params.gamma = 0.94f;
  params.stepsize = 30;
  const pcc::Schedule step(params);
  CHECK_EQ(step.lr(29), 0.1f);
  CHECK_EQ(step.lr(123), 0.0780748948f);
  CHECK_EQ(step.lr(599), 0.0308623649f);
  CHECK_EQ(step.current_step(30), 0);
  CHECK_EQ(step.current_step(31), 1);
}

TEST(schedule_exp_inv_poly_sigmoid_match_caffe) {
  pcc::ScheduleParams params = policy("exp", 1.2f);
  params.gamma = 0.97f;
  CHECK_EQ(pcc::Schedule(params).lr(311), 9.22984909e-05f);

  params = policy("inv", 0.01f);
  params.gamma = 0.0001f;
  params.power = 0.75f;
  CHECK_EQ(pcc::Schedule(params).lr(311), 0.00977292098f);

  params = policy("poly", 0.4f);
  params.power = 0.5f;
  params.max_iter = 500;
  CHECK_EQ(pcc::Schedule(params).lr(103), 0.356426716f);
  CHECK_EQ(pcc::Schedule(params).lr(501), 0.0f);

  params = policy("sigmoid", 0.1f);
  params.gamma = 0.05f;
  params.stepsize = 100;
  CHECK_EQ(pcc::Schedule(params).lr(123), 0.0759510919f);
}

TEST(schedule_multistep_advances_one_step_per_iteration) {
  pcc::ScheduleParams params = policy("multistep", 0.1f);
  params.gamma = 0.316f;
  params.stepvalues = {195, 292, 341, 366, 353};  // out of order, as in one run of the report
  const pcc::Schedule schedule(params);
  CHECK_EQ(schedule.lr(207), 0.0316000022f);
  CHECK_EQ(schedule.lr(365), 0.1f * static_cast<float>(std::pow(0.316f, 3.0)));
  CHECK_EQ(schedule.lr(599), 0.000315090641f);
  CHECK_EQ(schedule.current_step(367), 4);
  CHECK_EQ(schedule.current_step(368), 5);

  params.stepvalues = {0, 50, 50, 70};
  const pcc::Schedule equal_steps(params);
  CHECK_EQ(equal_steps.current_step(0), 0);
  CHECK_EQ(equal_steps.current_step(1), 1);
  CHECK_EQ(equal_steps.current_step(51), 2);
  CHECK_EQ(equal_steps.current_step(52), 3);
}

TEST(schedule_multistep_goes_on_from_a_snapshot) {
  pcc::ScheduleParams params = policy("multistep", 1.0f);
  params.gamma = 0.5f;
  params.stepvalues = {10, 20, 21, 30};
  const pcc::Schedule whole(params);
  for (int64_t at = 0; at < 40; ++at) {
    pcc::Schedule resumed(params);
    resumed.restore(at, whole.current_step(at));
    CHECK_EQ(resumed.current_step(at), whole.current_step(at));
    for (int64_t i = at; i < 40; ++i) CHECK_EQ(resumed.lr(i), whole.lr(i));
  }
  // A state without its step, such as one of another solver, catches up one step per iteration.
  pcc::Schedule behind(params);
  behind.restore(35, 0);
  CHECK_EQ(behind.lr(35), 0.5f);
  CHECK_EQ(behind.lr(36), 0.25f);
  CHECK_EQ(behind.lr(38), 0.0625f);
}

TEST(schedule_cyclic_policies_match_caffe) {
  CHECK_EQ(pcc::Schedule(cycle("triangular", 0.1f, 3, 100)).lr(311), 2.68099999f);
  CHECK_EQ(pcc::Schedule(cycle("triangular2", 0.1f, 3, 100)).lr(311), 1.39050007f);
  CHECK_EQ(pcc::Schedule(cycle("triangular2", 0.002f, 0.02f, 37)).lr(599), 0.00201330241f);
  pcc::ScheduleParams params = cycle("exp_range", 0.5f, 1.5f, 10);
  params.gamma = 0.5f;
  CHECK_EQ(pcc::Schedule(params).lr(10), 0.5f + 1.0f / 1024);
  CHECK_EQ(pcc::Schedule(params).lr(20), 0.5f);
}

TEST(schedule_1cycle_matches_caffe) {
  const pcc::Schedule schedule(cycle("1cycle", 0.1f, 1.2f, 117));
  CHECK_EQ(schedule.lr(0), 0.1f);
  CHECK_EQ(schedule.lr(1), 0.10940171f);
  CHECK_EQ(schedule.lr(123), 1.13846159f);
  CHECK_EQ(schedule.lr(207), 0.27692315f);
  CHECK_EQ(schedule.lr(234), 0.000100000005f);
  CHECK_EQ(schedule.lr(599), 0.000100000005f);
  CHECK_EQ(pcc::Schedule(cycle("1cycle", 1, 0.01f, 230)).lr(123), 0.47056523f);
  CHECK_EQ(pcc::Schedule(cycle("1cycle", 0.1f, 4, 1)).lr(1), 4.0f);
}

TEST(schedule_cyclical_momentum_matches_caffe_under_any_policy) {
  pcc::ScheduleParams params = policy("fixed", 0.01f);
  params.momentum = 0.95f;
  params.cyclical_momentum = {0.85f, 117};
  const pcc::Schedule report(params);
  CHECK_EQ(report.momentum(0), 0.949999988f);
  CHECK_EQ(report.momentum(1), 0.949145317f);
  CHECK_EQ(report.momentum(311), 0.917093992f);  // second cycle: half the height
  CHECK_EQ(report.momentum(599), 0.92799145f);

  params.momentum = 0.9f;
  params.cyclical_momentum = {0.99f, 1080.5f};
  CHECK_EQ(pcc::Schedule(params).momentum(311), 0.925904632f);
  params.cyclical_momentum = {0.5f};
  CHECK_EQ(pcc::Schedule(params).momentum(311), 0.9f);
}

TEST(schedule_refuses_settings_that_a_policy_cannot_use) {
  CHECK(mentions(message_of(policy("triangluar", 1)), "\"triangluar\" is unknown; known: fixed, "));
  CHECK(mentions(message_of(policy("triangluar", 1)), "exp_range, 1cycle"));
  CHECK(mentions(message_of(policy("", 1)), "lr_policy is not set"));
  CHECK(mentions(message_of(policy("step", 1)), "stepsize of at least 1"));
  CHECK(mentions(message_of(cycle("1cycle", 0.1f, 1, -5)), "got -5"));
  CHECK(mentions(message_of(policy("poly", 1)), "max_iter"));
  CHECK(mentions(message_of(policy("fixed", NAN)), "base_lr"));
  CHECK(mentions(message_of(policy("fixed", -1)), "base_lr"));

  pcc::ScheduleParams params = cycle("triangular", 0.1f, 0, 10);
  params.has_max_lr = false;
  CHECK(mentions(message_of(params), "needs max_lr"));
  params = policy("sigmoid", 0.1f);
  params.stepsize = 10;
  params.gamma = -1;
  CHECK(mentions(message_of(params), "gamma"));
  params = policy("fixed", 0.1f);
  params.cyclical_momentum = {0.85f, 0};
  CHECK(mentions(message_of(params), "half a cycle"));
  CHECK_THROWS(pcc::Schedule(policy("fixed", 1)).restore(-1, 0));
  CHECK_THROWS(pcc::Schedule(policy("fixed", 1)).lr(-1));
  CHECK_THROWS(pcc::Schedule(policy("fixed", 1)).momentum(INT64_MAX));
  params.cyclical_momentum = {0.85f, 1e-38f};  // nonsense, but neither a crash nor NaN
  CHECK_EQ(pcc::Schedule(params).momentum(2000000000), 0.9f);
}
