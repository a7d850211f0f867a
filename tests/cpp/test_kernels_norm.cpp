// The fused BatchNorm of the CPU backend against the plain loops.
#include <cmath>

#include "core/parallel.h"
#include "kernel_cases.h"
#include "norm_cases.h"

using namespace pcc;

namespace {

// Single precision against double: a gradient loses some digits where large terms cancel.
constexpr double kTolerance = 1e-5;

NormActDesc whole_chain() {
  NormActDesc desc;
  desc.gain = desc.shift = desc.add = desc.relu = true;
  return desc;
}

}  // namespace

TEST(every_chain) {
  for (const NormActDesc& desc : all_chains())
    for (const Shape& shape : {Shape{4, 16, 5, 3}, Shape{6, 5, 3, 7}})
      check_kernels(norm(desc, shape), kTolerance);
}

TEST(every_shape) {
  NormActDesc plain = whole_chain();
  plain.add = false;
  for (const NormActDesc& desc : {whole_chain(), plain})
    for (const Shape& shape :
         {Shape{5, 8, 1, 1}, Shape{7, 3, 1, 1}, Shape{7, 28, 4, 4}, Shape{4, 32, 8, 8},
          Shape{3, 48, 2, 9}, Shape{2, 1, 6, 6}, Shape{9, 20}, Shape{6, 3, 10},
          Shape{2, 12, 2, 3, 4}, Shape{1, 16, 24, 24}, Shape{3, 17, 33, 1}})
      check_kernels(norm(desc, shape), kTolerance);
}

TEST(replicas_have_statistics_of_their_own) {
  for (NormActDesc desc : {whole_chain(), NormActDesc{}})
    for (const int64_t groups : {2, 3}) {
      desc.groups = groups;
      for (const Shape& shape : {Shape{6, 16, 3, 3}, Shape{12, 7, 2, 5}, Shape{12, 24}})
        check_kernels(norm(desc, shape), kTolerance);
    }
}

TEST(leaky_relu) {
  for (const double slope : {0.1, -0.3})
    for (const bool add : {false, true}) {
      NormActDesc desc = whole_chain();
      desc.add = add;
      desc.negative_slope = slope;
      check_kernels(norm(desc, {3, 16, 4, 3}), kTolerance);
    }
}

TEST(several_parts_of_the_gradient) {
  for (const int parts : {3, 4})
    for (const bool add : {false, true}) {
      NormActDesc desc = whole_chain();
      desc.add = add;
      OpCase op = norm(desc, {4, 16, 3, 3});
      op.dout_parts = {parts};
      check_kernels(op, kTolerance);
    }
}

TEST(any_number_of_threads) {
  const int before = threads();
  for (const int count : {1, 3, 4}) {
    set_threads(count);
    for (const Shape& shape : {Shape{4, 16, 5, 3}, Shape{6, 24, 3, 7}, Shape{3, 3, 9, 9}})
      check_kernels(norm(whole_chain(), shape), kTolerance);
  }
  set_threads(before);
}

TEST(a_small_variance_around_a_large_mean) {
  NormActDesc desc;
  const Shape shape{4, 16, 20, 20};
  OpCase op = norm(desc, shape);
  op.in_values = {random_values(shape.count(), 5)};
  for (double& value : op.in_values[0]) value = static_cast<float>(100 + value);
  // What single precision leaves of the numbers themselves: 100 * 2^-24 against a deviation of 0.6.
  check_kernels(op, 3e-5);
}

TEST(a_constant_channel) {
  const Shape shape{2, 8, 3, 3};
  OpCase op = norm(NormActDesc{}, shape);
  op.in_values = {Values(static_cast<size_t>(shape.count()), 0.75)};
  check_kernels(op, kTolerance);
}

TEST(a_number_that_is_its_own_mean_has_no_gradient) {
  for (const int64_t channels : {1, 3, 16, 20})
    for (const bool affine : {false, true}) {
      NormActDesc desc;
      desc.gain = desc.shift = affine;
      for (const std::string& isa : cpu::loop_isas()) {
        cpu::select_loops(isa);
        const OpResult result = run_op(norm(desc, {1, channels}), "cpu", DType::f32);
        for (const double dx : result.din[0]) CHECK(dx == 0);
      }
    }
}

TEST(scale_and_bias_on_their_own) {
  for (const int kind : {0, 1, 2})  // scale, bias, both
    for (const bool from_input : {false, true})
      for (const Shape& x : {Shape{4, 16, 5, 3}, Shape{5, 7}, Shape{3, 20, 5, 5}})
        for (int axis = 0; axis < 2; ++axis)
          for (int end = axis; end <= x.axes(); end += 2) {
            AffineDesc desc;
            desc.outer = x.count(0, axis);
            desc.dim = x.count(axis, end);
            desc.inner = x.count(end);
            desc.scale = kind != 1;
            desc.bias = kind != 0;
            desc.scale_from_input = desc.bias_from_input = from_input;
            OpCase op;
            op.desc = desc;
            op.in = op.out = {x};
            auto& places = from_input ? op.in : op.params;
            for (int k = 0; k < (kind == 2 ? 2 : 1); ++k)
              places.push_back(
                  Shape(std::vector<int64_t>(x.dims().begin() + axis, x.dims().begin() + end)));
            check_kernels(op, kTolerance);
            op.dout_parts = {3};
            if (axis == 1) check_kernels(op, kTolerance);
          }
}

TEST(nan_comes_through) {
  const Shape shape{2, 8, 3, 3};
  NormActDesc desc = whole_chain();
  desc.use_global_stats = true;
  OpCase op = norm(desc, shape);
  op.in_values = {random_values(shape.count(), 5)};
  op.in_values[0][7] = std::nan("");
  op.want_din = {false, false};
  op.want_dparam.assign(5, false);
  check_kernels(op, kTolerance);
}
