// Fillers: their statistics against those of Caffe's, their errors, and that they depend on nothing
// but the stream.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "ops/fill.h"
#include "testing.h"

using pcc::FillerDesc;
using pcc::Shape;
using Type = FillerDesc::Type;
using Fan = FillerDesc::Fan;

namespace {

std::vector<double> filled(const FillerDesc& filler, const Shape& shape,
                           pcc::RandomStream stream = {.seed = 1}) {
  std::vector<double> values(static_cast<size_t>(shape.count()), -77);
  pcc::fill(filler, shape, stream, values.data());
  return values;
}

struct Statistics {
  double mean = 0, std = 0, min = 0, max = 0, zeros = 0;
};

Statistics of(const std::vector<double>& values) {
  Statistics result{.min = values[0], .max = values[0]};
  const auto count = static_cast<double>(values.size());
  for (const double value : values) {
    result.mean += value / count;
    result.min = std::min(result.min, value);
    result.max = std::max(result.max, value);
    if (value == 0) result.zeros += 1;
  }
  result.zeros /= count;
  for (const double value : values)
    result.std += (value - result.mean) * (value - result.mean) / count;
  result.std = std::sqrt(result.std);
  return result;
}

FillerDesc filler(Type type, Fan norm = Fan::in) {
  FillerDesc desc;
  desc.type = type;
  desc.variance_norm = norm;
  return desc;
}

const Shape kConv{64, 8, 5, 5}, kProduct{300, 400};

}  // namespace

// The numbers are what Caffe 1.0 drew for the same fillers and shapes. With 12,800 and 120,000
// values the sampling error of a deviation is 0.6 % and 0.2 %; both draws have it, so 3 % and 1 %
// are beyond four of theirs.
TEST(filler_statistics_are_caffes) {
  struct Case {
    FillerDesc filler;
    double conv_std, product_std;
  };
  FillerDesc gaussian = filler(Type::gaussian), uniform = filler(Type::uniform);
  gaussian.mean = 0.5;
  gaussian.std = 0.02;
  uniform.min = -0.3;
  uniform.max = 0.7;
  const Case cases[] = {
      {filler(Type::xavier), 0.07033595933405136, 0.05001228820570704},
      {filler(Type::xavier, Fan::out), 0.02486751555901121, 0.05774922237395681},
      {filler(Type::xavier, Fan::average), 0.03315668741179878, 0.05346539014549389},
      {filler(Type::msra), 0.10038627124609997, 0.07078095610942156},
      {filler(Type::msra, Fan::out), 0.035491903872735, 0.08173081592586964},
      {filler(Type::msra, Fan::average), 0.047322542232807664, 0.07566803265631127},
      {gaussian, 0.020077253359936778, 0.020019878314437186},
      {uniform, 0.2871453412193323, 0.28874608570297083},
      {filler(Type::unitball), 0.002851628384262865, 0.0014425565687639366},
  };
  for (const Case& each : cases) {
    CHECK_NEAR(of(filled(each.filler, kConv)).std / each.conv_std, 1, 0.03);
    CHECK_NEAR(of(filled(each.filler, kProduct)).std / each.product_std, 1, 0.01);
  }
  CHECK_NEAR(of(filled(gaussian, kProduct)).mean, 0.5, 3e-4);
  CHECK_NEAR(of(filled(uniform, kProduct)).mean, 0.2, 4e-3);
  CHECK_NEAR(of(filled(filler(Type::msra), kProduct)).mean, 0, 1e-3);
}

TEST(filler_ranges_are_caffes) {
  const Statistics conv = of(filled(filler(Type::xavier), kConv)),
                   product = of(filled(filler(Type::xavier, Fan::out), kProduct));
  CHECK_NEAR(conv.max, 0.12247448, 1e-4);  // sqrt(3 / 200)
  CHECK_NEAR(conv.min, -0.12247448, 1e-4);
  CHECK_NEAR(product.max, 0.1, 1e-4);  // sqrt(3 / 300)
  const Statistics uniform = of(filled(filler(Type::uniform), kProduct));
  CHECK(uniform.min >= 0 && uniform.min < 1e-4);
  CHECK(uniform.max < 1 && uniform.max > 1 - 1e-4);
}

TEST(gaussian_is_normal) {
  const std::vector<double> values = filled(filler(Type::gaussian), kProduct);
  double third = 0, fourth = 0, beyond_two = 0;
  for (const double value : values) {
    third += value * value * value / 120000;
    fourth += value * value * value * value / 120000;
    beyond_two += (std::abs(value) > 2) / 120000.0;
  }
  CHECK_NEAR(third, 0, 0.05);
  CHECK_NEAR(fourth, 3, 0.12);
  CHECK_NEAR(beyond_two, 0.0455, 0.003);
}

