// Ops of the CUDA backend over bf16 and with channels last, in forms that are its own.
#include <cstdlib>

#include "conv_cases.h"
#include "lines_cases.h"
#include "norm_cases.h"

using namespace pcc;

namespace {

constexpr double kStored = 0x1p-8;  // half a unit in the last place of bf16
constexpr double kSums = 1e-5;      // in single precision

void check(const OpCase& op, const Tolerance& tolerance) {
  const OpCase rounded = as_bf16(op);
  const std::string backend = cuda_host_in(Precision::bf16);
  check_result(run_lines(rounded, backend, forms_of_lines(rounded, backend, DType::bf16)), rounded,
               tolerance);
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
                        Conv{{1, 40, 7, 6}, 8, two(1), two(2), two(0), two(1)}})
    // By one op, and step by step, as where another way is faster for one of them.
    for (const char* way : {"first", "tensor"}) {
      setenv("PYCAFFE_CLR_CONVOLUTION", way, 1);
      // Weights are rounded, too, which many terms average out.
      check(conv_case(c), {5e-3, 5e-3, 5e-4});
      unsetenv("PYCAFFE_CLR_CONVOLUTION");
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
  for (const Shape& shape : {Shape{2, 24, 3, 3}, Shape{3, 2056, 1, 2}, Shape{16, 8, 17, 9}})
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

TEST(bf16_pooling) {
  for (const auto method : {PoolDesc::Method::max, PoolDesc::Method::average})
    for (const int64_t side : {2, 3}) {
      OpCase op = elements(PoolDesc{method, {side, side}, {2, 2}, {0, 0}}, 1, {2, 16, 8, 9});
      op.in_values = {distinct_values(op.in[0].count(), 3, 0.25)};
      op.out = {{2, 16, 4, side == 2 ? 5 : 4}};
      check(op, {kStored, kStored, 0});
    }
}

TEST(bf16_pieces) {
  OpCase op;
  op.desc = ConcatDesc{1};
  op.in = {{2, 16, 3, 2}, {2, 8, 3, 2}, {2, 24, 3, 2}};
  op.out = {{2, 48, 3, 2}};
  check(op, {0, 0, 0});
  std::swap(op.in, op.out);
  op.desc = SliceDesc{1};
  check(op, {0, 0, 0});
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
