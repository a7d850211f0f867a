// BatchNorm, Scale, Bias: parameters, how the operand lies on the bottom, phases and replicas.
#include "layer_harness.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Shape;

namespace {

BuiltLayer batch_norm(const std::string& params, const Shape& x, pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'BatchNorm' batch_norm_param { " + params + " }", {x},
                    std::move(context));
}

BuiltLayer scale(const std::string& params, std::vector<Shape> bottoms,
                 pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Scale' scale_param { " + params + " }", std::move(bottoms),
                    std::move(context));
}

BuiltLayer bias(const std::string& params, std::vector<Shape> bottoms) {
  return BuiltLayer("type: 'Bias' bias_param { " + params + " }", std::move(bottoms));
}

void check_place(const BuiltLayer& built, int64_t outer, int64_t dim, int64_t inner) {
  const auto& desc = built.only<pcc::AffineDesc>();
  CHECK_EQ(desc.outer, outer);
  CHECK_EQ(desc.dim, dim);
  CHECK_EQ(desc.inner, inner);
}

}  // namespace

TEST(batch_norm_keeps_three_statistics) {
  const BuiltLayer built = batch_norm("moving_average_fraction: 0.9 eps: 0.125", {4, 3, 5, 6});
  CHECK_EQ(built.params.size(), 3u);
  const Shape expected[] = {{3}, {3}, {1}};
  for (size_t i = 0; i < 3; ++i) {
    CHECK_EQ(built.params[i].shape, expected[i]);
    CHECK(built.params[i].statistic);
    CHECK_EQ(built.params[i].filler.type, pcc::FillerDesc::Type::constant);
    CHECK_EQ(built.params[i].filler.value, 0.0);
  }
  const auto& desc = built.only<pcc::NormActDesc>();
  CHECK_EQ(desc.fraction, 0.9);
  CHECK_EQ(desc.eps, 0.125);
  CHECK(!desc.gain && !desc.shift && !desc.add && !desc.relu);
  CHECK_EQ(built.lowered.ops[0].params, (std::vector<pcc::ParamId>{0, 1, 2}));
  CHECK_EQ(built.shapes[0], (Shape{4, 3, 5, 6}));
}

TEST(batch_norm_statistics_follow_the_phase_unless_set) {
  const Shape x{4, 3, 5, 6};
  CHECK(!batch_norm("", x).only<pcc::NormActDesc>().use_global_stats);
  CHECK(batch_norm("", x, pcc::test_phase()).only<pcc::NormActDesc>().use_global_stats);
  CHECK(batch_norm("use_global_stats: true", x).only<pcc::NormActDesc>().use_global_stats);
  CHECK(!batch_norm("use_global_stats: false", x, pcc::test_phase())
             .only<pcc::NormActDesc>()
             .use_global_stats);
}

TEST(batch_norm_groups_are_the_replicas) {
  CHECK_EQ(batch_norm("", {8, 3}, pcc::with_replicas(4)).only<pcc::NormActDesc>().groups, 4);
  CHECK_EQ(batch_norm("use_global_stats: true", {8, 3}, pcc::with_replicas(4))
               .only<pcc::NormActDesc>()
               .groups,
           1);
  CHECK_THROWS_WITH("does not divide into 3 replicas",
                    batch_norm("", {8, 3}, pcc::with_replicas(3)));
}

TEST(batch_norm_takes_one_axis_as_one_channel) {
  const BuiltLayer built = batch_norm("", {7});
  CHECK_EQ(built.params[0].shape, Shape{1});
  CHECK_EQ(built.lowered.shape(built.lowered.ops[0].ins[0]), (Shape{7, 1}));
  CHECK_EQ(built.shapes[0], Shape{7});
  CHECK_THROWS_WITH("1 axis or more", batch_norm("", Shape{}));
}

