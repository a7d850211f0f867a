// Ops of the CUDA backend over bf16 and with channels last, in forms that are its own.
#include <cmath>
#include <cstdlib>

#include "conv_cases.h"
#include "lines_cases.h"
#include "norm_cases.h"

using namespace pcc;

namespace {

constexpr double kStored = 0x1p-8;  // half a unit in the last place of bf16
constexpr double kSums = 1e-5;      // in single precision

void check(const OpCase& op, const Tolerance& tolerance) {
  OpCase rounded = as_bf16(op);
  const std::string backend = cuda_host_in(Precision::bf16);
  const FormChoice forms = forms_of_lines(rounded, backend, DType::bf16);
  const OpResult alone = run_lines(rounded, backend, forms);
  check_result(alone, rounded, tolerance);
  if (!alone.offers_among_others) return;
  rounded.among_others = true;
  check_result(run_lines(rounded, backend, forms), rounded, tolerance);
}

// (groups, channels, 2): the mean and the variance of each channel in each group of samples.
Values moments_of(const Values& x, const Shape& shape, int64_t groups) {
  Values moments;
  const int64_t each = shape[0] / groups, channels = shape[1], area = shape.count(2);
  for (int64_t d = 0; d < groups * channels; ++d) {
    const auto sum_of = [&](auto&& number) {
      double sum = 0;
      for (int64_t n = d / channels * each; n < (d / channels + 1) * each; ++n)
        for (int64_t i = 0; i < area; ++i)
          sum += number(x[static_cast<size_t>((n * channels + d % channels) * area + i)]);
      return sum / static_cast<double>(each * area);
    };
    const double mean = sum_of([](double value) { return value; });
    moments.push_back(mean);
    moments.push_back(sum_of([&](double value) { return (value - mean) * (value - mean); }));
  }
  return moments;
}

void check_moments(const Conv& c, int64_t groups, Precision precision) {
  const std::string name = cuda_host_in(precision);
  OpCase op = conv_case(c);
  op.precision = precision;
  std::get<ConvDesc>(op.desc).moments = groups;
  op.out.push_back({groups, c.outputs, 2});
  op.dout_parts = {1, 0};
  if (c.bias) op.param_values = {{}, Values(static_cast<size_t>(c.outputs), 7.25)};
  const DType dtype = precision == Precision::bf16 ? DType::bf16 : DType::f32;
  const OpResult got = run_lines(op, name, forms_of_lines(op, name, dtype));
  const Values expected = moments_of(got.out[0], op.out[0], groups);
  REQUIRE(expected.size() == got.out[1].size());
  // Sums are float32, of distances from a number of the channel's.
  for (size_t i = 0; i < expected.size(); i += 2) {
    const double deviation = std::sqrt(expected[i + 1]);
    const double wrong[2] = {std::abs(got.out[1][i] - expected[i]),
                             std::abs(got.out[1][i + 1] - expected[i + 1])};
    CHECK(wrong[0] <= 1e-6 * (std::abs(expected[i]) + deviation));
    CHECK(wrong[1] <= 3e-6 * expected[i + 1]);
  }
}

OpCase elements(OpDesc desc, size_t inputs, const Shape& shape) {
  OpCase op;
  op.desc = std::move(desc);
  op.in.assign(inputs, shape);
  op.out = {shape};
  return op;
}

}  // namespace

TEST(bf16_convolutions) {
  for (const Conv& c : {Conv{{3, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)},
                        Conv{{1, 64, 4, 8}, 64, two(3), two(1), two(1), two(1), 1, false},
                        Conv{{2, 3, 5, 34}, 24, two(3), two(1), two(1), two(1)},
                        Conv{{2, 16, 8, 8}, 32, two(3), two(2), two(1), two(1), 1, false},
                        Conv{{3, 16, 8, 6}, 24, two(2), two(2), two(0), two(1)},
                        Conv{{2, 28, 6, 6}, 12, two(3), two(1), two(1), two(1)},
                        Conv{{1, 12, 5, 9}, 44, two(1), two(1), two(0), two(1)},
                        Conv{{1, 40, 7, 6}, 8, two(1), two(2), two(0), two(1)}})
    // By one op, and step by step, as where another way is faster for one of them.
    for (const char* way : {"first", "tensor"}) {
      setenv("PYCAFFE_CLR_CONVOLUTION", way, 1);
      // Weights are rounded, too, which many terms average out.
      check(conv_case(c), {5e-3, 5e-3, 5e-4});
      unsetenv("PYCAFFE_CLR_CONVOLUTION");
    }
}

