// R replicas in one net learn what R nets would together, whatever the loss is made of.
#include <cmath>

#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

constexpr int kClasses = 5;

std::string weighted(const std::string& type, const std::string& bottom,
                     const std::string& more = "") {
  return layer(type, "top", bottom, "top", "loss_weight: 0.7 " + more);
}
std::string square(const std::string& blob) {
  return "layer { name: 'square' type: 'Eltwise' bottom: '" + blob + "' bottom: '" + blob +
         "' top: 'square' loss_weight: 0.7 eltwise_param { operation: PROD } }\n";
}
// A classifier whose loss has these fields.
std::string loss(const std::string& fields, const std::string& name = "loss") {
  return "layer { name: '" + name +
         "' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: '" + name + "' " + fields +
         " }\n";
}
std::string scores() {
  return layer("InnerProduct", "ip", "conv", "ip",
               "inner_product_param { num_output: 5 weight_filler { type: 'xavier' } }");
}

// What follows a convolution with 8 channels of 6x5.
std::vector<std::pair<std::string, std::string>> endings() {
  return {
      {"a loss", scores() + loss("")},
      {"a weighted loss", scores() + loss("loss_weight: 0.3")},
      {"ignored labels", scores() + loss("loss_param { ignore_label: 1 }")},
      {"labels summed up", scores() + loss("loss_param { normalization: NONE }")},
      {"over the batch", scores() + loss("loss_param { normalization: BATCH_SIZE }")},
      {"over all", scores() + loss("loss_param { normalization: FULL ignore_label: 2 }")},
      {"two losses", scores() + loss("") + loss("loss_weight: 2", "other")},
      {"a sum of losses", scores() + loss("loss_weight: 0") + loss("loss_weight: 0", "other") +
                              "layer { name: 'sum' type: 'Eltwise' bottom: 'loss' bottom: 'other' "
                              "top: 'sum' loss_weight: 0.7 eltwise_param { coeff: 1 coeff: 3 } }"},
      {"a loss and its scores", layer("InnerProduct", "ip", "conv", "ip",
                                      "loss_weight: 0.2 inner_product_param { num_output: 5 "
                                      "weight_filler { type: 'xavier' } }") +
                                    loss("")},
      {"probabilities of a loss",
       scores() + "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' "
                  "top: 'loss' top: 'p' loss_weight: 1 loss_weight: 0.5 }"},
      {"an accuracy", scores() + loss("") +
                          "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' "
                          "top: 'accuracy' loss_weight: 0.5 }"},
      {"InnerProduct", weighted("InnerProduct", "conv",
                                "inner_product_param { num_output: 6 weight_filler { type: "
                                "'xavier' } }")},
      {"Convolution", conv_layer("second", "conv", 16, 3) + square("second")},
      {"Eltwise", layer("ReLU", "relu", "conv", "relu") +
                      "layer { name: 'top' type: 'Eltwise' bottom: 'conv' bottom: 'relu' top: "
                      "'top' loss_weight: 0.7 }"},
      {"Pooling MAX",
       weighted("Pooling", "conv", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")},
      {"Pooling AVE",
       weighted("Pooling", "conv", "pooling_param { pool: AVE global_pooling: true }")},
      {"BatchNorm",
       norm_layers_on("conv") + layer("ReLU", "relu", "conv", "conv") + square("conv")},
      {"Scale", weighted("Scale", "conv", "scale_param { bias_term: true }")},
      {"ReLU in place", layer("ReLU", "relu", "conv", "conv", "loss_weight: 0.7")},
      {"LRN", weighted("LRN", "conv", "lrn_param { local_size: 3 }")},
      {"Softmax", scores() + layer("Softmax", "p", "ip", "p") + square("p")},
      {"Flatten", layer("Flatten", "flat", "conv", "flat") + square("flat")},
      {"Reshape into more rows",
       weighted("Reshape", "conv", "reshape_param { shape { dim: -1 dim: 30 } }")},
      {"Slice",
       "layer { name: 'cut' type: 'Slice' bottom: 'conv' top: 'a' top: 'b' loss_weight: 0.7 "
       "loss_weight: -2 }"},
      {"Concat",
       "layer { name: 'top' type: 'Concat' bottom: 'conv' bottom: 'data' top: 'top' loss_weight: "
       "0.7 }"},
      {"a blob with a reader behind it",
       layer("ReLU", "relu", "conv", "relu", "loss_weight: 0.7") +
           layer("Pooling", "pool", "relu", "pool",
                 "pooling_param { pool: AVE kernel_size: 2 stride: 2 } loss_weight: 1.5")},
  };
}

std::string start() {
  return input_layer("data", {3, 3, 6, 5}) + input_layer("label", {3}) +
         conv_layer("conv", "data", 8, 3);
}

// Replica r's samples.
Values data(int64_t r) { return random_values(3 * 3 * 6 * 5, 30 + static_cast<uint64_t>(r)); }
Values labels(int64_t r) { return label_values(3, kClasses, 40 + static_cast<uint64_t>(r)); }

std::shared_ptr<Net> fed(const std::string& text, NetOptions options, int64_t replicas,
                         int64_t first) {
  options.replicas = replicas;
  const auto net = make_net(text, options);
  draw_params(*net);
  Values x, t;
  for (int64_t r = first; r < first + replicas; ++r) {
    for (const double value : data(r)) x.push_back(value);
    for (const double value : labels(r)) t.push_back(value);
  }
  feed(*net, "data", x);
  if (net->blob_index("label") >= 0) feed(*net, "label", t);
  return net;
}

void check(const std::string& what, const std::string& text, const NetOptions& options,
           int64_t replicas, double tolerance) {
  const auto whole = fed(text, options, replicas, 0);
  NetOptions separate = options;
  separate.fuse = false;
  separate.keep_blobs = true;
  const double loss = pass(*whole);
  double expected_loss = 0, size = 0;
  std::map<int, Values> mean;
  for (int64_t r = 0; r < replicas; ++r) {
    const auto one = fed(text, separate, 1, r);
    const double own = pass(*one);
    if (r == 0) expected_loss = own;
    for (const int p : one->learnable()) {
      if (one->params()[static_cast<size_t>(p)].statistic) continue;
      const Values diff = values_of(one->params()[static_cast<size_t>(p)].diff);
      Values& sum = mean[p];
      sum.resize(diff.size());
      for (size_t i = 0; i < diff.size(); ++i) sum[i] += diff[i] / static_cast<double>(replicas);
    }
  }
  const std::string where =
      concat(what, ", ", replicas, " replicas on ", options.backend, options.fuse ? ", fused" : "");
  if (std::abs(loss - expected_loss) > tolerance * std::max(1.0, std::abs(expected_loss)))
    testing::fail(__FILE__, __LINE__, concat(where, ": loss ", loss, ", not ", expected_loss));
  // All in one: that of a bias before BatchNorm is zero but for rounding.
  Values got, expected;
  for (const auto& [p, diff] : mean) {
    const Values own = values_of(whole->params()[static_cast<size_t>(p)].diff);
    got.insert(got.end(), own.begin(), own.end());
    expected.insert(expected.end(), diff.begin(), diff.end());
  }
  const double difference = relative_difference(got, expected);
  if (!(difference <= tolerance))
    testing::fail(__FILE__, __LINE__, concat(where, ": gradients differ by ", difference));
  for (const double value : expected) size += std::abs(value);
  CHECK(size > 1e-3);  // equal zeros would prove nothing
}

TEST(gradients_are_the_mean_over_replicas_in_double) {
  for (const auto& [what, text] : endings())
    for (const bool fuse : {false, true})
      for (const int64_t replicas : {1, 2, 3, 4})
        check(what, start() + text, double_net(fuse), replicas, 1e-10);
}

TEST(gradients_are_the_mean_over_replicas_on_every_backend) {
  for (const auto& [what, text] : endings())
    for (const std::string& backend : backend_names())
      for (const bool fuse : {false, true})
        for (const int64_t replicas : {2, 4})
          check(what, start() + text, net_on(backend, fuse), replicas, 3e-5);
}

TEST(an_output_is_read_of_replica_0_alone) {
  const auto net = fed(start() + scores() + loss(""), net_on("reference"), 4, 0);
  net->forward();
  const int scores = net->blob_index("ip"), value = net->blob_index("loss");
  const Values all = view(*net, "ip", false);
  CHECK_EQ(all.size(), 60u);
  CHECK_EQ(net->read(scores), Values(all.begin(), all.begin() + 15));
  CHECK_EQ(net->read(value).size(), 1u);
}

}  // namespace
}  // namespace pcc
