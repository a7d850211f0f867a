// Convolutions of the CUDA backend on tensor cores, which the host imitates.
#include <cmath>

#include "backends/cuda/host/modes.h"
#include "conv_cases.h"
#include "kernel_cases.h"

using namespace pcc;

namespace {

// A lenient tolerance would hide a wrong tap: multiples of 1/8, which every format holds, give
// exact products.
OpCase coarse(OpCase op) {
  const auto round = [](const Shape& shape, uint64_t seed) {
    Values values = random_values(shape.count(), seed);
    for (double& value : values) value = std::round(value * 8) / 8;
    return values;
  };
  op.in_values = {round(op.in[0], 3)};
  op.param_values = {round(op.params[0], 4)};
  op.dout_values = {round(op.out[0], 5)};
  return op;
}

// made: the ways of the steps.
void check_one(const OpCase& fine, const std::string& made) {
  using namespace cuda::host;
  const std::string backend = cuda_backend();
  const bool bf16 = fine.precision == Precision::bf16;
  // Where values lie in bf16 the results are rounded to it.
  const double exact = bf16 ? 0x1p-8 : tests_gpu() ? 1e-4 : 1e-6;
  CHECK(!compare_with_reference(coarse(fine), backend, exact).empty());

  // Half a unit in the last place of either factor, which many terms average out. The weights'
  // gradient is in tf32 always.
  const OpResult expected = run_op(fine, "reference", DType::f64);
  const OpResult got = run_op(fine, backend, DType::f32);
  const double rounding = bf16 ? 6e-3 : 5e-4;
  const double difference = relative_difference(got.out[0], expected.out[0]);
  CHECK(difference < rounding);
  CHECK(relative_difference(got.din[0], expected.din[0]) < rounding);
  CHECK(relative_difference(got.dparams[0], expected.dparams[0]) < 5e-4);
  if (tests_gpu()) return;
  CHECK_EQ(got.implementation, made);
  CHECK(difference > rounding / 100);

  const Modes before = modes();
  for (const Modes& other : {Modes{Order::reversed, Streams::late}, Modes{Order::shuffled}}) {
    set_modes(other);
    const OpResult again = run_op(fine, backend, DType::f32);
    CHECK(got.out == again.out && got.din == again.din && got.dparams == again.dparams);
  }
  set_modes(before);
}

void check(OpCase op, const std::string& made = "cuda tensor") {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    op.precision = precision;
    for_each_way({"tensor", "matmul", "cudnn"}, [&] { check_one(op, made); });
  }
}

void check(const Conv& c, const std::string& made = "cuda tensor") { check(conv_case(c), made); }

OpCase product(int64_t m, int64_t k, int64_t n, bool transpose, bool bias) {
  OpCase op;
  op.desc = GemmDesc{m, k, n, transpose, bias};
  op.in = {{m, k}};
  op.out = {{m, n}};
  op.params = {transpose ? Shape{k, n} : Shape{n, k}};
  if (bias) op.params.push_back({n});
  return op;
}

}  // namespace

TEST(three_by_three) {
  check({{3, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)});
  check({{1, 64, 4, 8}, 64, two(3), two(1), two(1), two(1), 1, false});
  check({{2, 3, 5, 34}, 20, two(3), two(1), two(1), two(1)});
  check({{1, 12, 17, 15}, 40, two(3), two(1), two(0), two(1)});
  check({{1, 4, 3, 3}, 4, two(3), two(1), two(4), two(1)});  // padding beyond the window
}

TEST(skipped_pixels) {
  check({{2, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false});
  check({{2, 8, 7, 7}, 8, two(3), two(2), two(0), two(1)});
  check({{2, 16, 8, 8}, 32, two(1), two(2), two(0), two(1), 1, false});
  check({{2, 20, 8, 10}, 12, two(2), two(2), two(0), two(1)});
}

TEST(two_by_two) { check({{2, 16, 7, 9}, 8, two(2), two(1), two(1), two(1)}); }

TEST(one_by_one) {
  check({{5, 16, 4, 4}, 24, two(1), two(1), two(0), two(1)});
  check({{1, 40, 33, 6}, 9, two(1), two(1), two(1), two(1)});
  check({{1, 136, 4, 5}, 80, two(1), two(1), two(0), two(1)});
}

TEST(any_other_convolution) {
  const std::string made = "cuda matmul";
  check({{3, 5, 11, 9}, 20, two(5), two(1), two(2), two(1)}, made);
  check({{2, 12, 9, 9}, 70, two(3), two(1), two(2), two(2), 2, false}, made);
  check({{2, 3, 6}, 4, {3}, {2}, {1}, {1}}, made);
  check({{2, 6, 5, 5}, 8, two(4), two(2), two(1), two(1), 2, true, true}, made);
}

TEST(inner_products) {
  check(product(33, 70, 10, false, true));
  check(product(5, 1100, 67, true, false));
  check(product(600, 19, 21, false, true));
}
