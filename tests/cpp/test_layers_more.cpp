// Layers that choose and fold elements, of sequences, of detection, and losses: shapes, parameters,
// and what they refuse.
#include <cmath>

#include "layer_harness.h"
#include "testing.h"

using pcc::BuiltLayer;
using pcc::Shape;

namespace {

BuiltLayer build(const std::string& text, std::vector<Shape> bottoms, int tops = 1) {
  return BuiltLayer(text, std::move(bottoms), {}, tops);
}

Shape top(const std::string& text, std::vector<Shape> bottoms) {
  return build(text, std::move(bottoms)).shapes[0];
}

TEST(functions_read_their_constants) {
  const BuiltLayer exp = build("type: 'Exp' exp_param { base: 2 scale: 3 shift: 1 }", {{2, 3}});
  CHECK_NEAR(exp.only<pcc::PointwiseDesc>().a, 2, 1e-12);
  CHECK_NEAR(exp.only<pcc::PointwiseDesc>().b, 3 * std::log(2.0), 1e-12);
  const BuiltLayer relu6 = build("type: 'ReLU6'", {{2, 3}});
  CHECK_EQ(relu6.only<pcc::PointwiseDesc>().b, 6);
  CHECK(!build("type: 'Threshold'", {{2}}).layer->has_backward());
}

TEST(functions_refuse_what_caffe_refuses) {
  CHECK_THROWS_WITH("layer 'x' (AbsVal): cannot work in place",
                    build("type: 'AbsVal' bottom: 'a' top: 'a'", {{2}}));
  CHECK_THROWS_WITH("base: 0", build("type: 'Exp' exp_param { base: 0 }", {{2}}));
  CHECK_THROWS_WITH("base: -2", build("type: 'Log' log_param { base: -2 }", {{2}}));
  CHECK_THROWS_WITH("base: 1", build("type: 'Log' log_param { base: 1 }", {{2}}));
  CHECK_THROWS_WITH("both min and max", build("type: 'Clip' clip_param { min: 1 }", {{2}}));
}

TEST(what_is_chosen_has_its_own_shape) {
  CHECK_EQ(top("type: 'Crop' crop_param { axis: 1 offset: 1 }", {{2, 5, 6}, {9, 3, 4}}),
           (Shape{2, 3, 4}));
  CHECK_EQ(top("type: 'Tile' tile_param { axis: -1 tiles: 3 }", {{2, 5}}), (Shape{2, 15}));
  CHECK_EQ(top("type: 'Permute' permute_param { order: 0 order: 2 }", {{2, 3, 4, 5}}),
           (Shape{2, 4, 3, 5}));
  CHECK_EQ(top("type: 'BatchReindex'", {{2, 3}, {7}}), (Shape{7, 3}));
  CHECK_EQ(top("type: 'Reduction' reduction_param { axis: 1 }", {{2, 3, 4}}), (Shape{2}));
  CHECK_EQ(top("type: 'ArgMax' argmax_param { axis: 1 top_k: 2 }", {{2, 3, 4}}), (Shape{2, 2, 4}));
  CHECK_EQ(top("type: 'ArgMax' argmax_param { out_max_val: true }", {{2, 3, 4, 5}}),
           (Shape{2, 2, 1, 1}));
  CHECK_EQ(top("type: 'Im2col' convolution_param { kernel_size: 3 stride: 2 }", {{2, 3, 5, 7}}),
           (Shape{2, 27, 2, 3}));
  CHECK_EQ(top("type: 'SPP' spp_param { pyramid_height: 3 }", {{2, 3, 8, 9}}), (Shape{2, 63}));
  CHECK_EQ(top("type: 'Interp' interp_param { shrink_factor: 2 zoom_factor: 3 }", {{1, 1, 9, 5}}),
           (Shape{1, 1, 13, 7}));
}

TEST(what_does_not_fit_is_refused) {
  CHECK_THROWS_WITH("layer 'x' (Crop): offset: 3",
                    build("type: 'Crop' crop_param { offset: 3 }", {{1, 1, 5, 5}, {1, 1, 3, 3}}));
  CHECK_THROWS_WITH("offset is given 3 times",
                    build("type: 'Crop' crop_param { offset: 0 offset: 0 offset: 0 }",
                          {{1, 1, 5, 5}, {1, 1, 3, 3}}));
  CHECK_THROWS_WITH("tiles is missing", build("type: 'Tile'", {{2, 2}}));
  CHECK_THROWS_WITH("order: 1 is listed twice",
                    build("type: 'Permute' permute_param { order: 1 order: 1 }", {{2, 2}}));
  CHECK_THROWS_WITH("as one axis", build("type: 'BatchReindex'", {{2, 2}, {2, 1}}));
  CHECK_THROWS_WITH("top_k: 4", build("type: 'ArgMax' argmax_param { top_k: 4 }", {{2, 3}}));
  CHECK_THROWS_WITH("some would be empty",
                    build("type: 'SPP' spp_param { pyramid_height: 3 }", {{2, 3, 5, 5}}));
  CHECK_THROWS_WITH(
      "takes no pad",
      build("type: 'Pooling' pooling_param { pool: STOCHASTIC kernel_size: 3 pad: 1 }",
            {{1, 1, 5, 5}}));
  CHECK_THROWS_WITH("group: 2", build("type: 'ShuffleChannel' shuffle_channel_param { group: 2 }",
                                      {{1, 3, 2, 2}}));
}

TEST(recurrent_layers_have_caffes_parameters) {
  const std::string param = " recurrent_param { num_output: 3 }";
  const BuiltLayer lstm = build("type: 'LSTM'" + param, {{4, 2, 5}, {4, 2}, {2, 7}});
  CHECK_EQ(lstm.shapes[0], (Shape{4, 2, 3}));
  std::vector<Shape> shapes;
  for (const pcc::ParamDecl& decl : lstm.params) shapes.push_back(decl.shape);
  CHECK_EQ(shapes, (std::vector<Shape>{{12, 5}, {12}, {12, 7}, {12, 3}}));
  const BuiltLayer rnn = build("type: 'RNN'" + param, {{4, 2, 5, 6}, {4, 2}});
  shapes.clear();
  for (const pcc::ParamDecl& decl : rnn.params) shapes.push_back(decl.shape);
  CHECK_EQ(shapes, (std::vector<Shape>{{3, 30}, {3}, {3, 3}, {3, 3}, {3}}));
  CHECK_THROWS_WITH("num_output: 0", build("type: 'LSTM'", {{4, 2, 5}, {4, 2}}));
  CHECK_THROWS_WITH("go on as (4x2)", build("type: 'RNN'" + param, {{4, 2, 5}, {4, 2, 1}}));
  CHECK_THROWS_WITH("first state (1x2x3)",
                    build("type: 'RNN' recurrent_param { num_output: 3 expose_hidden: true }",
                          {{4, 2, 5}, {4, 2}, {1, 2, 4}}, 2));
  CHECK_THROWS_WITH("inputs of the gates (1x2x12)",
                    build("type: 'LSTMUnit'", {{1, 2, 3}, {1, 2, 3}, {1, 2}}, 2));
}

TEST(losses_refuse_bottoms_that_do_not_match) {
  CHECK_THROWS_WITH("samples of one size", build("type: 'EuclideanLoss'", {{2, 3}, {2, 4}}));
  CHECK_THROWS_WITH("agree on axis 0", build("type: 'EuclideanLoss'", {{2, 3}, {3, 3}}));
  CHECK_THROWS_WITH("one label", build("type: 'HingeLoss'", {{2, 3}, {2, 3}}));
  CHECK_THROWS_WITH("a target for each score",
                    build("type: 'SigmoidCrossEntropyLoss'", {{2, 3}, {2, 4}}));
  CHECK_THROWS_WITH("expected 3x3 gains", build("type: 'InfogainLoss'", {{2, 3}, {2}, {2, 2}}));
  CHECK_THROWS_WITH("third bottom", build("type: 'InfogainLoss'", {{2, 3}, {2}}));
  CHECK_THROWS_WITH("(N, C)", build("type: 'ContrastiveLoss'", {{2, 3, 2}, {2, 3, 2}, {2}}));
  CHECK_EQ(build("type: 'EuclideanLoss'", {{2, 3}, {2, 3}}).layer->default_loss_weight(0), 1);
}

TEST(prior_boxes_by_hand) {
  const BuiltLayer built = build(
      "type: 'PriorBox' prior_box_param { min_size: 2 max_size: 8 aspect_ratio: 4 variance: 0.1 "
      "variance: 0.1 variance: 0.2 variance: 0.2 }",
      {{1, 3, 1, 2}, {1, 3, 10, 20}});
  CHECK_EQ(built.shapes[0], (Shape{1, 2, 32}));
  const std::vector<double>& values = *built.only<pcc::FillDesc>().filler.values;
  REQUIRE(values.size() == 64);
  const double centre[] = {0.2, 0.4, 0.3, 0.6};  // 2x2 around (5, 5) of 20x10
  const double between[] = {0.15, 0.3, 0.35, 0.7}, wide[] = {0.15, 0.45, 0.35, 0.55};
  for (size_t i = 0; i < 4; ++i) {
    CHECK_NEAR(values[i], centre[i], 1e-12);
    CHECK_NEAR(values[4 + i], between[i], 1e-12);
    CHECK_NEAR(values[8 + i], wide[i], 1e-12);
    CHECK_NEAR(values[32 + i], i < 2 ? 0.1 : 0.2, 1e-7);
  }
  CHECK_THROWS_WITH("max_size: 1",
                    build("type: 'PriorBox' prior_box_param { min_size: 2 max_size: 1 }",
                          {{1, 3, 1, 2}, {1, 3, 10, 20}}));
}

TEST(detection_layers_check_their_bottoms) {
  CHECK_EQ(top("type: 'ROIPooling' roi_pooling_param { pooled_h: 6 pooled_w: 7 }",
               {{1, 8, 9, 9}, {30, 5}}),
           (Shape{30, 8, 6, 7}));
  CHECK_THROWS_WITH("boxes (R, 5)",
                    build("type: 'ROIPooling' roi_pooling_param { pooled_h: 1 pooled_w: 1 }",
                          {{1, 8, 9, 9}, {30, 4}}));
  const BuiltLayer proposal = build("type: 'Proposal'", {{1, 18, 3, 4}, {1, 36, 3, 4}, {1, 3}});
  CHECK_EQ(proposal.shapes[0], (Shape{300, 5}));
  const std::vector<double>& anchors = proposal.only<pcc::ProposalDesc>().anchors;
  const std::vector<double> first = {-84, -40, 99, 55};  // generate_anchors.py's own comment
  CHECK_EQ(std::vector<double>(anchors.begin(), anchors.begin() + 4), first);
  CHECK_THROWS_WITH("expected shifts",
                    build("type: 'Proposal'", {{1, 18, 3, 4}, {1, 36, 3, 5}, {1, 3}}));
  CHECK_EQ(top("type: 'DetectionOutput' detection_output_param { num_classes: 3 keep_top_k: 10 "
               "nms_param { top_k: 20 } }",
               {{2, 16}, {2, 12}, {1, 2, 16}}),
           (Shape{1, 1, 20, 7}));
  CHECK_THROWS_WITH("12 confidences",
                    build("type: 'DetectionOutput' detection_output_param { num_classes: 3 }",
                          {{2, 16}, {2, 13}, {1, 2, 16}}));
  const std::string evaluate = "type: 'DetectionEvaluate' detection_evaluate_param { ";
  CHECK_EQ(top(evaluate + "num_classes: 3 }", {{1, 1, 20, 7}, {1, 1, 9, 8}}), (Shape{1, 1, 23, 5}));
  CHECK_THROWS_WITH("num_classes is missing", build(evaluate + "}", {{1, 1, 20, 7}, {1, 1, 9, 8}}));
  CHECK_THROWS_WITH(
      "overlap_threshold: 0 must be positive",
      build(evaluate + "num_classes: 3 overlap_threshold: 0 }", {{1, 1, 20, 7}, {1, 1, 9, 8}}));
  CHECK_THROWS_WITH("expected truths (1, 1, boxes, 8)",
                    build(evaluate + "num_classes: 3 }", {{1, 1, 20, 7}, {1, 2, 9, 8}}));
}

}  // namespace
