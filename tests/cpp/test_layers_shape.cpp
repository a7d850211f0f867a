// Concat, Slice, Split, Flatten, Reshape, Silence.
#include "layer_harness.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Shape;

namespace {

BuiltLayer concat_of(const std::string& params, std::vector<Shape> bottoms,
                     pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Concat' concat_param { " + params + " }", std::move(bottoms),
                    std::move(context));
}

BuiltLayer slice(const std::string& params, const Shape& x, int tops,
                 pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Slice' slice_param { " + params + " }", {x}, std::move(context), tops);
}

Shape flattened(const std::string& params, const Shape& x, pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Flatten' flatten_param { " + params + " }", {x}, std::move(context))
      .shapes[0];
}

Shape reshaped(const std::string& params, const Shape& x, pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Reshape' reshape_param { " + params + " }", {x}, std::move(context))
      .shapes[0];
}

}  // namespace

TEST(concat_joins_along_its_axis) {
  const BuiltLayer built = concat_of("axis: -1", {{2, 3, 4}, {2, 3, 1}, {2, 3, 2}});
  CHECK_EQ(built.shapes[0], (Shape{2, 3, 7}));
  CHECK_EQ(built.only<pcc::ConcatDesc>().axis, 2);
  CHECK_EQ(built.lowered.ops[0].ins, (std::vector<pcc::ValueId>{0, 1, 2}));
  CHECK_EQ(concat_of("concat_dim: 0", {{2, 3}, {3, 3}}).only<pcc::ConcatDesc>().axis, 0);

  const BuiltLayer one = concat_of("", {{2, 3, 4}});
  CHECK(one.lowered.ops.empty());
  CHECK_EQ(one.lowered.tops.at(0), 0);

  CHECK_THROWS_WITH("'b0' (2x3x4) and 'b1' (2x3x5) do not", concat_of("", {{2, 3, 4}, {2, 3, 5}}));
  CHECK_THROWS_WITH("agree on all axes", concat_of("", {{2, 3, 4}, {2, 3}}));
  CHECK_THROWS_WITH("not both", concat_of("axis: 1 concat_dim: 1", {{2, 3}}));
  CHECK_THROWS_WITH("concat_dim: 2 is out of range", concat_of("concat_dim: 2", {{2, 3}}));
  CHECK_THROWS_WITH("replicas", concat_of("axis: 0", {{2, 3}, {2, 3}}, pcc::with_replicas(2)));
}

TEST(slice_cuts_at_points_or_equally) {
  const BuiltLayer points = slice("slice_point: 1 slice_point: 4", {2, 6, 4}, 3);
  CHECK_EQ(points.shapes, (std::vector<Shape>{{2, 1, 4}, {2, 3, 4}, {2, 2, 4}}));
  CHECK_EQ(points.lowered.ops.size(), 1u);
  CHECK_EQ(points.lowered.ops[0].outs.size(), 3u);
  const BuiltLayer equal = slice("slice_dim: 0", {4, 3}, 2);
  CHECK_EQ(equal.shapes, (std::vector<Shape>{{2, 3}, {2, 3}}));
  const BuiltLayer negative = slice("axis: -1 slice_point: 3", {2, 3, 5}, 2);
  CHECK_EQ(negative.shapes, (std::vector<Shape>{{2, 3, 3}, {2, 3, 2}}));
  CHECK_EQ(slice("", {2, 6}, 1).lowered.tops.at(0), 0);

  CHECK_THROWS_WITH("does not divide into 4 equal tops", slice("", {2, 6}, 4));
  CHECK_THROWS_WITH("slice_point is given 1 times; 3 tops need 2",
                    slice("slice_point: 1", {2, 6}, 3));
  CHECK_THROWS_WITH("must rise", slice("slice_point: 3 slice_point: 3", {2, 6}, 3));
  CHECK_THROWS_WITH("must rise", slice("slice_point: 6", {2, 6}, 2));
  CHECK_THROWS_WITH("must rise", slice("slice_point: 0", {2, 6}, 2));
  CHECK_THROWS_WITH("not both", slice("axis: 1 slice_dim: 1", {2, 6}, 2));
  CHECK_THROWS_WITH("replicas", slice("axis: 0", {4, 6}, 2, pcc::with_replicas(2)));
}

TEST(split_passes_one_value_to_every_top) {
  const BuiltLayer built("type: 'Split'", {{2, 3}}, {}, 3);
  CHECK_EQ(built.shapes, (std::vector<Shape>(3, Shape{2, 3})));
  CHECK(built.lowered.ops.empty());
  for (int i = 0; i < 3; ++i) CHECK_EQ(built.lowered.tops.at(i), 0);
}

