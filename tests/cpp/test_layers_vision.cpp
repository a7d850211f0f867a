// Convolution, Deconvolution, Pooling, LRN: the shapes that Caffe gave them, their errors and their
// descriptors.
#include "layer_harness.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Shape;

namespace {

BuiltLayer conv(const std::string& params, const Shape& x, int bottoms = 1) {
  return BuiltLayer("type: 'Convolution' convolution_param { " + params + " }",
                    std::vector<Shape>(static_cast<size_t>(bottoms), x), {}, bottoms);
}

BuiltLayer deconv(const std::string& params, const Shape& x) {
  return BuiltLayer("type: 'Deconvolution' convolution_param { " + params + " }", {x});
}

BuiltLayer pool(const std::string& params, const Shape& x, int tops = 1) {
  return BuiltLayer("type: 'Pooling' pooling_param { " + params + " }", {x}, {}, tops);
}

Shape deconved(const std::string& params, const Shape& x) { return deconv(params, x).shapes[0]; }

Shape pooled(const std::string& params, const Shape& x) { return pool(params, x).shapes[0]; }

}  // namespace

TEST(convolution_shapes_are_caffes) {
  struct Case {
    const char* params;
    Shape x, y, weights;
  };
  const Case cases[] = {
      {"num_output: 4 kernel_size: 3 pad: 1 stride: 2", {2, 3, 7, 10}, {2, 4, 4, 5}, {4, 3, 3, 3}},
      {"num_output: 3 kernel_size: 1 pad: 1", {2, 2, 4, 5}, {2, 3, 6, 7}, {3, 2, 1, 1}},
      {"num_output: 3 kernel_size: 3 pad: 4 stride: 2 dilation: 3",
       {1, 2, 11, 13},
       {1, 3, 7, 8},
       {3, 2, 3, 3}},
      {"num_output: 4 kernel_size: 2 pad: 1 stride: 2 dilation: 2 group: 2",
       {2, 4, 8, 7},
       {2, 4, 4, 4},
       {4, 2, 2, 2}},
      {"num_output: 4 kernel_h: 5 kernel_w: 4", {2, 3, 5, 4}, {2, 4, 1, 1}, {4, 3, 5, 4}},
      {"num_output: 5 kernel_h: 2 kernel_w: 3 pad_h: 1 pad_w: 0 stride_h: 2 stride_w: 1",
       {2, 3, 8, 7},
       {2, 5, 5, 5},
       {5, 3, 2, 3}},
      {"num_output: 3 kernel_size: 3 pad: 1", {2, 3, 9}, {2, 3, 9}, {3, 3, 3}},
      {"num_output: 2 kernel_size: 1 kernel_size: 3 kernel_size: 2 pad: 0 pad: 1 pad: 1 stride: 1 "
       "stride: 2 stride: 1",
       {1, 2, 3, 5, 6},
       {1, 2, 3, 3, 7},
       {2, 2, 1, 3, 2}},
      {"axis: 2 num_output: 3 kernel_size: 3 pad: 1",
       {2, 2, 3, 5, 6},
       {2, 2, 3, 5, 6},
       {3, 3, 3, 3}},
      {"axis: -3 num_output: 3 kernel_size: 3 pad: 1",
       {2, 2, 3, 5, 6},
       {2, 2, 3, 5, 6},
       {3, 3, 3, 3}},
      // Too large a kernel by less than a stride: C++ rounds towards zero, and Caffe computes one
      // output.
      {"num_output: 1 kernel_size: 3 stride: 2", {1, 1, 2, 2}, {1, 1, 1, 1}, {1, 1, 3, 3}},
  };
  for (const Case& each : cases) {
    const BuiltLayer built = conv(each.params, each.x);
    CHECK_EQ(built.shapes[0], each.y);
    CHECK_EQ(built.params[0].shape, each.weights);
    CHECK_EQ(built.params[1].shape, Shape{each.weights[0]});
    CHECK(built.layer->spec().attributes.unread().empty());
  }
}

