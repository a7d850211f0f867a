// Random settings and shapes: every layer either gives shapes that it then lowers, or throws a
// pcc::Error. The sanitizer build turns an overflow or a stray read into a failure.
#include <algorithm>
#include <map>

#include "layer_harness.h"
#include "testing.h"

using pcc::Shape;

namespace {

// Deterministic draws.
struct Dice {
  uint64_t next = 0;
  pcc::RandomStream stream{.seed = 11};
  size_t roll(size_t sides) { return stream.bits(next++) % sides; }
  template <typename T>
  const T& pick(const std::vector<T>& from) {
    return from[roll(from.size())];
  }
};

const std::vector<std::string> kWhole = {"1",  "1",          "2",          "2",         "3", "4",
                                         "1",  "2",          "0",          "-1",        "5", "12",
                                         "-2", "2147483647", "4294967295", "1073741824"};
const std::vector<std::string> kCount = {"0", "1", "2", "3", "2", "1", "2147483647"};
const std::vector<std::string> kReal = {"0", "1", "0.5", "-1", "1e30", "-1e-30", "inf", "nan"};
const std::vector<std::string> kFlag = {"true", "false"};
const std::vector<std::string> kFiller = {"{ }",
                                          "{ type: 'xavier' }",
                                          "{ type: 'gaussian' sparse: 2 }",
                                          "{ type: 'bilinear' }",
                                          "{ type: 'what' }",
                                          "{ type: 'uniform' min: 2 }"};
const std::vector<std::string> kShape = {"{ }",
                                         "{ dim: 0 }",
                                         "{ dim: -1 }",
                                         "{ dim: 2 dim: -1 }",
                                         "{ dim: 9000000000000000000 dim: 9000000000000000000 }",
                                         "{ dim: 3 dim: 4 }",
                                         "{ dim: 0 dim: -1 }",
                                         "{ dim: -1 dim: 2147483647 }"};

struct Field {
  std::string name;
  std::vector<std::string> values;
};

// A message's fields, and the types that read it.
struct Subject {
  std::vector<std::string> types;
  std::string message;
  std::vector<Field> fields;
  bool rare = false;  // bottoms of random shapes hardly ever fit each other
};

const std::vector<Subject>& subjects() {
  static const std::vector<Subject> all = {
      {{"Convolution", "Deconvolution"},
       "convolution_param",
       {{"num_output", kWhole},
        {"kernel_size", kWhole},
        {"kernel_size", kWhole},
        {"kernel_h", kWhole},
        {"kernel_w", kWhole},
        {"stride", kWhole},
        {"stride_h", kWhole},
        {"pad", kWhole},
        {"pad_w", kWhole},
        {"dilation", kWhole},
        {"group", kWhole},
        {"axis", kWhole},
        {"bias_term", kFlag},
        {"weight_filler", kFiller}}},
      {{"Pooling"},
       "pooling_param",
       {{"pool", {"MAX", "AVE", "STOCHASTIC"}},
        {"kernel_size", kWhole},
        {"kernel_h", kWhole},
        {"kernel_w", kWhole},
        {"stride", kWhole},
        {"pad", kWhole},
        {"pad_h", kWhole},
        {"global_pooling", kFlag},
        {"round_mode", {"CEIL", "FLOOR"}}}},
      {{"LRN"},
       "lrn_param",
       {{"local_size", kWhole}, {"norm_region", {"WITHIN_CHANNEL"}}, {"alpha", kReal}}},
      {{"BatchNorm"}, "batch_norm_param", {{"use_global_stats", kFlag}, {"eps", kReal}}},
      {{"Scale"},
       "scale_param",
       {{"axis", kWhole},
        {"num_axes", kWhole},
        {"bias_term", kFlag},
        {"filler", kFiller},
        {"bias_filler", kFiller}}},
      {{"Bias"}, "bias_param", {{"axis", kWhole}, {"num_axes", kWhole}, {"filler", kFiller}}},
      {{"ReLU"}, "relu_param", {{"negative_slope", kReal}}},
      {{"Sigmoid"}, "sigmoid_param", {}},
      {{"PReLU"}, "prelu_param", {{"channel_shared", kFlag}, {"filler", kFiller}}},
      {{"Dropout"}, "dropout_param", {{"dropout_ratio", kReal}}},
      {{"InnerProduct"},
       "inner_product_param",
       {{"num_output", kWhole},
        {"axis", kWhole},
        {"transpose", kFlag},
        {"weight_filler", kFiller}}},
      {{"Eltwise"},
       "eltwise_param",
       {{"operation", {"PROD", "SUM", "MAX"}}, {"coeff", kReal}, {"coeff", kReal}}},
      {{"Softmax", "SoftmaxWithLoss"}, "softmax_param", {{"axis", kWhole}}},
      {{"SoftmaxWithLoss"},
       "loss_param",
       {{"ignore_label", kWhole}, {"normalize", kFlag}, {"normalization", {"FULL", "NONE"}}}},
      {{"Accuracy"},
       "accuracy_param",
       {{"axis", kWhole}, {"top_k", kWhole}, {"ignore_label", kWhole}}},
      {{"Concat"}, "concat_param", {{"axis", kWhole}, {"concat_dim", kWhole}}},
      {{"Slice"},
       "slice_param",
       {{"axis", kWhole}, {"slice_dim", kWhole}, {"slice_point", kWhole}, {"slice_point", kWhole}}},
      {{"Split", "Silence"}, "slice_param", {}},
      {{"Flatten"}, "flatten_param", {{"axis", kWhole}, {"end_axis", kWhole}}},
      {{"Reshape"}, "reshape_param", {{"axis", kWhole}, {"num_axes", kWhole}, {"shape", kShape}}},
      {{"Data", "HDF5Data", "ImageData", "WindowData", "AnnotatedData"},
       "data_param",
       {{"batch_size", kWhole}}},
      {{"DummyData"},
       "dummy_data_param",
       {{"num", kWhole},
        {"channels", kWhole},
        {"shape", kShape},
        {"shape", kShape},
        {"data_filler", kFiller}}},
      {{"Input"}, "input_param", {{"shape", kShape}, {"shape", kShape}}},
      {{"MemoryData"},
       "memory_data_param",
       {{"batch_size", kWhole}, {"channels", kWhole}, {"height", kWhole}, {"width", kWhole}}},
      {{"AbsVal", "BNLL", "ReLU6", "TanH"}, "tanh_param", {}},
      {{"Clip"}, "clip_param", {{"min", kReal}, {"max", kReal}}},
      {{"ELU"}, "elu_param", {{"alpha", kReal}}},
      {{"Exp"}, "exp_param", {{"base", kReal}, {"scale", kReal}, {"shift", kReal}}},
      {{"Log"}, "log_param", {{"base", kReal}, {"scale", kReal}, {"shift", kReal}}},
      {{"Power"}, "power_param", {{"power", kReal}, {"scale", kReal}, {"shift", kReal}}},
      {{"Swish"}, "swish_param", {{"beta", kReal}}},
      {{"Threshold"}, "threshold_param", {{"threshold", kReal}}},
      {{"Crop"}, "crop_param", {{"axis", kWhole}, {"offset", kWhole}, {"offset", kWhole}}},
      {{"Tile"}, "tile_param", {{"axis", kWhole}, {"tiles", kWhole}}},
      {{"Permute"}, "permute_param", {{"order", kCount}, {"order", kCount}, {"order", kCount}}},
      {{"ShuffleChannel"}, "shuffle_channel_param", {{"group", kCount}}},
      {{"BatchReindex", "Filter"}, "slice_param", {}},
      {{"ArgMax"}, "argmax_param", {{"axis", kWhole}, {"top_k", kCount}, {"out_max_val", kFlag}}},
      {{"Reduction"},
       "reduction_param",
       {{"axis", kWhole}, {"operation", {"SUM", "ASUM", "SUMSQ", "MEAN"}}, {"coeff", kReal}}},
      {{"Parameter"}, "parameter_param", {{"shape", kShape}}},
      {{"Im2col", "DepthwiseConvolution", "ConvolutionDepthwise"},
       "convolution_param",
       {{"kernel_size", kCount},
        {"kernel_size", kCount},
        {"stride", kCount},
        {"pad", kCount},
        {"dilation", kCount},
        {"num_output", kCount},
        {"axis", kWhole}}},
      {{"Embed"}, "embed_param", {{"num_output", kCount}, {"input_dim", kCount}}},
      {{"Interp"},
       "interp_param",
       {{"height", kWhole},
        {"width", kWhole},
        {"zoom_factor", kWhole},
        {"shrink_factor", kWhole},
        {"pad_beg", kWhole},
        {"pad_end", kWhole}}},
      {{"Resize"},
       "resize_param",
       {{"height", kCount},
        {"width", kCount},
        {"is_pyramid_test", kFlag},
        {"out_height_scale", kReal},
        {"out_width_scale", kReal}}},
      {{"SPP"}, "spp_param", {{"pyramid_height", kCount}, {"pool", {"MAX", "AVE", "STOCHASTIC"}}}},
      {{"LSTM", "RNN", "LSTMUnit"},
       "recurrent_param",
       {{"num_output", kCount}, {"expose_hidden", kFlag}, {"weight_filler", kFiller}}},
      {{"MVN"}, "mvn_param", {{"across_channels", kFlag}, {"eps", kReal}}},
      {{"Normalize"},
       "norm_param",
       {{"across_spatial", kFlag}, {"channel_shared", kFlag}, {"scale_filler", kFiller}}},
      {{"Axpy"}, "slice_param", {}},
      {{"EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"}, "hinge_loss_param", {}},
      {{"ContrastiveLoss"}, "contrastive_loss_param", {{"margin", kReal}}, true},
      {{"SmoothL1Loss"}, "smooth_l1_loss_param", {{"sigma", kReal}}},
      {{"MultiBoxLoss"},
       "multibox_loss_param",
       {{"num_classes", kCount},
        {"share_location", kFlag},
        {"background_label_id", kWhole},
        {"map_object_to_agnostic", kFlag},
        {"mining_type", {"NONE", "HARD_EXAMPLE"}},
        {"neg_pos_ratio", kReal},
        {"sample_size", kWhole},
        {"nms_param", {"{ }", "{ nms_threshold: 0.5 top_k: 3 }"}}},
       true},
      {{"SigmoidCrossEntropyLoss"},
       "loss_param",
       {{"ignore_label", kWhole}, {"normalize", kFlag}, {"normalization", {"FULL", "NONE"}}}},
      {{"InfogainLoss"}, "infogain_loss_param", {{"axis", kWhole}}, true},
      {{"ROIPooling"},
       "roi_pooling_param",
       {{"pooled_h", kCount}, {"pooled_w", kCount}, {"spatial_scale", kReal}},
       true},
      {{"PriorBox"},
       "prior_box_param",
       {{"min_size", kReal},
        {"max_size", kReal},
        {"aspect_ratio", kReal},
        {"variance", kReal},
        {"img_size", kWhole},
        {"step", kReal},
        {"step_h", kReal},
        {"clip", kFlag}},
       true},
      {{"Proposal"},
       "proposal_param",
       {{"feat_stride", kWhole},
        {"base_size", kWhole},
        {"ratio", kReal},
        {"scale", kReal},
        {"post_nms_topn", kWhole}},
       true},
      {{"DetectionOutput"},
       "detection_output_param",
       {{"num_classes", kCount},
        {"share_location", kFlag},
        {"background_label_id", kWhole},
        {"keep_top_k", kWhole},
        {"nms_param", {"{ top_k: 3 }", "{ eta: 0.5 }", "{ nms_threshold: -1 }"}}},
       true},
      {{"DetectionEvaluate"},
       "detection_evaluate_param",
       {{"num_classes", kCount}, {"background_label_id", kWhole}, {"overlap_threshold", kReal}},
       true},
  };
  return all;
}

std::string random_text(Dice& dice, const Subject& subject) {
  std::string text = "type: '" + dice.pick(subject.types) + "' " + subject.message + " { ";
  // About as many of a long list as of a short one: together, most of them clash.
  const size_t sides = subject.fields.size() > 6 ? 4 : 2;
  for (const Field& field : subject.fields)
    if (dice.roll(sides) == 0)
      text += field.name + (field.values[0][0] == '{' ? " " : ": ") + dice.pick(field.values) + " ";
  return text + "}";
}

Shape random_shape(Dice& dice) {
  const std::vector<int64_t> sizes = {1, 2, 3, 4, 4, 6, 8, 0, 2147483647};
  std::vector<int64_t> dims(dice.roll(7));
  for (int64_t& dim : dims) dim = dice.pick(sizes);
  return Shape(dims);
}

// As many bottoms and tops as the type takes: the net builder checks that before it asks for
// shapes.
void try_one(Dice& dice, const Subject& subject) {
  const std::string text = random_text(dice, subject);
  pcc::LayerSpec spec = pcc::parse_layer("name: 'x' " + text);
  const bool loss = spec.type == "SoftmaxWithLoss" || spec.type == "Accuracy";
  const bool source =
      subject.message.find("data_param") != std::string::npos || spec.type == "Input";
  const bool two =
      loss || spec.type == "Eltwise" ||
      ((spec.type == "Scale" || spec.type == "Bias" || spec.type == "Concat") && dice.roll(2) == 0);
  const std::map<std::string, size_t> several = {{"Crop", 2},
                                                 {"BatchReindex", 2},
                                                 {"Parameter", 0},
                                                 {"LSTM", 2},
                                                 {"RNN", 2},
                                                 {"LSTMUnit", 3},
                                                 {"Axpy", 3},
                                                 {"EuclideanLoss", 2},
                                                 {"HingeLoss", 2},
                                                 {"InfogainLoss", 3},
                                                 {"ContrastiveLoss", 3},
                                                 {"SmoothL1Loss", 2},
                                                 {"MultiBoxLoss", 4},
                                                 {"MultinomialLogisticLoss", 2},
                                                 {"ROIPooling", 2},
                                                 {"PriorBox", 2},
                                                 {"SigmoidCrossEntropyLoss", 2},
                                                 {"Proposal", 3},
                                                 {"DetectionOutput", 3},
                                                 {"DetectionEvaluate", 2}};
  const auto found = several.find(spec.type);
  const size_t count = found != several.end() ? found->second : source ? 0 : two ? 2 : 1;
  std::vector<Shape> bottoms(count, random_shape(dice));
  for (Shape& bottom : bottoms)
    if (found != several.end() && dice.roll(4) == 0) bottom = random_shape(dice);
  if (two && dice.roll(2) == 0) bottoms[1] = random_shape(dice);
  const int tops = spec.type == "Silence"      ? 0
                   : spec.type == "MemoryData" ? 2
                   : spec.type == "Slice"      ? 3
                   : spec.type == "LSTMUnit"   ? 2
                                               : 1;
  pcc::LayerContext context = dice.roll(4) == 0 ? pcc::with_replicas(2) : pcc::LayerContext{};
  const pcc::BuiltLayer built(text, bottoms, context, tops);
  for (const Shape& top : built.shapes) CHECK(top.count() > 0);
  for (const pcc::ParamDecl& param : built.params) CHECK(param.shape.count() > 0);
}

}  // namespace

TEST(random_settings_give_shapes_or_errors) {
  Dice dice;
  std::map<std::string, int> built;
  for (int i = 0; i < 60000; ++i) {
    const Subject& subject = dice.pick(subjects());
    try {
      try_one(dice, subject);
      ++built[subject.message];
    } catch (const pcc::Error& error) {
      if (error.kind() != pcc::ErrorKind::config) testing::fail(__FILE__, __LINE__, error.what());
    }
  }
  // Every message but data_param (there is no database here) must have got through at times.
  for (const Subject& subject : subjects())
    if (built[subject.message] == 0 && subject.message != "data_param" && !subject.rare)
      testing::fail(__FILE__, __LINE__, subject.message + " never made a layer");
}

TEST(no_layer_type_is_forgotten) {
  for (const std::string& type : pcc::layer_types()) {
    const auto has = [&](const Subject& subject) {
      return std::find(subject.types.begin(), subject.types.end(), type) != subject.types.end();
    };
    if (std::none_of(subjects().begin(), subjects().end(), has))
      testing::fail(__FILE__, __LINE__, "no random settings of layer type " + type);
  }
}
