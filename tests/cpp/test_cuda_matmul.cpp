// Inner products, convolutions and pooling of the CUDA backend on the host: against the plain
// loops, and with equal bits whichever thread comes first.
#include <array>
#include <cmath>

#include "backends/cuda/cuda.h"
#include "backends/cuda/host/modes.h"
#include "backends/cuda/runtime.h"
#include "conv_cases.h"
#include "ops/backends.h"
#include "testing.h"

using namespace pcc;

namespace {

constexpr double kTolerance = 5e-6;

// Runs the case in each order of threads. coarse: a lenient tolerance would hide a wrong tap, so
// that the numbers are multiples of 1/8 that every format holds, and the results are exact.
void check(OpCase op, const std::string& backend, bool coarse, double tolerance) {
  cuda::Stream stream(0);
  const cuda::CurrentStream current(stream);
  if (coarse) {
    const auto round = [](const Shape& shape, uint64_t seed) {
      Values values = random_values(shape.count(), seed);
      for (double& value : values) value = std::round(value * 8) / 8;
      return values;
    };
    op.in_values = {round(op.in[0], 3)};
    op.param_values = {round(op.params[0], 4)};
    op.dout_values = {round(op.out[0], 5)};
  }
  const cuda::host::Modes before = cuda::host::modes();
  cuda::host::set_modes({cuda::host::Order::forward, before.streams});
  CHECK(!compare_with_reference(op, backend, tolerance).empty());
  const OpResult first = run_op(op, backend, DType::f32);
  for (const auto order : {cuda::host::Order::reversed, cuda::host::Order::shuffled}) {
    cuda::host::set_modes({order, before.streams});
    const OpResult other = run_op(op, backend, DType::f32);
    CHECK(first.out == other.out && first.din == other.din && first.dparams == other.dparams);
  }
  cuda::host::set_modes(before);
}

void check(const Conv& c) { check(conv_case(c), "cuda_host", false, kTolerance); }

void check_tensor(const Conv& c) {
  static const bool registered = [] {
    register_backend("tf32", [] { return make_cuda_backend("tf32", cuda::Precision::tf32); });
    register_backend("bf16", [] { return make_cuda_backend("bf16", cuda::Precision::bf16); });
    return true;
  }();
  CHECK(registered);
  for (const std::string backend : {"tf32", "bf16"}) {
    check(conv_case(c), backend, true, 1e-6);
    // Half a unit in the last place of either factor, which many terms average out.
    const OpCase fine = conv_case(c);
    const OpResult exact = run_op(fine, "reference", DType::f64);
    cuda::Stream stream(0);
    const cuda::CurrentStream current(stream);
    const OpResult got = run_op(fine, backend, DType::f32);
    const double rounding = backend == "tf32" ? 5e-4 : 4e-3;
    CHECK_EQ(got.implementation, "cuda tensor");
    CHECK(relative_difference(got.out[0], exact.out[0]) < rounding);
    CHECK(relative_difference(got.out[0], exact.out[0]) > rounding / 100);  // it did round
    CHECK(relative_difference(got.din[0], exact.din[0]) < rounding);
    CHECK(relative_difference(got.dparams[0], exact.dparams[0]) < 5e-4);
  }
}

}  // namespace