TEST(convolution_lowers_to_its_descriptor) {
  const BuiltLayer built =
      conv("num_output: 6 kernel_size: 3 pad: 1 stride: 2 dilation: 2 group: 2", {2, 4, 9, 8});
  const auto& desc = built.only<pcc::ConvDesc>();
  CHECK_EQ(desc.kernel, (std::vector<int64_t>{3, 3}));
  CHECK_EQ(desc.stride, (std::vector<int64_t>{2, 2}));
  CHECK_EQ(desc.pad, (std::vector<int64_t>{1, 1}));
  CHECK_EQ(desc.dilation, (std::vector<int64_t>{2, 2}));
  CHECK_EQ(desc.group, 2);
  CHECK(desc.bias && !desc.transposed);
  CHECK(built.lowered.views.empty());
  CHECK_EQ(built.lowered.ops[0].params, (std::vector<pcc::ParamId>{0, 1}));
}

TEST(convolution_without_bias_has_one_parameter) {
  const BuiltLayer built = conv("num_output: 6 kernel_size: 3 bias_term: false", {2, 4, 9, 8});
  CHECK_EQ(built.params.size(), 1u);
  CHECK_EQ(built.lowered.ops[0].params, (std::vector<pcc::ParamId>{0}));
  CHECK(!built.only<pcc::ConvDesc>().bias);
}

TEST(convolution_of_two_bottoms_shares_its_parameters) {
  const BuiltLayer built = conv("num_output: 3 kernel_size: 3 pad: 1", {2, 2, 5, 5}, 2);
  CHECK_EQ(built.lowered.ops.size(), 2u);
  CHECK_EQ(built.lowered.ops[1].ins, (std::vector<pcc::ValueId>{1}));
  CHECK_EQ(built.lowered.ops[1].params, (std::vector<pcc::ParamId>{0, 1}));
  CHECK_EQ(built.params.size(), 2u);
  CHECK_EQ(built.shapes[1], (Shape{2, 3, 5, 5}));
}

TEST(convolution_on_another_axis_works_on_views) {
  const BuiltLayer built = conv("axis: 2 num_output: 4 kernel_size: 3", {2, 5, 3, 6, 7});
  const pcc::LoweredOp& op = built.lowered.ops[0];
  CHECK_EQ(built.lowered.shape(op.ins[0]), (Shape{10, 3, 6, 7}));
  CHECK_EQ(built.lowered.shape(op.outs[0]), (Shape{10, 4, 4, 5}));
  CHECK_EQ(built.lowered.views.at(op.ins[0]), 0);
  CHECK_EQ(built.lowered.views.at(built.lowered.tops.at(0)), op.outs[0]);
}

TEST(convolution_without_spatial_axes_is_a_matrix_product) {
  const BuiltLayer built = conv("axis: 2 num_output: 5", {2, 3, 4});
  const auto& gemm = built.only<pcc::GemmDesc>();
  CHECK_EQ(gemm.m, 6);
  CHECK_EQ(gemm.k, 4);
  CHECK_EQ(gemm.n, 5);
  CHECK(!gemm.transpose);
  CHECK_EQ(built.params[0].shape, (Shape{5, 4}));
  CHECK_EQ(built.shapes[0], (Shape{2, 3, 5}));
  CHECK(deconv("num_output: 5 kernel_size: 7", {3, 4}).only<pcc::GemmDesc>().transpose);

  const BuiltLayer grouped = conv("num_output: 6 group: 2", {3, 4});
  CHECK_EQ(grouped.only<pcc::ConvDesc>().kernel, (std::vector<int64_t>{1}));
  CHECK_EQ(grouped.shapes[0], (Shape{3, 6}));
  CHECK_EQ(grouped.params[0].shape, (Shape{6, 2}));
}

