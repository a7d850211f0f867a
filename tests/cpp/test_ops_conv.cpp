// Convolution, deconvolution and inner product of the reference backend: against the defining sums,
// and by finite differences.
#include "core/parallel.h"
#include "op_harness.h"
#include "testing.h"

namespace {

using pcc::ConvDesc;
using pcc::DType;
using pcc::GemmDesc;
using pcc::OpCase;
using pcc::OpResult;
using pcc::Shape;
using pcc::Values;

struct ConvRow {
  const char* name;
  Shape image, map;
  ConvDesc desc;
};

// image (N, C, size..) and map (N, O, map size..) of a convolution; for transposed ones the input
// is the map.
const std::vector<ConvRow> kConvolutions = {
    {"3x3 pad 1", {2, 3, 5, 6}, {2, 4, 5, 6}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}}},
    {"1x1", {2, 3, 3, 4}, {2, 5, 3, 4}, {{1, 1}, {1, 1}, {0, 0}, {1, 1}}},
    {"1x1 stride 2 without bias",
     {2, 3, 5, 5},
     {2, 2, 3, 3},
     {{1, 1}, {2, 2}, {0, 0}, {1, 1}, 1, false}},
    {"5x5 stride 2 pad 2", {1, 2, 7, 7}, {1, 3, 4, 4}, {{5, 5}, {2, 2}, {2, 2}, {1, 1}}},
    {"non-square", {2, 2, 6, 9}, {2, 3, 5, 3}, {{2, 5}, {1, 3}, {0, 1}, {1, 1}}},
    {"dilation", {1, 2, 8, 7}, {1, 2, 4, 3}, {{3, 2}, {1, 2}, {0, 0}, {2, 1}}},
    {"two groups", {2, 4, 4, 4}, {2, 6, 4, 4}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}, 2}},
    {"one group per channel", {2, 3, 5, 5}, {2, 3, 3, 3}, {{3, 3}, {2, 2}, {1, 1}, {1, 1}, 3}},
    {"kernel as large as the image", {3, 2, 4, 3}, {3, 5, 1, 1}, {{4, 3}, {1, 1}, {0, 0}, {1, 1}}},
    {"padding wider than the image", {1, 1, 2, 2}, {1, 1, 6, 6}, {{3, 3}, {1, 1}, {3, 3}, {1, 1}}},
    {"one axis", {2, 3, 9}, {2, 2, 5}, {{3}, {2}, {1}, {1}}},
    {"three axes", {1, 2, 3, 4, 3}, {1, 2, 2, 4, 2}, {{2, 3, 1}, {1, 1, 2}, {0, 1, 0}, {1, 1, 1}}},
};

OpCase case_of(const ConvRow& row, bool transposed) {
  OpCase op;
  ConvDesc desc = row.desc;
  desc.transposed = transposed;
  op.in = {transposed ? row.map : row.image};
  op.out = {transposed ? row.image : row.map};
  Shape weights{row.map[1], row.image[1] / desc.group};
  for (const int64_t size : desc.kernel) weights.push_back(size);
  op.params = {weights};
  if (desc.bias) op.params.push_back({op.out[0][1]});
  op.desc = desc;
  return op;
}

// Calls body(map index, image index, weight index) for every product of the convolution's defining
// sum.
template <typename Body>
void for_each_product(const ConvRow& row, Body body) {
  const ConvDesc& d = row.desc;
  const int axes = row.image.axes() - 2;
  const int64_t group_maps = row.map[1] / d.group, group_channels = row.image[1] / d.group;
  int64_t taps = 1;
  for (const int64_t size : d.kernel) taps *= size;
  for (int64_t m = 0; m < row.map.count(); ++m) {
    const int64_t place = m % row.map.count(2), o = m / row.map.count(2) % row.map[1];
    const int64_t n = m / row.map.count(1);
    for (int64_t c = 0; c < group_channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap) {
        int64_t at = 0, scale = 1, rest_place = place, rest_tap = tap;
        bool inside = true;
        for (int axis = axes - 1; axis >= 0; --axis) {
          const auto a = static_cast<size_t>(axis);
          const int64_t x = rest_place % row.map[axis + 2] * d.stride[a] - d.pad[a] +
                            rest_tap % d.kernel[a] * d.dilation[a];
          inside = inside && x >= 0 && x < row.image[axis + 2];
          at += x * scale;
          scale *= row.image[axis + 2];
          rest_place /= row.map[axis + 2];
          rest_tap /= d.kernel[a];
        }
        const int64_t channel = o / group_maps * group_channels + c;
        if (inside)
          body(m, (n * row.image[1] + channel) * row.image.count(2) + at,
               (o * group_channels + c) * taps + tap);
      }
  }
}

