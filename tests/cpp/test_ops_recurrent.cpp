// LSTM and RNN layers' steps, the LSTM's single step, and pooling at random.
#include <cmath>

#include "kernel_cases.h"

namespace pcc {
namespace {

OpCase recurrent(RecurrentDesc::Cell cell, bool exposed, int64_t steps = 4, int64_t batch = 3,
                 int64_t hidden = 5) {
  const bool lstm = cell == RecurrentDesc::Cell::lstm;
  const int64_t gates = lstm ? 4 * hidden : hidden;
  const Shape state{1, batch, hidden};
  OpCase op;
  op.desc = RecurrentDesc{cell, exposed};
  op.in = {{steps, batch, gates}, {steps, batch}};
  op.params = {{gates, hidden}};
  op.out = {{steps, batch, hidden}};
  op.want_din = {true, false};
  op.dout_parts = {1};
  op.in_values = {{}, label_values(steps * batch, 2, 3)};
  for (int i = 0; exposed && i < (lstm ? 2 : 1); ++i) {
    op.in.push_back(state);
    op.out.push_back(state);
    op.want_din.push_back(false);
    op.dout_parts.push_back(0);
  }
  return op;
}

const RecurrentDesc::Cell kCells[] = {RecurrentDesc::Cell::lstm, RecurrentDesc::Cell::rnn};

TEST(gradients_through_time) {
  for (const auto cell : kCells)
    for (const bool exposed : {false, true}) check_gradient(recurrent(cell, exposed));
}

TEST(kernels_of_recurrent_layers) {
  for (const auto cell : kCells)
    for (const bool exposed : {false, true}) {
      check_kernels(recurrent(cell, exposed), 4e-6);
      check_kernels(recurrent(cell, exposed, 3, 2, 33), 4e-6);
      check_kernels(recurrent(cell, exposed, 1, 1, 1), 4e-6);
    }
}

TEST(the_state_goes_on_from_call_to_call) {
  for (const auto cell : kCells) {
    OpCase whole = recurrent(cell, false, 4, 2, 3);
    const int64_t gates = whole.in[0][2];
    const Values z = random_values(8 * gates, 5);
    whole.in_values = {z, {0, 0, 1, 1, 1, 0, 1, 1}};
    const OpResult expected = run_op(whole, "reference", DType::f64);
    OpCase repeated = recurrent(cell, false, 1, 2, 3);
    repeated.in_values = {Values(z.begin(), z.begin() + 2 * gates), {1, 1}};
    repeated.forward_only = true;
    const Values first(expected.out[0].begin(), expected.out[0].begin() + 6);
    for (const char* backend : {"reference", "cpu", "cuda_host"}) {
      repeated.steps = 1;
      const OpResult once = run_op(repeated, backend, DType::f32);
      repeated.steps = 2;
      const OpResult twice = run_op(repeated, backend, DType::f32);
      CHECK(relative_difference(once.out[0], twice.out[0]) > 1e-3);
      CHECK(relative_difference(once.out[0], first) < 1e-6);  // from a state of zeros
    }
  }
}

TEST(gradients_of_one_step) {
  OpCase op;
  op.desc = LstmUnitDesc{};
  op.in = {{1, 3, 4}, {1, 3, 16}, {1, 3}};
  op.out = {{1, 3, 4}, {1, 3, 4}};
  op.want_din = {true, true, false};
  op.in_values = {{}, {}, {0, 1, 1}};
  check_gradient(op);
  compare_with_reference(op, "reference", 1e-6);
}

OpCase stochastic(bool sample) {
  OpCase op;
  op.desc = PoolDesc{
      .method = PoolDesc::Method::stochastic, .kernel = {2, 2}, .stride = {2, 2}, .sample = sample};
  op.in = {{50, 4, 4, 4}};
  op.out = {{50, 4, 2, 2}};
  op.in_values = {Values(3200)};
  for (size_t i = 0; i < 3200; ++i) op.in_values[0][i] = i % 2 ? 3 : i % 4 / 2;  // rows 0 3 1 3
  return op;
}

TEST(stochastic_pooling_takes_elements_by_their_size) {
  const OpResult got = run_op(stochastic(true), "reference", DType::f64);
  // Windows of 0 3 / 0 3 hold nothing but threes; of 1 3 / 1 3 a quarter of the picks are ones.
  double ones = 0;
  for (size_t i = 0; i < got.out[0].size(); ++i) {
    if (i % 2 == 0) CHECK_EQ(got.out[0][i], 3);
    ones += got.out[0][i] == 1;
  }
  CHECK(ones > 400 * 0.15 && ones < 400 * 0.35);
  double sum = 0, given = 0;
  for (const double g : got.din[0]) sum += g != 0;
  given = static_cast<double>(got.out[0].size());
  CHECK_EQ(sum, given);  // each gradient went to one element
  OpCase expected = stochastic(false);
  expected.forward_only = true;
  const Values means = run_op(expected, "reference", DType::f64).out[0];
  CHECK_NEAR(means[0], 3, 1e-12);
  CHECK_NEAR(means[1], 20.0 / 8, 1e-12);
}

}  // namespace
}  // namespace pcc