TEST(deconvolution_shapes_are_caffes) {
  const BuiltLayer built =
      deconv("num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2", {2, 4, 4, 3});
  CHECK_EQ(built.shapes[0], (Shape{2, 4, 8, 6}));
  CHECK_EQ(built.params[0].shape, (Shape{4, 2, 4, 4}));
  CHECK_EQ(built.params[1].shape, (Shape{4}));
  CHECK(built.only<pcc::ConvDesc>().transposed);
  CHECK_EQ(deconved("num_output: 3 kernel_size: 3 dilation: 2 pad: 1", {2, 2, 4, 4}),
           (Shape{2, 3, 6, 6}));
  CHECK_EQ(
      deconved("num_output: 2 kernel_h: 2 kernel_w: 4 stride_h: 3 stride_w: 2 pad_h: 0 pad_w: 1",
               {2, 3, 3, 4}),
      (Shape{2, 2, 8, 8}));
}

TEST(convolution_errors_say_what_is_wrong) {
  const Shape x{2, 3, 8, 8};
  CHECK_THROWS_WITH("layer 'x' (Convolution): num_output: 0", conv("kernel_size: 3", x));
  CHECK_THROWS_WITH("kernel_size is missing", conv("num_output: 3", x));
  CHECK_THROWS_WITH("kernel_size: 0", conv("num_output: 3 kernel_size: 0", x));
  CHECK_THROWS_WITH("stride: 0", conv("num_output: 3 kernel_size: 3 stride: 0", x));
  CHECK_THROWS_WITH("stride: 0", conv("num_output: 3 kernel_size: 3 stride_h: 2", x));
  CHECK_THROWS_WITH("kernel_size: 0", conv("num_output: 3 kernel_h: 2", x));
  CHECK_THROWS_WITH("dilation: 0", conv("num_output: 3 kernel_size: 3 dilation: 0", x));
  CHECK_THROWS_WITH("not both", conv("num_output: 3 kernel_size: 3 kernel_h: 3 kernel_w: 3", x));
  CHECK_THROWS_WITH("two spatial axes", conv("num_output: 3 kernel_h: 3 kernel_w: 3", {2, 3, 8}));
  CHECK_THROWS_WITH("given 3 times", conv("num_output: 3 kernel_size: 3 pad: 1 pad: 1 pad: 1", x));
  CHECK_THROWS_WITH("group: 2 does not divide the 3 channels of 'b0' (2x3x8x8)",
                    conv("num_output: 4 kernel_size: 3 group: 2", x));
  CHECK_THROWS_WITH("does not divide num_output: 4",
                    conv("num_output: 4 kernel_size: 3 group: 3", x));
  CHECK_THROWS_WITH("group: 0", conv("num_output: 4 kernel_size: 3 group: 0", x));
  CHECK_THROWS_WITH("kernel 9x9", conv("num_output: 4 kernel_size: 9", x));
  CHECK_THROWS_WITH("does not fit", deconv("num_output: 4 kernel_size: 1 pad: 9", x));
  CHECK_THROWS_WITH("axis: 4 is out of range", conv("num_output: 4 kernel_size: 1 axis: 4", x));
  CHECK_THROWS_WITH("2^31", conv("num_output: 1000000000 kernel_size: 3", x));
  CHECK_THROWS_WITH("2^31", deconv("num_output: 1 kernel_size: 1 stride: 1000000000", x));
  CHECK_THROWS_WITH("out of range", conv("num_output: 1 kernel_size: 4294967295", x));
  CHECK_THROWS_WITH("weight_filler: type 'xaver' is unknown; known: constant, uniform",
                    conv("num_output: 4 kernel_size: 3 weight_filler { type: 'xaver' }", x));
  CHECK_THROWS_WITH(
      "agree in shape",
      BuiltLayer("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 1 }",
                 {{2, 3, 4, 4}, {2, 3, 4, 5}}, {}, 2));
  CHECK_THROWS_WITH("replicas",
                    BuiltLayer("type: 'Convolution' convolution_param { num_output: 1 axis: 0 }",
                               {{4}}, pcc::with_replicas(2)));
}