TEST(convolution_is_its_defining_sum) {
  for (const ConvRow& row : kConvolutions)
    for (const bool transposed : {false, true}) {
      OpCase op = case_of(row, transposed);
      op.in_values = {pcc::random_values(op.in[0].count(), 3)};
      op.param_values = {pcc::random_values(op.params[0].count(), 4)};
      if (row.desc.bias) op.param_values.push_back(pcc::random_values(op.params[1].count(), 5));
      Values expected(static_cast<size_t>(op.out[0].count()));
      const int64_t area = op.out[0].count(2);
      if (row.desc.bias)
        for (size_t i = 0; i < expected.size(); ++i)
          expected[i] =
              op.param_values[1][i / static_cast<size_t>(area) % static_cast<size_t>(op.out[0][1])];
      for_each_product(row, [&](int64_t map, int64_t image, int64_t weight) {
        const auto to = static_cast<size_t>(transposed ? image : map);
        const auto from = static_cast<size_t>(transposed ? map : image);
        expected[to] += op.in_values[0][from] * op.param_values[0][static_cast<size_t>(weight)];
      });
      const OpResult exact = run_op(op, "reference", DType::f64),
                     single = run_op(op, "reference", DType::f32);
      CHECK_NEAR(pcc::relative_difference(exact.out[0], expected), 0, 1e-14);
      CHECK_NEAR(pcc::relative_difference(single.out[0], expected), 0, 1e-6);
    }
}

TEST(convolution_gradients) {
  for (const ConvRow& row : kConvolutions) {
    check_gradient(case_of(row, false));
    check_gradient(case_of(row, true));
  }
}

TEST(convolution_in_float_agrees_with_double) {
  for (const ConvRow& row : kConvolutions) {
    compare_with_reference(case_of(row, false), "reference", 2e-6);
    compare_with_reference(case_of(row, true), "reference", 2e-6);
  }
}

// Large enough for several pieces per sample and several panels per product.
OpCase large_convolution() {
  return case_of({"large", {2, 40, 16, 20}, {2, 12, 16, 20}, {{3, 3}, {1, 1}, {1, 1}, {1, 1}}},
                 false);
}

TEST(convolution_does_not_depend_on_threads) {
  const int before = pcc::threads();
  pcc::set_threads(1);
  const OpResult one = run_op(large_convolution(), "reference", DType::f32);
  for (const int threads : {2, 3, 5}) {
    pcc::set_threads(threads);
    const OpResult many = run_op(large_convolution(), "reference", DType::f32);
    CHECK(many.out == one.out);
    CHECK(many.din == one.din);
    CHECK(many.dparams == one.dparams);
  }
  pcc::set_threads(before);
}

TEST(large_convolution_agrees_with_double) {
  compare_with_reference(large_convolution(), "reference", 5e-6);
}

OpCase inner_product(int64_t m, int64_t k, int64_t n, bool transpose, bool bias) {
  OpCase op;
  op.desc = GemmDesc{m, k, n, transpose, bias};
  op.in = {{m, k}};
  op.params = {transpose ? Shape{k, n} : Shape{n, k}};
  if (bias) op.params.push_back({n});
  op.out = {{m, n}};
  return op;
}

TEST(inner_product_is_its_defining_sum) {
  for (const bool transpose : {false, true}) {
    OpCase op = inner_product(2, 3, 2, transpose, true);
    op.in_values = {{1, 2, 3, 4, 5, 6}};
    op.param_values = {transpose ? Values{1, 0, 2, -1, 3, 1} : Values{1, 2, 3, 0, -1, 1}, {10, 20}};
    const OpResult got = run_op(op, "reference", DType::f32);
    CHECK_EQ(got.out[0], (Values{24, 21, 42, 21}));
  }
}

TEST(inner_product_gradients) {
  for (const bool transpose : {false, true})
    for (const bool bias : {false, true}) {
      check_gradient(inner_product(3, 5, 4, transpose, bias));
      check_gradient(inner_product(1, 7, 1, transpose, bias));
      compare_with_reference(inner_product(67, 300, 70, transpose, bias), "reference", 5e-6);
    }
}

TEST(inner_product_does_not_depend_on_threads) {
  const int before = pcc::threads();
  const OpCase op = inner_product(70, 300, 150, false, true);
  pcc::set_threads(1);
  const OpResult one = run_op(op, "reference", DType::f32);
  pcc::set_threads(4);
  const OpResult four = run_op(op, "reference", DType::f32);
  CHECK(one.out == four.out && one.din == four.din && one.dparams == four.dparams);
  pcc::set_threads(before);
}

// Several inputs make a gradient that nobody sends: then everything is zero, and parameters'
// gradients stay as they were.
TEST(no_gradient_from_above_means_zero) {
  OpCase op = inner_product(2, 3, 4, false, true);
  op.dout_parts = {0};
  const OpResult got = run_op(op, "reference", DType::f32);
  CHECK_EQ(got.din[0], Values(6, 0));
  CHECK_EQ(got.dparams[0], Values(12, 0));
}

}  // namespace