TEST(flatten_joins_axes) {
  const Shape x{2, 3, 4, 5};
  CHECK_EQ(flattened("", x), (Shape{2, 60}));
  CHECK_EQ(flattened("axis: 2", x), (Shape{2, 3, 20}));
  CHECK_EQ(flattened("axis: 0 end_axis: -2", x), (Shape{24, 5}));
  CHECK_EQ(flattened("axis: 2 end_axis: 2", x), x);
  CHECK_EQ(flattened("axis: 2 end_axis: 1", x),
           (Shape{2, 3, 1, 4, 5}));  // as Caffe: an empty range counts 1
  CHECK_THROWS_WITH("lies behind end_axis: 0", flattened("axis: 2 end_axis: 0", x));
  CHECK_THROWS_WITH("end_axis: 4 is out of range", flattened("end_axis: 4", x));
  CHECK_EQ(flattened("axis: 0 end_axis: -2", x, pcc::with_replicas(2)), (Shape{24, 5}));
}

TEST(reshape_keeps_infers_inserts_and_replaces) {
  const Shape x{2, 3, 4, 5};
  CHECK_EQ(reshaped("shape { dim: 0 dim: 0 dim: 2 dim: -1 }", x), (Shape{2, 3, 2, 10}));
  CHECK_EQ(reshaped("shape { dim: 6 dim: 20 }", x), (Shape{6, 20}));
  CHECK_EQ(reshaped("axis: 1 num_axes: 2 shape { dim: 6 dim: -1 }", x), (Shape{2, 6, 2, 5}));
  CHECK_EQ(reshaped("axis: 1 num_axes: 0 shape { dim: 1 dim: 1 }", x), (Shape{2, 1, 1, 3, 4, 5}));
  CHECK_EQ(reshaped("axis: -3 num_axes: 2 shape { dim: 20 }", x), (Shape{2, 3, 20}));
  CHECK_EQ(reshaped("axis: -1 shape { dim: 1 }", x), (Shape{2, 3, 4, 5, 1}));
  CHECK_EQ(reshaped("axis: 1 shape { dim: 0 dim: -1 }", x), (Shape{2, 3, 20}));
  CHECK_EQ(reshaped("shape { dim: -1 }", Shape{}), Shape{1});

  CHECK_THROWS_WITH("the 120 elements of 'b0' (2x3x4x5) do not fit shape 7x-1",
                    reshaped("shape { dim: 7 dim: -1 }", x));
  CHECK_THROWS_WITH("do not fit", reshaped("shape { dim: 6 }", x));
  CHECK_THROWS_WITH("do not fit", reshaped("", x));
  CHECK_THROWS_WITH("one dim: -1", reshaped("shape { dim: -1 dim: -1 }", x));
  CHECK_THROWS_WITH("dim: -2 is out of range", reshaped("shape { dim: -2 }", x));
  CHECK_THROWS_WITH("lacks", reshaped("shape { dim: 120 dim: 1 dim: 1 dim: 1 dim: 0 }", x));
  CHECK_THROWS_WITH("axis: 5 is out of range", reshaped("axis: 5 shape { dim: -1 }", x));
  CHECK_THROWS_WITH("axis: -6 is out of range", reshaped("axis: -6 shape { dim: -1 }", x));
  CHECK_THROWS_WITH("reach past the end", reshaped("axis: 3 num_axes: 2 shape { dim: -1 }", x));
  CHECK_THROWS_WITH("reach past the end",
                    reshaped("axis: 3 num_axes: 2147483647 shape { dim: -1 }", x));
  CHECK_THROWS_WITH("out of range", reshaped("shape { dim: 9000000000000000000 }", x));
}

TEST(reshape_of_replicas_is_each_replicas_own) {
  const pcc::LayerContext two = pcc::with_replicas(2);
  CHECK_EQ(reshaped("shape { dim: 3 dim: -1 }", {6, 4}, two),
           (Shape{6, 4}));  // dim: 3 is one replica's batch
  CHECK_EQ(reshaped("shape { dim: -1 dim: 2 }", {6, 4}, two), (Shape{12, 2}));
  CHECK_EQ(reshaped("shape { dim: 0 dim: -1 }", {6, 4, 2}, two), (Shape{6, 8}));
  CHECK_THROWS_WITH("do not fit", reshaped("shape { dim: 6 dim: 4 }", {6, 4}, two));
  CHECK_THROWS_WITH("does not divide into 2 replicas", reshaped("shape { dim: -1 }", {5, 4}, two));
}

TEST(silence_has_no_tops_and_does_nothing) {
  const BuiltLayer built("type: 'Silence'", {{2, 3}, {4}}, {}, 0);
  CHECK(built.shapes.empty());
  CHECK(built.lowered.ops.empty());
  CHECK_EQ(built.layer->arity().max_tops, 0);
}
