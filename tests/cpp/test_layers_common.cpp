// ReLU, Dropout, InnerProduct, Eltwise, Softmax, SoftmaxWithLoss, Accuracy.
#include "layer_harness.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Normalization;
using pcc::Shape;

namespace {

BuiltLayer inner_product(const std::string& params, const Shape& x,
                         pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'InnerProduct' inner_product_param { " + params + " }", {x},
                    std::move(context));
}

BuiltLayer eltwise(const std::string& params, std::vector<Shape> bottoms) {
  return BuiltLayer("type: 'Eltwise' eltwise_param { " + params + " }", std::move(bottoms));
}

BuiltLayer loss(const std::string& params, std::vector<Shape> bottoms, int tops = 1,
                pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'SoftmaxWithLoss' " + params, std::move(bottoms), std::move(context),
                    tops);
}

BuiltLayer accuracy(const std::string& params, std::vector<Shape> bottoms, int tops = 1,
                    pcc::LayerContext context = {}) {
  return BuiltLayer("type: 'Accuracy' accuracy_param { " + params + " }", std::move(bottoms),
                    std::move(context), tops);
}

Normalization normalization(const std::string& loss_param) {
  return loss("loss_param { " + loss_param + " }", {{6, 5}, {6}})
      .only<pcc::SoftmaxLossDesc>()
      .normalization;
}

}  // namespace

TEST(relu_reads_its_slope) {
  const BuiltLayer built("type: 'ReLU' relu_param { negative_slope: 0.5 }", {{2, 3, 4, 5}});
  CHECK_EQ(built.only<pcc::PointwiseDesc>().a, 0.5);
  CHECK_EQ(built.shapes[0], (Shape{2, 3, 4, 5}));
  CHECK(built.layer->spec().attributes.unread().empty());
}

TEST(sigmoid_takes_any_shape) {
  for (const Shape& shape : {Shape{7}, Shape{2, 3, 4, 5}}) {
    const BuiltLayer built("type: 'Sigmoid'", {shape});
    CHECK(built.only<pcc::PointwiseDesc>().function == pcc::PointwiseDesc::Function::sigmoid);
    CHECK_EQ(built.shapes[0], shape);
  }
}

TEST(prelu_has_a_slope_for_each_channel_or_one_for_all) {
  const BuiltLayer each("type: 'PReLU'", {{2, 3, 4, 5}});
  CHECK(each.only<pcc::PointwiseDesc>().function == pcc::PointwiseDesc::Function::prelu);
  REQUIRE(each.params.size() == 1);
  CHECK_EQ(each.params[0].shape, Shape{3});
  CHECK_EQ(each.params[0].filler.value, 0.25);
  const BuiltLayer shared(
      "type: 'PReLU' prelu_param { channel_shared: true filler { value: 0.1 } }", {{2, 3}});
  CHECK_EQ(shared.params[0].shape, Shape{});
  CHECK_EQ(shared.params[0].filler.value, 0.1);
  CHECK_EQ(shared.shapes[0], (Shape{2, 3}));
  CHECK_THROWS_WITH("2 axes or more", BuiltLayer("type: 'PReLU'", {{5}}));
}

TEST(dropout_passes_its_bottom_through_in_test) {
  const std::string text = "type: 'Dropout' dropout_param { dropout_ratio: 0.3 }";
  CHECK_NEAR(BuiltLayer(text, {{4, 5}}).only<pcc::DropoutDesc>().ratio, 0.3, 1e-9);
  const BuiltLayer built(text, {{4, 5}}, pcc::test_phase());
  CHECK(built.lowered.ops.empty());
  CHECK_EQ(built.lowered.tops.at(0), 0);
  CHECK_THROWS_WITH("dropout_ratio: 1",
                    BuiltLayer("type: 'Dropout' dropout_param { dropout_ratio: 1 }", {{4, 5}}));
  CHECK_THROWS_WITH("dropout_ratio",
                    BuiltLayer("type: 'Dropout' dropout_param { dropout_ratio: -0.5 }", {{4, 5}}));
}