// Boxes that hang over an edge, several of a group, maps of several blocks; by one op, and step by
// step.
TEST(moments_of_what_a_convolution_writes) {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    check_moments({{6, 16, 9, 9}, 16, two(3), two(1), two(1), two(1)}, 2, precision);
    check_moments({{3, 8, 8, 8}, 40, two(1), two(2), two(0), two(1), 1, false}, 3, precision);
    check_moments({{2, 3, 20, 40}, 72, two(3), two(1), two(1), two(1)}, 1, precision);
    check_moments({{4, 16, 8, 8}, 32, two(2), two(2), two(0), two(1)}, 2, precision);
    for (const char* way : {"first", "tensor"}) {
      setenv("PYCAFFE_CLR_CONVOLUTION", way, 1);
      check_moments({{2, 28, 7, 5}, 12, two(3), two(1), two(1), two(1)}, 2, precision);
      unsetenv("PYCAFFE_CLR_CONVOLUTION");
    }
  }
}

TEST(norms_of_moments_that_come_with_their_input) {
  for (const bool add : {false, true})
    for (const int64_t groups : {1, 2}) {
      NormActDesc desc;
      desc.gain = desc.shift = desc.relu = desc.moments = true;
      desc.add = add;
      desc.groups = groups;
      OpCase op = norm(desc, {4, 16, 5, 3});
      op.in_values.resize(op.in.size());
      op.in_values[0] = random_values(op.in[0].count(), 77);
      op.in_values.push_back(moments_of(op.in_values[0], op.in[0], groups));
      op.in.push_back({groups, 16, 2});
      op.want_din.assign(op.in.size(), true);
      op.want_din.back() = false;
      const std::string backend = cuda_host_in(Precision::tf32);
      const OpResult got = run_lines(op, backend, forms_of_lines(op, backend, DType::f32));
      check_result(got, op, {1e-6, 1e-5, 1e-5});
      const OpResult expected = run_op(op, "reference", DType::f64);
      for (int i = 0; i < 3; ++i)
        CHECK(relative_difference(got.params[i], expected.params[i]) < 1e-6);
    }
}

TEST(bf16_norms) {
  for (NormActDesc desc : all_chains())
    for (const int64_t groups : {1, 2}) {
      desc.groups = groups;
      OpCase op = norm(desc, {4, 16, 5, 3});
      if (groups == 2) op.dout_parts = {3};
      // What is kept of a gradient between its sums and its use is rounded as well, and a sum of
      // parts is of larger numbers.
      check(op, {kStored, desc.add || groups == 2 ? 4 * kStored : 2 * kStored, 8 * kStored});
    }
  NormActDesc desc;
  desc.gain = desc.shift = desc.relu = true;
  for (const Shape& shape :
       {Shape{2, 24, 3, 3}, Shape{3, 2056, 1, 2}, Shape{16, 8, 17, 9}, Shape{3, 28, 5, 5}})
    check(norm(desc, shape), {kStored, 2 * kStored, 2 * kStored});
}

TEST(bf16_elements) {
  const Shape shape{3, 24, 5, 3};
  for (const double slope : {0.0, 0.1, -0.3})
    check(elements(PointwiseDesc{PointwiseDesc::Function::relu, slope}, 1, shape),
          {kStored, kStored, 0});
  using Operation = EltwiseDesc::Operation;
  for (const Operation operation : {Operation::sum, Operation::product, Operation::max})
    check(elements(EltwiseDesc{operation, {}, true}, 3, shape), {kStored, kStored, 0});
  check(elements(EltwiseDesc{Operation::sum, {1, -0.5, 2}, true}, 3, shape), {kStored, kStored, 0});
}

