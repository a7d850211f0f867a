// Convolutions of the CPU backend against the plain loops, in every layout they ask for and, where
// the kernels are our own, on every instruction set.
#include <algorithm>
#include <cmath>

#include "conv_cases.h"
#include "kernel_cases.h"

using namespace pcc;

namespace {

// Rounding of single-precision sums of some hundred terms, relative to the largest result.
constexpr double kTolerance = 5e-6;

void check(const Conv& c) {
  for (const std::string& backend : fast_backends())
    check_kernels(conv_case(c), kTolerance, backend);
  Conv few = c;  // two images show there what more would, and thread by thread each one costs
  few.x[0] = std::min<int64_t>(c.x[0], 2);
  for_each_way({"plain", "cudnn"},
               [&] { check_kernels(conv_case(few), kTolerance, cuda_backend()); });
}

}  // namespace

TEST(three_by_three_of_a_residual_net) {
  check({{4, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)});
  check({{3, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false});
  check({{2, 64, 8, 8}, 64, two(3), two(1), two(1), two(1), 1, false});
}

TEST(winograd_with_odd_sizes_and_numbers_of_blocks) {
  check({{3, 24, 7, 9}, 40, two(3), two(1), two(1), two(1)});
  check({{7, 16, 14, 6}, 24, two(3), two(1), two(1), two(1)});
  check({{2, 8, 5, 5}, 8, two(3), two(1), two(1), two(1), 1, false});
  check({{1, 32, 1, 1}, 48, two(3), two(1), two(1), two(1)});
}

TEST(rounding_of_winograd_stays_near_that_of_direct_sums) {
  const OpCase op = conv_case({{1, 64, 8, 8}, 64, two(3), two(1), two(1), two(1)});
  const OpResult exact = run_op(op, "reference", DType::f64);
  for_each_isa([&](const std::string&) {
    for (const std::string& backend : fast_backends())
      for (const Layout layout : {Layout::c8, Layout::c16, Layout::nhwc}) {
        const OpResult got = run_op(op, backend, DType::f32, LayoutChoice{{layout}, {layout}});
        if (backend == "cpu" && !got.made) continue;  // not the layout of this instruction set
        CHECK(relative_difference(got.out[0], exact.out[0]) < 1e-6);
        CHECK(relative_difference(got.din[0], exact.din[0]) < 1e-6);
        CHECK(relative_difference(got.dparams[0], exact.dparams[0]) < 1e-6);
      }
  });
}

TEST(first_layer_with_few_channels) {
  check({{4, 3, 32, 32}, 16, two(3), two(1), two(1), two(1)});
  check({{5, 1, 28, 28}, 20, two(5), two(1), two(0), two(1)});
  check({{2, 3, 23, 23}, 32, two(7), two(2), two(3), two(1)});
}

TEST(channels_that_no_block_divides) {
  check({{5, 20, 12, 12}, 50, two(5), two(1), two(0), two(1)});
  check({{2, 28, 7, 7}, 12, two(3), two(1), two(1), two(1), 1, false});
}

TEST(odd_channels_in_plain_layout) {
  check({{19, 20, 12, 12}, 50, two(5), two(1), two(0), two(1)});
  check({{3, 5, 10, 18}, 7, {2, 3}, two(1), two(0), two(1), 1, false});
  check({{2, 2, 9, 12}, 6, {1, 5}, two(1), two(0), two(1)});
  check({{2, 3, 4, 26}, 9, {4, 3}, two(1), two(0), two(1)});
}

TEST(winograd_along_the_rows) {
  check({{2, 9, 9, 12}, 11, two(5), two(1), two(0), two(1)});
  check({{1, 8, 6, 20}, 10, two(5), two(1), two(0), two(1), 1, false});
  check({{35, 10, 5, 12}, 8, two(5), two(1), two(0), two(1)});
  const OpCase op = conv_case({{40, 20, 12, 12}, 50, two(5), two(1), two(0), two(1)});
  const OpResult exact = run_op(op, "reference", DType::f64);
  for_each_isa([&](const std::string&) {
    const OpResult got = run_op(op, "cpu", DType::f32);
    CHECK(relative_difference(got.out[0], exact.out[0]) < 3e-6);
    CHECK(relative_difference(got.din[0], exact.din[0]) < 3e-6);
    CHECK(relative_difference(got.dparams[0], exact.dparams[0]) < 5e-6);
  });
}

// Compiled without contraction, the kernels would multiply and add in two instructions, and take
// twice the time: here (1 + e)^2 - (1 + 2e) is e^2 with one rounding and 0 with two.
TEST(products_are_added_in_one_instruction) {
  OpCase op = conv_case({{1, 1, 3, 10}, 5, two(3), two(1), two(0), two(1)});
  const double e = std::ldexp(1.0, -12);
  op.in_values = {Values(30, 1 + e)};
  op.param_values = {Values(45, 0.0), Values(5, -(1 + 2 * e))};
  for (size_t o = 0; o < 5; ++o) op.param_values[0][9 * o + 4] = 1 + e;
  for_each_isa([&](const std::string& isa) {
    if (isa == "baseline") return;  // has no such instruction, nor these kernels
    const OpResult got = run_op(op, "cpu", DType::f32);
    CHECK_EQ(got.implementation, "direct " + isa);
    for (const double value : got.out[0]) CHECK(value == e * e);
  });
}

TEST(one_by_one) {
  check({{4, 16, 8, 8}, 32, two(1), two(1), two(0), two(1)});
  check({{4, 32, 9, 9}, 64, two(1), two(2), two(0), two(1), 1, false});
}

TEST(one_by_one_that_skips_pixels_of_few_channels) {
  check({{5, 3, 10, 12}, 4, two(1), two(2), two(0), two(1), 1, false});
  check({{3, 5, 12, 4}, 4, two(1), two(2), two(0), two(1)});
}

TEST(groups) {
  check({{2, 32, 6, 6}, 48, two(3), two(1), two(1), two(1), 2});
  check({{2, 6, 6, 6}, 9, two(3), two(1), two(1), two(1), 3});
  check({{2, 16, 6, 6}, 16, two(3), two(1), two(1), two(1), 16});
}

TEST(windows_of_all_kinds) {
  check({{2, 8, 11, 13}, 8, {3, 5}, {2, 1}, {1, 2}, {1, 1}});
  check({{2, 8, 11, 11}, 16, two(3), two(1), two(2), two(2)});
  check({{2, 3, 11, 11}, 5, two(3), two(2), two(0), {3, 1}});
  check({{2, 4, 5, 5}, 4, two(5), two(1), two(0), two(1)});
  check({{1, 4, 7, 7}, 4, two(2), two(3), two(0), two(1)});  // the last rows are never read
  check({{1, 4, 3, 3}, 4, two(3), two(1), two(4), two(1)});  // padding beyond the window
}

TEST(one_and_three_axes) {
  check({{2, 4, 17}, 6, {3}, {2}, {1}, {1}});
  check({{2, 4, 5, 6, 7}, 6, {3, 3, 3}, {1, 2, 1}, {1, 0, 1}, {1, 1, 1}});
}

TEST(transposed) {
  check({{2, 4, 5, 5}, 6, two(3), two(2), two(1), two(1), 1, true, true});
  check({{2, 16, 5, 5}, 8, two(4), two(2), two(1), two(1), 1, false, true});
  check({{2, 6, 4, 4}, 9, two(3), two(1), two(0), two(2), 3, true, true});
  check({{2, 8, 4, 4}, 8, two(4), two(2), two(1), two(1), 8, false, true});
}

TEST(equal_bits_twice) {
  const OpCase op = conv_case({{6, 16, 12, 12}, 32, two(3), two(1), two(1), two(1)});
  for_each_isa([&](const std::string&) {
    for (const std::string& backend : fast_backends())
      for (const Layout layout : {Layout::plain, Layout::c8}) {
        const LayoutChoice layouts = {{layout}, {layout}};
        const OpResult first = run_op(op, backend, DType::f32, layouts);
        const OpResult second = run_op(op, backend, DType::f32, layouts);
        CHECK(first.made || (backend == "cpu" && layout == Layout::c8));
        CHECK(first.out == second.out);
        CHECK(first.din == second.din);
        CHECK(first.dparams == second.dparams);
      }
  });
}

TEST(double_precision_is_left_to_the_plain_loops) {
  const OpCase op = conv_case({{1, 2, 4, 4}, 2, two(3), two(1), two(1), two(1)});
  for (const std::string& backend : fast_backends()) CHECK(!run_op(op, backend, DType::f64).made);
}