TEST(inner_product_flattens_from_its_axis) {
  const BuiltLayer plain = inner_product("num_output: 7", {4, 6, 2, 2});
  CHECK_EQ(plain.shapes[0], (Shape{4, 7}));
  CHECK_EQ(plain.params[0].shape, (Shape{7, 24}));
  CHECK_EQ(plain.params[1].shape, Shape{7});
  CHECK(plain.lowered.views.empty());

  const BuiltLayer inner =
      inner_product("num_output: 3 axis: -1 bias_term: false transpose: true", {2, 3, 4});
  const auto& desc = inner.only<pcc::GemmDesc>();
  CHECK_EQ(inner.shapes[0], (Shape{2, 3, 3}));
  CHECK_EQ(inner.params[0].shape, (Shape{4, 3}));
  CHECK_EQ(inner.params.size(), 1u);
  CHECK_EQ(desc.m, 6);
  CHECK_EQ(desc.k, 4);
  CHECK_EQ(desc.n, 3);
  CHECK(desc.transpose && !desc.bias);

  CHECK_THROWS_WITH("num_output: 0", inner_product("", {2, 3}));
  CHECK_THROWS_WITH("axis: 2 is out of range for bottom 'b0' (2x3)",
                    inner_product("num_output: 1 axis: 2", {2, 3}));
  CHECK_THROWS_WITH("2^31", inner_product("num_output: 1000000000", {2, 3}));
  CHECK_THROWS_WITH("replicas",
                    inner_product("num_output: 1 axis: 0", {2, 3}, pcc::with_replicas(2)));
}

TEST(eltwise_operations_and_coefficients) {
  const std::vector<Shape> three(3, Shape{2, 3, 4});
  const BuiltLayer sum = eltwise("coeff: 1 coeff: -0.5 coeff: 2", three);
  CHECK_EQ(sum.only<pcc::EltwiseDesc>().coeff, (std::vector<double>{1, -0.5, 2}));
  CHECK_EQ(sum.lowered.ops[0].ins, (std::vector<pcc::ValueId>{0, 1, 2}));
  const BuiltLayer plain = eltwise("", three);
  CHECK_EQ(plain.only<pcc::EltwiseDesc>().coeff, (std::vector<double>{1, 1, 1}));
  CHECK(eltwise("operation: MAX", three).only<pcc::EltwiseDesc>().operation ==
        pcc::EltwiseDesc::Operation::max);
  const BuiltLayer product = eltwise("operation: PROD stable_prod_grad: false", three);
  CHECK(product.only<pcc::EltwiseDesc>().operation == pcc::EltwiseDesc::Operation::product);
  CHECK(!product.only<pcc::EltwiseDesc>().stable_product);

  CHECK_THROWS_WITH("coeff is given 2 times", eltwise("coeff: 1 coeff: 2", three));
  CHECK_THROWS_WITH("operation: SUM", eltwise("operation: PROD coeff: 1 coeff: 2 coeff: 3", three));
  CHECK_THROWS_WITH(
      "'b0' (125x16x32x32) and 'b1' (125x32x16x16) do not. Did a stride-2 convolution miss",
      eltwise("", {{125, 16, 32, 32}, {125, 32, 16, 16}}));
  CHECK_EQ(sum.layer->arity().min_bottoms, 2);
}

TEST(softmax_axis_may_count_from_the_end) {
  const BuiltLayer built("type: 'Softmax' softmax_param { axis: -2 }", {{2, 3, 4}});
  CHECK_EQ(built.only<pcc::SoftmaxDesc>().axis, 1);
  CHECK_THROWS_WITH("softmax_param.axis: 1 is out of range", BuiltLayer("type: 'Softmax'", {{2}}));
  CHECK_THROWS_WITH("replicas", BuiltLayer("type: 'Softmax' softmax_param { axis: 0 }", {{2}},
                                           pcc::with_replicas(2)));
}