TEST(convolutions_of_all_kinds) {
  check({{3, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)});
  check({{2, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false});
  check({{2, 64, 4, 4}, 64, two(3), two(1), two(1), two(1), 1, false});
  check({{3, 1, 14, 14}, 20, two(5), two(1), two(0), two(1)});
  check({{2, 8, 11, 13}, 8, {3, 5}, {2, 1}, {1, 2}, {1, 1}});
  check({{2, 3, 11, 11}, 5, two(3), two(2), two(0), {3, 1}});
  check({{4, 32, 5, 5}, 64, two(1), two(2), two(0), two(1), 1, false});
  check({{1, 4, 7, 7}, 4, two(2), two(3), two(0), two(1)});  // the last rows are never read
  check({{1, 4, 3, 3}, 4, two(3), two(1), two(4), two(1)});  // padding beyond the window
}

TEST(groups) {
  check({{2, 6, 6, 6}, 9, two(3), two(1), two(1), two(1), 3});
  check({{2, 16, 6, 6}, 16, two(3), two(1), two(1), two(1), 16});
}

TEST(one_and_three_axes) {
  check({{2, 4, 17}, 6, {3}, {2}, {1}, {1}});
  check({{2, 4, 5, 6, 7}, 6, {3, 3, 3}, {1, 2, 1}, {1, 0, 1}, {1, 1, 1}});
}

TEST(transposed) {
  check({{2, 4, 5, 5}, 6, two(3), two(2), two(1), two(1), 1, true, true});
  check({{2, 6, 4, 4}, 9, two(3), two(1), two(0), two(2), 3, true, true});
  check({{2, 8, 4, 4}, 8, two(4), two(2), two(1), two(1), 8, false, true});
}

// Long sums are cut, and their parts joined.
TEST(weight_gradients_over_many_positions) {
  check({{4, 3, 20, 20}, 5, two(3), two(1), two(1), two(1)});
}

TEST(inner_products) {
  for (const bool transpose : {false, true})
    for (const bool bias : {false, true})
      for (const auto& [m, k, n] :
           std::vector<std::array<int64_t, 3>>{{1, 7, 1}, {3, 5, 4}, {67, 300, 70}, {5, 600, 40}}) {
        OpCase op;
        op.desc = GemmDesc{m, k, n, transpose, bias};
        op.in = {{m, k}};
        op.params = {transpose ? Shape{k, n} : Shape{n, k}};
        if (bias) op.params.push_back({n});
        op.out = {{m, n}};
        check(op, "cuda_host", false, kTolerance);
      }
}

TEST(pooling) {
  struct Row {
    Shape in, out;
    int64_t kernel, stride, pad;
  };
  for (const auto method : {PoolDesc::Method::max, PoolDesc::Method::average})
    for (const Row& row :
         {Row{{2, 3, 4, 4}, {2, 3, 2, 2}, 2, 2, 0}, Row{{2, 2, 7, 7}, {2, 2, 3, 3}, 3, 2, 0},
          Row{{2, 8, 9, 8}, {2, 8, 5, 5}, 3, 2, 1},
          Row{{1, 1, 6, 6}, {1, 1, 3, 3}, 2, 3, 0},  // windows beyond the image
          Row{{1, 2, 6, 6}, {1, 2, 3, 3}, 3, 3, 2}}) {
      OpCase op;
      op.desc =
          PoolDesc{method, {row.kernel, row.kernel}, {row.stride, row.stride}, {row.pad, row.pad}};
      op.in = {row.in};
      op.out = {row.out};
      op.in_values = {distinct_values(row.in.count(), 5)};
      const bool empty_windows = row.stride > row.kernel;
      if (!(empty_windows && method == PoolDesc::Method::average))  // 0 / 0
        check(op, "cuda_host", false, kTolerance);
      if (method == PoolDesc::Method::average) continue;
      op.out.push_back(row.out);  // the mask
      op.dout_parts = {1, 0};
      check(op, "cuda_host", false, kTolerance);
    }
}

TEST(tensor_cores_three_by_three) {
  check_tensor({{3, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)});
  check_tensor({{2, 64, 8, 8}, 64, two(3), two(1), two(1), two(1), 1, false});
  check_tensor({{2, 3, 5, 34}, 20, two(3), two(1), two(1), two(1)});
  check_tensor({{1, 12, 17, 15}, 40, two(3), two(1), two(0), two(1)});
  check_tensor({{1, 4, 3, 3}, 4, two(3), two(1), two(4), two(1)});
}

TEST(tensor_cores_skip_pixels) {
  check_tensor({{2, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false});
  check_tensor({{2, 8, 7, 7}, 8, two(3), two(2), two(0), two(1)});
  check_tensor({{2, 16, 8, 8}, 32, two(1), two(2), two(0), two(1), 1, false});
}

TEST(tensor_cores_one_by_one) {
  check_tensor({{5, 16, 4, 4}, 24, two(1), two(1), two(0), two(1)});
  check_tensor({{1, 40, 33, 6}, 9, two(1), two(1), two(1), two(1)});
}
