// Every layer type through a whole net in double: gradients of the loss to each input and each
// learned parameter against central differences.
#include <algorithm>
#include <array>
#include <set>

#include "layer_cases.h"
#include "testing.h"

namespace pcc {
namespace {

std::vector<LayerCase> layer_cases() {
  const Shape image{2, 4, 5, 6};
  return {
      {"Convolution", image, conv("Convolution", "num_output: 3 kernel_size: 3")},
      {"Convolution, strided, padded", image,
       conv("Convolution", "num_output: 3 kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0")},
      {"Convolution, groups, dilation", image,
       conv("Convolution", "num_output: 4 kernel_size: 2 group: 2 dilation: 2 bias_term: false")},
      {"Deconvolution", image,
       conv("Deconvolution", "num_output: 3 kernel_size: 3 stride: 2 pad: 1")},
      {"Deconvolution, groups", image,
       conv("Deconvolution", "num_output: 4 kernel_size: 2 group: 2 bias_term: false")},
      {"Pooling MAX", image, one("Pooling", "pooling_param { kernel_size: 3 stride: 2 }")},
      {"Pooling AVE, padded", image,
       one("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 pool: AVE }")},
      {"Pooling, global", image,
       one("Pooling", "pooling_param { global_pooling: true pool: AVE }")},
      {"LRN across channels", image, one("LRN", "lrn_param { local_size: 3 alpha: 0.8 k: 2 }")},
      {"LRN within channel", image,
       one("LRN", "lrn_param { local_size: 3 alpha: 0.8 norm_region: WITHIN_CHANNEL }")},
      {"BatchNorm", image, one("BatchNorm", "")},
      {"BatchNorm, global statistics", image,
       one("BatchNorm", "batch_norm_param { use_global_stats: true }")},
      {"Scale", image,
       one("Scale",
           "scale_param { bias_term: true filler { type: 'gaussian' } bias_filler { type: "
           "'gaussian' } }")},
      {"Scale on an axis", image,
       one("Scale", "scale_param { axis: 2 num_axes: 2 filler { type: 'gaussian' } }")},
      {"Scale by a bottom",
       image,
       "layer { name: 'x' type: 'Scale' bottom: 'data' bottom: 'in1' top: 'y' scale_param { axis: "
       "0 bias_term: true } }",
       {{2, 4}}},
      {"Bias", image, one("Bias", "bias_param { filler { type: 'gaussian' } }")},
      {"Bias by a bottom",
       image,
       "layer { name: 'x' type: 'Bias' bottom: 'data' bottom: 'in1' top: 'y' bias_param { axis: 1 "
       "} }",
       {{4, 5}}},
      {"ReLU", image, one("ReLU", "")},
      {"ReLU, leaky", image, one("ReLU", "relu_param { negative_slope: 0.3 }")},
      {"Sigmoid", image, one("Sigmoid", "")},
      {"PReLU", image, one("PReLU", "prelu_param { filler { type: 'uniform' } }")},
      {"PReLU with one slope, in place", image,
       conv("Convolution", "num_output: 4 kernel_size: 3") +
           layer("PReLU", "p", "y", "y", "prelu_param { channel_shared: true }")},
      {"Dropout", image, one("Dropout", "dropout_param { dropout_ratio: 0.4 }")},
      {"InnerProduct", image,
       one("InnerProduct", concat("inner_product_param { num_output: 5 ", kFill, " }"))},
      {"InnerProduct, transposed, axis 2", image,
       one("InnerProduct",
           concat("inner_product_param { num_output: 3 axis: 2 transpose: true bias_term: false ",
                  kFill, " }"))},
      {"Eltwise SUM",
       image,
       "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'in1' bottom: 'data' top: 'y' "
       "eltwise_param { coeff: 1 coeff: -2 coeff: 0.5 } }",
       {image}},
      {"Eltwise PROD",
       image,
       "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'in1' bottom: 'data' top: 'y' "
       "eltwise_param { operation: PROD } }",
       {image}},
      {"Eltwise MAX",
       image,
       "layer { name: 'x' type: 'Eltwise' bottom: 'data' bottom: 'in1' bottom: 'in2' top: 'y' "
       "eltwise_param { operation: MAX } }",
       {image, image}},
      {"Concat",
       image,
       "layer { name: 'x' type: 'Concat' bottom: 'data' bottom: 'in1' bottom: 'data' top: 'y' }",
       {{2, 1, 5, 6}}},
      {"Concat on axis 2",
       image,
       "layer { name: 'x' type: 'Concat' bottom: 'data' bottom: 'in1' top: 'y' concat_param { "
       "axis: 2 } }",
       {{2, 4, 2, 6}}},
      {"Slice", image,
       "layer { name: 'x' type: 'Slice' bottom: 'data' top: 'a' top: 'b' top: 'c' slice_param { "
       "slice_point: 1 slice_point: 2 } }"
       "layer { name: 's' type: 'Silence' bottom: 'b' }"
       "layer { name: 'j' type: 'Concat' bottom: 'c' bottom: 'a' bottom: 'c' top: 'y' }"},
      {"Split", image,
       "layer { name: 'x' type: 'Split' bottom: 'data' top: 'a' top: 'b' }"
       "layer { name: 'j' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'y' eltwise_param { "
       "operation: PROD } }"},
      {"Flatten", image, one("Flatten", "flatten_param { axis: 2 }")},
      {"Reshape", image, one("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }")},
      {"Softmax", image, one("Softmax", "")},
      {"Softmax on axis 3", image, one("Softmax", "softmax_param { axis: 3 }")},
      {"a chain in place", image,
       conv("Convolution", "num_output: 4 kernel_size: 3") + norm_layers_on("y") +
           layer("ReLU", "r", "y", "y") + layer("Dropout", "d", "y", "y") +
           layer("Bias", "b", "y", "y")},
  };
}

std::vector<LayerCase> all_cases() {
  std::vector<LayerCase> all = layer_cases();
  for (auto* more : {function_cases, selection_cases, sequence_cases, norm_cases})
    for (LayerCase& each : more()) all.push_back(std::move(each));
  return all;
}

// Derivatives of the loss by one tensor's elements.
struct Checked {
  std::string what;
  Values got;
  std::function<void(size_t, double)> shift;  // adds to one element
};

double loss_of(Net& net) {
  net.state().pass = 0;  // the same dropout masks each time
  return net.forward();
}

void check_net(const std::string& name, const std::string& text, double tolerance = 1e-6) {
  NetOptions options = double_net();
  options.force_backward = true;
  const auto net = make_net(text, options);
  draw_params(*net);
  feed_all(*net, 3, hash_name(name.c_str()));
  for (const Param& param : net->params())  // statistics: something to divide by
    if (param.statistic)
      set_values(param.data, Values(static_cast<size_t>(param.shape.count()), 0.7));
  net->state().pass = 0;
  pass(*net);
  std::vector<Checked> checks;
  for (const int blob : net->inputs()) {
    const BlobInfo& info = net->blobs()[static_cast<size_t>(blob)];
    if (info.name.starts_with("label")) continue;
    const Tensor data = net->plan().data(info.versions[0].value);
    checks.push_back({"bottom " + info.name, values_of(net->plan().diff(info.versions[0].value)),
                      [data](size_t i, double by) { data.as<double>()[i] += by; }});
  }
  for (const int p : net->learnable()) {
    const Param& param = net->params()[static_cast<size_t>(p)];
    if (param.statistic) continue;
    checks.push_back({concat("parameter ", param.index, " of ", param.layer), values_of(param.diff),
                      [data = param.data](size_t i, double by) { data.as<double>()[i] += by; }});
  }
  constexpr double kStep = 1e-5;
  for (const Checked& check : checks) {
    Values expected;
    for (size_t i = 0; i < check.got.size(); ++i) {
      check.shift(i, kStep);
      const double above = loss_of(*net);
      check.shift(i, -2 * kStep);
      const double below = loss_of(*net);
      check.shift(i, kStep);
      expected.push_back((above - below) / (2 * kStep));
    }
    const double difference = relative_difference(check.got, expected);
    if (!(difference <= tolerance))
      testing::fail(__FILE__, __LINE__,
                    concat(name, ": the gradient to ", check.what, " is off by ", difference));
  }
}

TEST(gradients_of_every_layer_type) {
  for (const LayerCase& each : all_cases()) {
    std::string text = input_layer("data", each.data) + input_layer("label", {each.data[0]});
    for (size_t i = 0; i < each.more.size(); ++i)
      text += input_layer(concat("in", i + 1), each.more[i]);
    for (size_t i = 0; i < each.labels.size(); ++i)
      text += input_layer(concat("label", i + 1), each.labels[i]);
    check_net(each.name, text + each.layers + classifier("y", 3));
  }
}

TEST(gradients_of_losses) {
  const std::string inputs = input_layer("data", {4, 3, 2, 2}) + input_layer("label", {4, 1, 2, 2});
  for (const char* fields :
       {"", "loss_weight: 2.5", "loss_param { normalization: FULL }",
        "loss_param { normalization: BATCH_SIZE }", "loss_param { normalization: NONE }",
        "loss_param { ignore_label: 1 }", "loss_param { ignore_label: 1 normalization: FULL }",
        "loss_param { normalize: false }"})
    check_net(concat("SoftmaxWithLoss ", fields),
              inputs +
                  "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'data' bottom: 'label' "
                  "top: 'loss' " +
                  fields + " }");
  check_net(
      "two losses",
      inputs + conv_layer("c", "data", 3, 3) +
          "layer { name: 'l1' type: 'SoftmaxWithLoss' bottom: 'c' bottom: 'label' top: 'l1' "
          "loss_weight: 0.3 }"
          "layer { name: 'l2' type: 'SoftmaxWithLoss' bottom: 'data' bottom: 'label' top: 'l2' }");
}

// Type, bottoms, fields.
std::vector<std::array<std::string, 3>> loss_cases() {
  return {
      {"EuclideanLoss", "data in1", "loss_weight: 0.7"},
      {"SmoothL1Loss", "data in1", ""},
      {"SmoothL1Loss", "data in1 label1 label1", "smooth_l1_loss_param { sigma: 1.5 }"},
      {"ContrastiveLoss", "data in1 label", ""},
      {"ContrastiveLoss", "data in1 label", "contrastive_loss_param { margin: 3 }"},
      {"ContrastiveLoss", "data in1 label",
       "contrastive_loss_param { margin: 3 legacy_version: true }"},
      {"HingeLoss", "data label", ""},
      {"HingeLoss", "data label", "hinge_loss_param { norm: L2 }"},
      {"InfogainLoss", "data label label2", ""},
      {"InfogainLoss", "data label label2", "loss_param { ignore_label: 1 normalization: FULL }"},
      {"SigmoidCrossEntropyLoss", "data label1", ""},
      {"SigmoidCrossEntropyLoss", "data label1",
       "loss_param { ignore_label: 2 normalization: VALID }"},
  };
}

TEST(gradients_of_more_losses) {
  const std::string inputs = input_layer("data", {4, 3}) + input_layer("in1", {4, 3}) +
                             input_layer("label", {4}) + input_layer("label1", {4, 3}) +
                             input_layer("label2", {3, 3});
  const std::string unread =
      "layer { name: 'u' type: 'Silence' bottom: 'data' bottom: 'in1' "
      "bottom: 'label' bottom: 'label1' bottom: 'label2' }\n";
  for (const auto& [type, bottoms, fields] : loss_cases())
    // The exact gradient but for a distance's share of 1e-4 (contrastive_loss_layer.cpp).
    check_net(concat(type, " ", fields),
              inputs + unread + with_bottoms(type, bottoms, "loss", fields),
              type == "ContrastiveLoss" ? 2e-4 : 1e-6);
  check_net("MultinomialLogisticLoss",
            inputs + unread + layer("Softmax", "p", "data", "p") +
                with_bottoms("MultinomialLogisticLoss", "p label", "loss"));
}

std::string filter_net(const std::string& more = "") {
  return input_layer("data", {4, 3}) + input_layer("more", {4, 2, 2}) + input_layer("keep", {4}) +
         layer("Power", "p", "data", "p", "power_param { scale: 2 }") +
         "layer { name: 'f' type: 'Filter' bottom: 'p' bottom: 'more' bottom: 'keep' top: 'a' top: "
         "'b' }" +
         more;
}

TEST(filter_passes_the_chosen_samples_on) {
  const std::string text =
      filter_net(layer("Reduction", "r", "a", "r", "reduction_param { operation: MEAN }")) +
      "layer { name: 's' type: 'Silence' bottom: 'b' }";
  for (const char* backend : {"reference", "cpu"}) {
    const auto net = make_net(text, net_on(backend));
    feed_all(*net, 3);
    const Values data = blob_of(*net, "data");
    for (const Values& keep : std::vector<Values>{{1, 0, 0, 1}, {0, 1, 1, 1}, {1, 1, 1, 1}}) {
      feed(*net, "keep", keep);
      net->forward();
      Values expected;
      for (size_t n = 0; n < 4; ++n)
        for (size_t i = 0; keep[n] != 0 && i < 3; ++i) expected.push_back(2 * data[3 * n + i]);
      CHECK(relative_difference(blob_of(*net, "a"), expected) < 1e-6);
      CHECK_EQ(blob_of(*net, "b").size(), expected.size() / 3 * 4);
      double mean = 0;
      for (const double value : expected) mean += value / static_cast<double>(expected.size());
      CHECK_NEAR(blob_of(*net, "r")[0], mean, 1e-6);
    }
    feed(*net, "keep", {0, 0, 0, 0});
    CHECK_THROWS_WITH("bottom 'a' (0x3) would be empty", net->forward());
    feed(*net, "keep", {1, 0, 1, 0});
    net->forward();
    CHECK_EQ(blob_of(*net, "a").size(), 6u);
    CHECK_EQ(blob_of(*net, "data"), data);
  }
  const auto net = make_net(filter_net());
  feed_all(*net, 3);
  feed(*net, "keep", {0, 0, 0, 0});
  net->forward();
  CHECK_EQ(blob_of(*net, "a").size(), 0u);
}

TEST(gradients_of_filter) {
  check_net("Filter", input_layer("data", {4, 3}) + input_layer("in1", {4, 2, 2}) +
                          input_layer("label1", {4}) +
                          with_bottoms("Filter", "data in1 label1", "a b") +
                          layer("Reduction", "ra", "a", "ra",
                                "reduction_param { operation: SUMSQ } loss_weight: 0.5") +
                          layer("Reduction", "rb", "b", "rb",
                                "reduction_param { operation: SUMSQ } loss_weight: 2"));
}

// The lists are complete: a new layer type must be added to them.
TEST(no_layer_type_is_forgotten) {
  std::string all;
  for (const LayerCase& each : all_cases()) all += each.layers;
  for (const auto& each : loss_cases()) all += "type: '" + each[0] + "'";
  // Without a gradient; and those that tests of their own check, MultiBoxLoss in test_multibox.py.
  const std::set<std::string> others{"Data",
                                     "DummyData",
                                     "HDF5Data",
                                     "ImageData",
                                     "WindowData",
                                     "AnnotatedData",
                                     "Input",
                                     "MemoryData",
                                     "Accuracy",
                                     "ArgMax",
                                     "Threshold",
                                     "PriorBox",
                                     "Proposal",
                                     "DetectionOutput",
                                     "Filter",
                                     "DetectionEvaluate",
                                     "MultiBoxLoss",
                                     "SoftmaxWithLoss",
                                     "MultinomialLogisticLoss"};
  for (const std::string& type : layer_types())
    if (others.count(type) == 0 && all.find("type: '" + type + "'") == std::string::npos)
      testing::fail(__FILE__, __LINE__, "no gradient check of layer type " + type);
}

}  // namespace
}  // namespace pcc