TEST(softmax_loss_normalization_prefers_the_new_field) {
  CHECK(normalization("") == Normalization::valid);
  CHECK(normalization("normalization: FULL") == Normalization::full);
  CHECK(normalization("normalization: BATCH_SIZE") == Normalization::batch_size);
  CHECK(normalization("normalization: NONE") == Normalization::none);
  CHECK(normalization("normalize: false") == Normalization::batch_size);
  CHECK(normalization("normalize: true") == Normalization::valid);
  CHECK(normalization("normalize: false normalization: VALID") == Normalization::valid);
}

TEST(softmax_loss_shapes_and_labels) {
  const BuiltLayer spatial =
      loss("loss_param { ignore_label: 255 }", {{2, 5, 3, 4}, {2, 1, 3, 4}}, 2);
  CHECK_EQ(spatial.shapes[0], Shape{});
  CHECK_EQ(spatial.shapes[1], (Shape{2, 5, 3, 4}));
  const auto& desc = spatial.only<pcc::SoftmaxLossDesc>();
  CHECK_EQ(desc.axis, 1);
  CHECK(desc.has_ignore_label);
  CHECK_EQ(desc.ignore_label, 255);
  CHECK_EQ(
      loss("softmax_param { axis: -1 }", {{2, 3, 4}, {2, 3}}).only<pcc::SoftmaxLossDesc>().axis, 2);
  CHECK(!loss("", {{2, 5, 3, 4}, {2, 3, 4}}).only<pcc::SoftmaxLossDesc>().has_ignore_label);
  CHECK_EQ(loss("", {{8, 5}, {8}}, 1, pcc::with_replicas(4)).only<pcc::SoftmaxLossDesc>().groups,
           4);

  const pcc::Layer& layer = *spatial.layer;
  CHECK(layer.auto_top() && layer.has_backward());
  CHECK(layer.differentiable(0) && !layer.differentiable(1) && !layer.allow_force_backward(1));
  CHECK_EQ(layer.default_loss_weight(0), 1.0);
  CHECK_EQ(layer.default_loss_weight(1), 0.0);

  CHECK_THROWS_WITH("expected 24 labels, one for each prediction of 'b0' (2x5x3x4)",
                    loss("", {{2, 5, 3, 4}, {2}}));
  CHECK_THROWS_WITH("agree on axis 0", loss("", {{2, 5, 3}, {3, 2}}));
  CHECK_THROWS_WITH("out of range", loss("softmax_param { axis: 2 }", {{2, 5}, {2}}));
  CHECK_THROWS_WITH("replicas", loss("", {{9, 5}, {9}}, 1, pcc::with_replicas(2)));
}

TEST(accuracy_reads_its_settings) {
  const BuiltLayer built = accuracy("top_k: 3 ignore_label: -1 axis: -1", {{2, 3, 6}, {2, 3}}, 2);
  const auto& desc = built.only<pcc::AccuracyDesc>();
  CHECK_EQ(desc.axis, 2);
  CHECK_EQ(desc.top_k, 3);
  CHECK(desc.has_ignore_label);
  CHECK_EQ(desc.ignore_label, -1);
  CHECK_EQ(built.shapes[0], Shape{});
  CHECK_EQ(built.shapes[1], Shape{6});
  CHECK(!built.layer->has_backward() && !built.layer->differentiable(0));
  CHECK_EQ(built.layer->default_loss_weight(0), 0.0);
  CHECK(!built.layer->auto_top());
  CHECK_EQ(accuracy("", {{8, 5}, {8}}, 1, pcc::with_replicas(2)).only<pcc::AccuracyDesc>().groups,
           2);

  CHECK_THROWS_WITH("top_k: 7 exceeds the 6 classes", accuracy("top_k: 7", {{4, 6}, {4}}));
  CHECK_THROWS_WITH("top_k: 0", accuracy("top_k: 0", {{4, 6}, {4}}));
  CHECK_THROWS_WITH("expected 4 labels", accuracy("", {{4, 6}, {5}}));
}
