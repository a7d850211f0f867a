// Products, pooling, softmax and changes of layout of the CPU backend against the plain loops, on
// every instruction set.
#include "kernel_cases.h"

using namespace pcc;

namespace {

constexpr double kTolerance = 5e-6;  // single-precision sums of some hundred terms

void check(const OpCase& op) { check_kernels(op, kTolerance); }

OpCase make_case(OpDesc desc, const Shape& x, const Shape& y) {
  OpCase op;
  op.desc = std::move(desc);
  op.in = {x};
  op.out = {y};
  return op;
}

OpCase gemm_case(int64_t m, int64_t k, int64_t n, bool transpose, bool bias) {
  OpCase op = make_case(GemmDesc{m, k, n, transpose, bias}, Shape{m, k}, Shape{m, n});
  op.params = {transpose ? Shape{k, n} : Shape{n, k}};
  if (bias) op.params.push_back(Shape{n});
  return op;
}

int64_t windows(int64_t size, int64_t kernel, int64_t stride, int64_t pad) {
  int64_t count = (size + 2 * pad - kernel + stride - 1) / stride + 1;  // rounded up
  if (pad > 0 && (count - 1) * stride >= size + pad) --count;
  return count;
}

OpCase pool_case(PoolDesc::Method method, const Shape& x, int64_t kernel, int64_t stride,
                 int64_t pad) {
  PoolDesc desc;
  desc.method = method;
  for (int axis = 0; axis < 2; ++axis) {
    desc.kernel[axis] = kernel;
    desc.stride[axis] = stride;
    desc.pad[axis] = pad;
  }
  OpCase op = make_case(
      desc, x,
      {x[0], x[1], windows(x[2], kernel, stride, pad), windows(x[3], kernel, stride, pad)});
  if (method == PoolDesc::Method::max) op.in_values = {distinct_values(x.count(), 3)};
  return op;
}

constexpr auto kMax = PoolDesc::Method::max;
constexpr auto kAverage = PoolDesc::Method::average;

}  // namespace

TEST(products) {
  for (const bool transpose : {false, true})
    for (const bool bias : {false, true}) {
      check(gemm_case(7, 33, 10, transpose, bias));
      check(gemm_case(64, 100, 50, transpose, bias));
      check(gemm_case(1, 1, 1, transpose, bias));
    }
}

TEST(pooling) {
  for (const PoolDesc::Method method : {kMax, kAverage})
    for (const Shape& x : {Shape{2, 16, 8, 8}, Shape{2, 20, 9, 7}, Shape{3, 3, 5, 6},
                           Shape{2, 3, 8, 6}, Shape{2, 3, 4, 14}}) {
      check(pool_case(method, x, 2, 2, 0));
      check(pool_case(method, x, 3, 1, 1));
      check(pool_case(method, x, 2, 1, 0));
    }
}

TEST(pooling_with_windows_cut_off_at_the_end) {
  for (const Shape& x : {Shape{2, 16, 8, 8}, Shape{2, 20, 9, 7}, Shape{3, 3, 5, 6}})
    for (const PoolDesc::Method method : {kMax, kAverage}) {
      check(pool_case(method, x, 3, 2, 0));
      check(pool_case(method, x, 3, 2, 1));
    }
}

TEST(global_average) { check(pool_case(kAverage, {4, 64, 8, 8}, 8, 1, 0)); }

TEST(maximum_of_ties_is_the_first) {
  OpCase op = pool_case(kMax, {2, 16, 6, 6}, 3, 2, 0);
  op.in_values = {Values(static_cast<size_t>(op.in[0].count()), 0.5)};
  check(op);
  op = pool_case(kMax, {2, 16, 7, 7}, 3, 2, 1);
  op.in_values = {label_values(op.in[0].count(), 2, 5)};
  check(op);
}

TEST(softmax) {
  const auto check = [](const OpCase& op) {
    for (const std::string& backend : fast_backends()) check_kernels(op, kTolerance, backend);
    check_kernels(op, kTolerance, cuda_backend());
  };
  check(make_case(SoftmaxDesc{1}, Shape{5, 10}, Shape{5, 10}));
  check(make_case(SoftmaxDesc{1}, Shape{2, 7, 3, 4}, Shape{2, 7, 3, 4}));
  check(make_case(SoftmaxDesc{2}, Shape{2, 7, 3}, Shape{2, 7, 3}));
}

TEST(changes_of_layout_are_exact) {
  const Shape shape{2, 48, 9, 11};
  const OpCase op = make_case(ReorderDesc{}, shape, shape);
  for (const Layout from : {Layout::plain, Layout::nhwc, Layout::c8, Layout::c16})
    for (const Layout to : {Layout::plain, Layout::nhwc, Layout::c8, Layout::c16}) {
      const OpResult expected = run_op(op, "reference", DType::f32, LayoutChoice{{from}, {to}});
      for (const std::string& backend : fast_backends()) {
        const OpResult got = run_op(op, backend, DType::f32, LayoutChoice{{from}, {to}});
        REQUIRE(got.made);
        CHECK(got.out == expected.out);
        CHECK(got.din == expected.din);
      }
    }
}