TEST(scale_of_a_parameter) {
  const Shape x{2, 3, 4, 5};
  const BuiltLayer plain = scale("", {x});
  check_place(plain, 2, 3, 20);
  CHECK_EQ(plain.params.size(), 1u);
  CHECK_EQ(plain.params[0].filler.value, 1.0);
  const auto& desc = plain.only<pcc::AffineDesc>();
  CHECK(desc.scale && !desc.scale_from_input && !desc.bias && !desc.bias_from_input);

  const BuiltLayer biased =
      scale("axis: 2 bias_term: true filler { type: 'uniform' } bias_filler { value: 7 }", {x});
  check_place(biased, 6, 4, 5);
  CHECK_EQ(biased.params.size(), 2u);
  CHECK_EQ(biased.params[0].filler.type, pcc::FillerDesc::Type::uniform);
  CHECK_EQ(biased.params[1].filler.value, 7.0);
  CHECK_EQ(biased.params[1].shape, Shape{4});
  CHECK(biased.only<pcc::AffineDesc>().bias);

  const BuiltLayer several = scale("axis: 0 num_axes: 2", {x});
  check_place(several, 1, 6, 20);
  CHECK_EQ(several.params[0].shape, (Shape{2, 3}));
  const BuiltLayer all = scale("axis: -2 num_axes: -1", {x});
  check_place(all, 6, 20, 1);
  CHECK_EQ(all.params[0].shape, (Shape{4, 5}));
  const BuiltLayer number = scale("num_axes: 0", {x});
  check_place(number, 1, 1, 120);
  CHECK_EQ(number.params[0].shape, Shape{});
}

TEST(scale_by_a_second_bottom) {
  const Shape x{2, 3, 4, 5};
  const BuiltLayer built = scale("", {x, {3, 4}});
  check_place(built, 2, 12, 5);
  CHECK(built.params.empty());
  CHECK(built.only<pcc::AffineDesc>().scale_from_input);
  CHECK_EQ(built.lowered.ops[0].ins, (std::vector<pcc::ValueId>{0, 1}));
  check_place(scale("axis: 0", {x, {2}}), 1, 2, 60);
  check_place(scale("axis: 3", {x, Shape{}}), 1, 1, 120);

  const BuiltLayer biased = scale("bias_term: true", {x, {3}});
  CHECK_EQ(biased.params.size(), 1u);
  CHECK_EQ(biased.params[0].shape, Shape{3});
  CHECK_EQ(biased.lowered.ops[0].params, (std::vector<pcc::ParamId>{0}));
}

TEST(bias_of_a_parameter_and_of_a_second_bottom) {
  const Shape x{2, 3, 4, 5};
  const BuiltLayer built = bias("filler { value: 2 }", {x});
  check_place(built, 2, 3, 20);
  CHECK_EQ(built.params[0].filler.value, 2.0);
  CHECK(!built.only<pcc::AffineDesc>().scale);
  CHECK(built.only<pcc::AffineDesc>().bias);
  CHECK_EQ(bias("", {x}).params[0].filler.value, 0.0);

  const BuiltLayer two = bias("", {x, {3, 4}});
  check_place(two, 2, 12, 5);
  CHECK(two.only<pcc::AffineDesc>().bias_from_input);
  CHECK(two.params.empty());
}

TEST(scale_errors_say_what_is_wrong) {
  const Shape x{2, 3, 4, 5};
  CHECK_THROWS_WITH("axis: 4 is out of range", scale("axis: 4", {x}));
  CHECK_THROWS_WITH("reach past the end of bottom 'b0' (2x3x4x5)",
                    scale("axis: 2 num_axes: 3", {x}));
  CHECK_THROWS_WITH("num_axes: -2", scale("num_axes: -2", {x}));
  CHECK_THROWS_WITH("bottom 'b1' (4) must equal the axes of 'b0' (2x3x4x5) from axis 1 on",
                    scale("", {x, {4}}));
  CHECK_THROWS_WITH("must equal", scale("axis: 2", {x, {4, 5, 1}}));
  CHECK_THROWS_WITH("2 replicas", scale("axis: 0", {x}, pcc::with_replicas(2)));
  CHECK_EQ(scale("num_axes: 0 axis: 0", {x}, pcc::with_replicas(2)).params.size(), 1u);
}

TEST(scale_does_not_read_what_it_does_not_use) {
  const BuiltLayer built(
      "type: 'Scale' scale_param { num_axes: 1 bias_filler { value: 1 } } batch_norm_param { eps: "
      "1 }",
      {{2, 3}, {3}});
  CHECK_EQ(built.layer->spec().attributes.unread(),
           (std::vector<std::string>{"batch_norm_param", "scale_param.num_axes"}));
}