TEST(bf16_functions) {
  using Function = PointwiseDesc::Function;
  const Shape shape{3, 24, 5, 3};
  for (const Function function : {Function::sigmoid, Function::absval, Function::bnll,
                                  Function::elu, Function::swish, Function::tanh})
    check(elements(PointwiseDesc{function, 0.5}, 1, shape), {kStored, 2 * kStored, 0});
  check(elements(DropoutDesc{0.4}, 1, shape), {kStored, kStored, 0});
  OpCase prelu = elements(PointwiseDesc{Function::prelu}, 1, shape);
  prelu.params = {{24}};
  check(prelu, {kStored, kStored, kSums});
  check(elements(LrnDesc{true, 5, 0.7, 0.75, 1.5}, 1, shape), {kStored, 2 * kStored, 0});
}

TEST(bf16_elements_of_channels_by_four) {
  const Shape shape{1, 12, 3, 3};
  check(elements(PointwiseDesc{PointwiseDesc::Function::relu}, 1, shape), {kStored, kStored, 0});
  check(elements(EltwiseDesc{EltwiseDesc::Operation::sum}, 2, shape), {kStored, kStored, 0});
  OpCase prelu = elements(PointwiseDesc{PointwiseDesc::Function::prelu}, 1, shape);
  prelu.params = {{12}};
  check(prelu, {kStored, kStored, kSums});
}

TEST(dropout_draws_the_same_in_every_form) {
  DropoutDesc desc;
  desc.ratio = 0.3;
  for (const Shape& shape : {Shape{2, 12, 4, 6}, Shape{3, 8, 3, 3}, Shape{1, 28, 5, 2}}) {
    check(elements(desc, 1, shape), {kStored, kStored, 0});
    const OpCase op = elements(desc, 1, shape);
    const std::string backend = cuda_host_in(Precision::tf32);
    check_result(run_lines(op, backend, forms_of_lines(op, backend, DType::f32)), op,
                 {1e-7, 1e-7, 0});
  }
}

TEST(bf16_pooling) {
  for (const auto method : {PoolDesc::Method::max, PoolDesc::Method::average})
    for (const int64_t side : {2, 3}) {
      OpCase op = elements(PoolDesc{method, {side, side}, {2, 2}, {0, 0}}, 1, {2, 16, 8, 9});
      op.in_values = {distinct_values(op.in[0].count(), 3, 0.25)};
      op.out = {{2, 16, 4, side == 2 ? 5 : 4}};
      check(op, {kStored, kStored, 0});
    }
  OpCase op =
      elements(PoolDesc{PoolDesc::Method::average, {2, 2}, {2, 2}, {0, 0}}, 1, {2, 20, 4, 4});
  op.out = {{2, 20, 2, 2}};
  check(op, {kStored, kStored, 0});
}

TEST(bf16_pieces) {
  for (const int64_t first : {16, 28}) {
    OpCase op;
    op.desc = ConcatDesc{1};
    op.in = {{2, first, 3, 2}, {2, 8, 3, 2}, {2, 24, 3, 2}};
    op.out = {{2, first + 32, 3, 2}};
    check(op, {0, 0, 0});
    std::swap(op.in, op.out);
    op.desc = SliceDesc{1};
    check(op, {0, 0, 0});
  }
}

TEST(changes_of_form) {
  const std::string backend = cuda_host_in(Precision::bf16);
  for (const Shape& shape : {Shape{2, 40, 5, 7}, Shape{2, 3, 33, 2}, Shape{4, 64, 1, 1}}) {
    const OpCase op = as_bf16(elements(ReorderDesc{}, 1, shape));
    const OpResult expected = run_op(op, "reference", DType::f64);
    for (const Layout from : {Layout::plain, Layout::nhwc})
      for (const Layout to : {Layout::plain, Layout::nhwc})
        for (const DType type : {DType::f32, DType::bf16})
          for (const DType other : {DType::f32, DType::bf16}) {
            const OpResult got = run_lines(op, backend, {{{from, type}}, {{to, other}}});
            CHECK(same_bits(got, expected));
          }
  }
}