TEST(convolution_reads_both_fillers) {
  const BuiltLayer built = conv(
      "num_output: 2 kernel_size: 3 weight_filler { type: 'gaussian' std: 0.25 mean: 1 sparse: 2 } "
      "bias_filler { type: 'msra' variance_norm: AVERAGE }",
      {2, 4, 9, 8});
  CHECK_EQ(built.params[0].filler.type, pcc::FillerDesc::Type::gaussian);
  CHECK_EQ(built.params[0].filler.std, 0.25);
  CHECK_EQ(built.params[0].filler.mean, 1.0);
  CHECK_EQ(built.params[0].filler.sparse, 2);
  CHECK_EQ(built.params[1].filler.type, pcc::FillerDesc::Type::msra);
  CHECK_EQ(built.params[1].filler.variance_norm, pcc::FillerDesc::Fan::average);
  CHECK(!built.params[0].statistic);
}

TEST(pooling_rounds_up_and_clips_as_caffe) {
  CHECK_EQ(pooled("kernel_size: 2 stride: 2", {2, 3, 7, 9}), (Shape{2, 3, 4, 5}));
  CHECK_EQ(pooled("kernel_size: 2 stride: 2", {2, 3, 8, 6}), (Shape{2, 3, 4, 3}));
  CHECK_EQ(pooled("kernel_size: 3 stride: 2", {2, 2, 7, 8}), (Shape{2, 2, 3, 4}));
  CHECK_EQ(pooled("kernel_size: 3 stride: 2 pad: 1", {2, 2, 5, 6}), (Shape{2, 2, 3, 4}));
  CHECK_EQ(pooled("kernel_size: 3 stride: 3 pad: 2", {2, 2, 7, 8}), (Shape{2, 2, 3, 4}));
  CHECK_EQ(pooled("kernel_size: 5 stride: 2 pad: 2", {1, 2, 3, 4}), (Shape{1, 2, 2, 3}));
  CHECK_EQ(pooled("kernel_size: 2 stride: 3", {2, 2, 9, 10}), (Shape{2, 2, 4, 4}));
  CHECK_EQ(pooled("kernel_size: 2 stride: 3", {1, 2, 8, 5}), (Shape{1, 2, 3, 2}));
  CHECK_EQ(pooled("kernel_size: 2 stride: 2 pad: 1", {2, 2, 6, 7}), (Shape{2, 2, 4, 4}));
  CHECK_EQ(
      pooled("kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0", {2, 2, 5, 8}),
      (Shape{2, 2, 6, 4}));
  CHECK_EQ(
      pooled("kernel_h: 3 kernel_w: 2 stride_h: 3 stride_w: 2 pad_h: 1 pad_w: 1", {2, 2, 7, 7}),
      (Shape{2, 2, 3, 4}));
  CHECK_EQ(pooled("kernel_size: 3 stride: 2 round_mode: FLOOR", {2, 2, 8, 8}), (Shape{2, 2, 3, 3}));
  CHECK_EQ(pooled("kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR", {2, 2, 8, 6}),
           (Shape{2, 2, 4, 3}));
  // Too large a kernel by less than a stride: one clipped window.
  CHECK_EQ(pooled("kernel_size: 3 stride: 2", {1, 1, 2, 2}), (Shape{1, 1, 1, 1}));
  CHECK_THROWS_WITH("does not fit",
                    pool("kernel_size: 3 stride: 2 round_mode: FLOOR", {1, 1, 2, 2}));
}