TEST(sparse_gaussian_keeps_as_many_as_caffe) {
  FillerDesc sparse = filler(Type::gaussian);
  sparse.std = 0.1;
  sparse.sparse = 10;
  const Statistics conv = of(filled(sparse, kConv)), product = of(filled(sparse, kProduct));
  CHECK_NEAR(conv.zeros, 0.8396875, 0.015);  // 1 - 10/64, as the numbers of Caffe
  CHECK_NEAR(product.zeros, 0.967375, 0.003);
  // Few values are left: four deviations of the difference between two draws are 11 % and 8 %.
  CHECK_NEAR(conv.std, 0.040696361916027296, 0.0045);
  CHECK_NEAR(product.std, 0.018201893998578886, 0.0014);
  sparse.sparse = 0;
  CHECK_EQ(of(filled(sparse, kProduct)).zeros, 1.0);
}

TEST(unitball_rows_sum_to_one) {
  const std::vector<double> values = filled(filler(Type::unitball), kConv);
  for (size_t row = 0; row < 64; ++row) {
    double sum = 0;
    for (size_t i = 0; i < 200; ++i) sum += values[row * 200 + i];
    CHECK_NEAR(sum, 1, 1e-12);
  }
  CHECK(of(values).min > 0);
  CHECK_EQ(filled(filler(Type::unitball), {3}), (std::vector<double>{1, 1, 1}));
}

TEST(bilinear_kernels_interpolate) {
  const std::vector<double> four = filled(filler(Type::bilinear), {1, 1, 4, 4});
  const double even[] = {0.25, 0.75, 0.75, 0.25}, odd[] = {0.5, 1, 0.5};
  for (size_t i = 0; i < 16; ++i) CHECK_NEAR(four[i], even[i / 4] * even[i % 4], 1e-12);
  const std::vector<double> three = filled(filler(Type::bilinear), {2, 1, 3, 3});
  for (size_t i = 0; i < 18; ++i) CHECK_NEAR(three[i], odd[i % 9 / 3] * odd[i % 3], 1e-12);
  CHECK_THROWS_WITH("square kernels of 4 axes; the shape is 1x1x3x4",
                    filled(filler(Type::bilinear), {1, 1, 3, 4}));
  CHECK_THROWS_WITH("square", filled(filler(Type::bilinear), {3, 3}));
}

TEST(constant_fills_any_shape) {
  FillerDesc constant;
  constant.value = 0.2;
  CHECK_EQ(filled(constant, {2, 2}), (std::vector<double>(4, 0.2)));
  CHECK_EQ(filled(constant, Shape{}), (std::vector<double>{0.2}));
  CHECK_EQ(filled(filler(Type::xavier), Shape{}).size(), 1u);
  CHECK_EQ(filled(filler(Type::msra, Fan::out), {5}).size(), 5u);
  CHECK_EQ(filled(filler(Type::msra, Fan::average), {2, 3, 1, 2, 2}).size(), 24u);
}

TEST(fillers_draw_the_streams_numbers) {
  const pcc::RandomStream stream{.seed = 5, .layer = 6, .pass = 7};
  const std::vector<double> uniform = filled(filler(Type::uniform), {9997}, stream);
  const std::vector<double> normal = filled(filler(Type::gaussian), {9997}, stream);
  for (uint64_t i = 0; i < 9997; ++i) {
    CHECK_EQ(uniform[i], stream.uniform(i));
    CHECK_NEAR(normal[i], stream.normal(i), 1e-12);
  }
}

TEST(fillers_depend_on_nothing_but_the_stream) {
  const int before = pcc::threads();
  for (const Type type :
       {Type::uniform, Type::gaussian, Type::xavier, Type::msra, Type::unitball}) {
    pcc::set_threads(1);
    const std::vector<double> one = filled(filler(type), kProduct);
    pcc::set_threads(3);
    CHECK(one == filled(filler(type), kProduct));
    CHECK(one != filled(filler(type), kProduct, {.seed = 2}));
    CHECK(one != filled(filler(type), kProduct, {.seed = 1, .pass = 1}));
  }
  pcc::set_threads(before);
}

TEST(filler_errors_say_what_is_wrong) {
  FillerDesc sparse = filler(Type::xavier);
  sparse.sparse = 1;
  CHECK_THROWS_WITH("not for 'xavier'", filled(sparse, {2}));
  sparse.type = Type::gaussian;
  sparse.sparse = 3;
  CHECK_THROWS_WITH("sparse: 3 exceeds the 2 outputs", filled(sparse, {2}));
  CHECK_THROWS_WITH("exceeds", filled(sparse, Shape{}));
  sparse.sparse = -2;
  CHECK_THROWS_WITH("sparse: -2", filled(sparse, {2}));
  FillerDesc backwards = filler(Type::uniform);
  backwards.min = 2;
  CHECK_THROWS_WITH("min: 2 exceeds max: 1", filled(backwards, {2}));
  FillerDesc negative = filler(Type::gaussian);
  negative.std = -1;
  CHECK_THROWS_WITH("std: -1", filled(negative, {2}));
}
