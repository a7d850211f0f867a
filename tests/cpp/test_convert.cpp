// Values between types and layouts: the one node that the planner inserts for both.
#include <cmath>
#include <limits>
#include <vector>

#include "core/bfloat16.h"
#include "ops/backends.h"
#include "testing.h"

using namespace pcc;

namespace {

float through_bfloat16(float value) { return BFloat16(value); }

// Converts and back again, by forward and, as a gradient, by backward.
template <typename From, typename To>
std::vector<To> convert(std::vector<From> values, const TensorSpec& from, const TensorSpec& to,
                        std::vector<From>* gradient = nullptr) {
  OpSite site;
  site.name = "x";
  site.in = {from};
  site.out = {to};
  site.want_din = {true};
  const std::unique_ptr<Op> op = backend("reference").make(ReorderDesc{}, site);
  std::vector<To> result(values.size());
  std::vector<From> back(values.size());
  OpBuffers buffers;
  buffers.in = {{values.data(), from}};
  buffers.out = {{result.data(), to}};
  buffers.din = {{back.data(), from}};
  buffers.dout = {{{result.data(), to}}};
  op->bind(buffers);
  op->forward({});
  op->backward({});
  if (gradient) *gradient = back;
  return result;
}

TEST(bfloat16_rounds_to_the_nearest) {
  CHECK_EQ(through_bfloat16(1.0f), 1.0f);
  CHECK_EQ(through_bfloat16(-0.15625f), -0.15625f);
  // 1 + 2^-8 lies halfway between 1 and 1 + 2^-7, and goes to the even one; a little more goes up.
  CHECK_EQ(through_bfloat16(1.00390625f), 1.0f);
  CHECK_EQ(through_bfloat16(1.01171875f), 1.015625f);
  CHECK_EQ(through_bfloat16(1.00390637f), 1.0078125f);
  CHECK_EQ(through_bfloat16(3.4e38f), std::numeric_limits<float>::infinity());
  CHECK(std::isnan(through_bfloat16(std::numeric_limits<float>::quiet_NaN())));
  CHECK_EQ(through_bfloat16(-std::numeric_limits<float>::infinity()),
           -std::numeric_limits<float>::infinity());
  for (float value = 1e-30f; value < 1e30f; value *= 1.7f)
    CHECK(std::abs(through_bfloat16(value) - value) <= value / 256);
}

TEST(types_and_layouts_change_in_one_step) {
  const Shape shape{2, 8, 2, 1};
  const TensorSpec plain{shape, DType::f32, Layout::plain};
  const TensorSpec blocked{shape, DType::bf16, Layout::nhwc};
  std::vector<float> values(32), gradient;
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) + 0.25f;
  const std::vector<BFloat16> got = convert<float, BFloat16>(values, plain, blocked, &gradient);
  for (size_t n = 0; n < 2; ++n)
    for (size_t c = 0; c < 8; ++c)
      for (size_t p = 0; p < 2; ++p)
        CHECK_EQ(static_cast<float>(got[n * 16 + p * 8 + c]),
                 through_bfloat16(values[n * 16 + c * 2 + p]));
  for (size_t i = 0; i < values.size(); ++i) CHECK_EQ(gradient[i], through_bfloat16(values[i]));
}

TEST(doubles_become_floats_and_back) {
  const TensorSpec doubles{Shape{3}, DType::f64}, floats{Shape{3}, DType::f32};
  CHECK_EQ((convert<double, float>({0.1, 2, -3}, doubles, floats)),
           (std::vector<float>{0.1f, 2, -3}));
  CHECK_EQ((convert<float, double>({0.5f, 2, -3}, floats, doubles)),
           (std::vector<double>{0.5, 2, -3}));
}

}  // namespace