TEST(pooling_lowers_to_its_descriptor) {
  const BuiltLayer global = pool("pool: AVE global_pooling: true", {2, 4, 5, 7});
  const auto& desc = global.only<pcc::PoolDesc>();
  CHECK(desc.method == pcc::PoolDesc::Method::average);
  CHECK_EQ(desc.kernel[0], 5);
  CHECK_EQ(desc.kernel[1], 7);
  CHECK_EQ(global.shapes[0], (Shape{2, 4, 1, 1}));

  const BuiltLayer masked = pool("kernel_size: 3 stride: 2 pad: 1", {2, 2, 8, 8}, 2);
  CHECK_EQ(masked.shapes.size(), 2u);
  CHECK_EQ(masked.shapes[1], masked.shapes[0]);
  CHECK_EQ(masked.only<pcc::PoolDesc>().pad[1], 1);
  CHECK_EQ(masked.layer->arity().max_tops, 2);
  CHECK_EQ(global.layer->arity().max_tops, 1);
}

TEST(pooling_errors_say_what_is_wrong) {
  const Shape x{1, 1, 8, 8};
  CHECK_THROWS_WITH("STOCHASTIC takes no pad", pool("pool: STOCHASTIC kernel_size: 2 pad: 1", x));
  CHECK_THROWS_WITH("kernel", pool("stride: 2", x));
  CHECK_THROWS_WITH("kernel: 0", pool("kernel_size: 0", x));
  CHECK_THROWS_WITH("both kernel_h and kernel_w", pool("kernel_h: 2", x));
  CHECK_THROWS_WITH("both kernel_h and kernel_w",
                    pool("kernel_size: 2 kernel_h: 2 kernel_w: 2", x));
  CHECK_THROWS_WITH("stride: 0", pool("kernel_size: 2 stride: 0", x));
  CHECK_THROWS_WITH("stride_h and stride_w", pool("kernel_size: 2 stride_h: 2", x));
  CHECK_THROWS_WITH("must be smaller than the kernel", pool("kernel_size: 2 pad: 2", x));
  CHECK_THROWS_WITH("remove kernel_size", pool("global_pooling: true kernel_size: 2", x));
  CHECK_THROWS_WITH("neither pad nor stride", pool("global_pooling: true stride: 2", x));
  CHECK_THROWS_WITH("4 axes", pool("kernel_size: 2", {1, 8, 8}));
  CHECK_THROWS_WITH("does not fit bottom 'b0' (1x1x8x8)", pool("kernel_size: 9", x));
}

TEST(lrn_reads_both_regions) {
  const BuiltLayer across("type: 'LRN' lrn_param { local_size: 3 alpha: 2 beta: 0.5 k: 4 }",
                          {{2, 6, 3, 4}});
  const auto& desc = across.only<pcc::LrnDesc>();
  CHECK(desc.across);
  CHECK_EQ(desc.size, 3);
  CHECK_EQ(desc.alpha, 2.0);
  CHECK_EQ(desc.beta, 0.5);
  CHECK_EQ(desc.k, 4.0);
  CHECK(!BuiltLayer("type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL }", {{2, 6, 3, 4}})
             .only<pcc::LrnDesc>()
             .across);
  CHECK_THROWS_WITH("local_size: 4 must be odd",
                    BuiltLayer("type: 'LRN' lrn_param { local_size: 4 }", {{2, 6, 3, 4}}));
  CHECK_THROWS_WITH("4 axes", BuiltLayer("type: 'LRN'", {{2, 6}}));
}

TEST(unknown_types_name_the_nearest_one) {
  CHECK_THROWS_WITH("did you mean 'Convolution'?", BuiltLayer("type: 'Convolutoin'", {}));
  CHECK_THROWS_WITH("did you mean 'ReLU'?", BuiltLayer("type: 'RELU'", {}));
  CHECK_THROWS_WITH("is unknown; known: Convolution, Deconvolution, DepthwiseConvolution",
                    BuiltLayer("type: 'Frobnicate'", {}));
  CHECK_THROWS_WITH("is unknown", BuiltLayer("type: ''", {}));
}
