// Fusion: BatchNorm > Scale > Eltwise SUM > ReLU as one op, what must stay apart, and that the
// fused plan computes what the layers say, on every backend.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

constexpr double kTolerance = 1e-5;

using Ops = std::vector<std::string>;

std::string sum(const std::string& name, const std::string& a, const std::string& b,
                const std::string& more = "") {
  return "layer { name: '" + name + "' type: 'Eltwise' bottom: '" + a + "' bottom: '" + b +
         "' top: '" + name + "' " + more + " }\n";
}
std::string relu(const std::string& blob, const std::string& more = "") {
  return layer("ReLU", blob + "_relu", blob, blob, more);
}
std::string inputs() { return input_layer("data", {4, 8, 5, 6}) + input_layer("label", {4}); }
// A convolution under a BatchNorm and Scale.
std::string normed(const std::string& name, const std::string& bottom, int outputs = 8) {
  return conv_layer(name, bottom, outputs, 3) + norm_layers_on(name);
}

Ops fused_ops(const std::string& text, const std::vector<std::string>& keep = {}) {
  NetOptions options = net_on("reference", true);
  options.keep = keep;
  return ops_of(*make_net(text, options));
}

// The same net behind a bias for every number of the data: its gradient is that of the input.
std::string with_input_bias(std::string text) {
  const std::string data = input_layer("data", {4, 8, 5, 6});
  return text.replace(
      text.find(data), data.size(),
      input_layer("raw", {4, 8, 5, 6}) +
          layer("Bias", "input", "raw", "data", "bias_param { axis: 0 num_axes: -1 }"));
}

// Two passes (the second meets running statistics and used memory) of the fused net on each
// backend against the layers one by one.
void check_fused(const std::string& bare, const std::vector<std::string>& keep = {}) {
  const std::string text = with_input_bias(bare);
  std::vector<std::shared_ptr<Net>> nets;
  for (const std::string& backend : backend_names()) {
    NetOptions options = net_on(backend, true);
    options.keep = keep;
    nets.push_back(make_net(text, options));
    nets.push_back(make_net(text, net_on(backend)));
  }
  for (const auto& net : nets)
    for (int i = 0; i < 2; ++i) {
      const auto fresh = make_net(text);
      for (Net* each : {net.get(), fresh.get()}) {
        draw_params(*each);
        feed_all(*each, 5);
        each->state().pass = 0;
        for (const Param& param : each->params())
          if (param.statistic)
            set_values(param.data, Values(static_cast<size_t>(param.shape.count()), 0.5));
      }
      std::vector<std::string> blobs = keep;
      blobs.push_back("loss");
      compare_passes(*net, *fresh, blobs, kTolerance);
    }
}

TEST(norm_and_scale_become_one) {
  const std::string text = inputs() + normed("a", "data") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(norm_scale_and_relu_become_one) {
  const std::string text = inputs() + normed("a", "data") + relu("a") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale+relu", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(a_leaky_relu_fuses_with_its_slope) {
  for (const char* slope : {"0.1", "-0.5"}) {
    const std::string text = inputs() + normed("a", "data") +
                             relu("a", concat("relu_param { negative_slope: ", slope, " }")) +
                             classifier("a", 5);
    CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale+relu", "gemm", "softmax loss"}));
    check_fused(text);
  }
}

TEST(norm_and_relu_without_a_scale_become_one) {
  const std::string text = inputs() + conv_layer("a", "data", 8, 3) +
                           layer("BatchNorm", "bn", "a", "a") + relu("a") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+relu", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(a_scale_without_bias_fuses) {
  const std::string text = inputs() + conv_layer("a", "data", 8, 3) +
                           layer("BatchNorm", "bn", "a", "a") + layer("Scale", "s", "a", "a") +
                           relu("a") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale+relu", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(the_residual_sum_fuses_whichever_bottom_it_is) {
  for (const bool first : {true, false}) {
    const std::string text = inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
                             (first ? sum("s", "a", "x") : sum("s", "x", "a")) + relu("s") +
                             classifier("s", 5);
    CHECK_EQ(fused_ops(text), Ops({"conv", "conv", "norm+scale+add+relu", "gemm", "softmax loss"}));
    check_fused(text);
  }
}

// Two chains meet in one sum: the first takes it, the second ends before it.
TEST(a_projection_shortcut_fuses_on_one_side) {
  for (const bool with_relu : {true, false}) {
    const std::string text = inputs() + conv_layer("x", "data", 8, 3) + normed("p", "x") +
                             normed("a", "x") + sum("s", "p", "a") + (with_relu ? relu("s") : "") +
                             classifier("s", 5);
    const std::string joined = with_relu ? "norm+scale+add+relu" : "norm+scale+add";
    CHECK_EQ(fused_ops(text),
             Ops({"conv", "conv", "conv", "norm+scale", joined, "gemm", "softmax loss"}));
    check_fused(text);
  }
}

TEST(residual_blocks_in_a_row) {
  std::string text = inputs() + normed("b0", "data") + relu("b0");
  for (int i = 1; i <= 3; ++i) {
    const std::string below = concat(i == 1 ? "b" : "s", i - 1), name = concat("b", i);
    text += normed(name + "a", below) + relu(name + "a") + normed(name, name + "a") +
            sum(concat("s", i), below, name) + relu(concat("s", i));
  }
  text += classifier("s3", 5);
  const Ops ops = fused_ops(text);
  CHECK_EQ(std::count(ops.begin(), ops.end(), "norm+scale+add+relu"), std::ptrdiff_t{3});
  CHECK_EQ(std::count(ops.begin(), ops.end(), "norm+scale+relu"), std::ptrdiff_t{4});
  check_fused(text, {"s2"});
}

// --- what must stay apart

TEST(a_value_with_another_reader_is_not_swallowed) {
  // Both the Scale and the sum read the BatchNorm's top.
  std::string text = inputs() + conv_layer("a", "data", 8, 3) +
                     layer("BatchNorm", "bn", "a", "bn") + layer("Scale", "sc", "bn", "sc") +
                     sum("s", "bn", "sc") + classifier("s", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm", "scale", "sum", "gemm", "softmax loss"}));
  check_fused(text);
  // The Scale's top is read by the ReLU and the sum.
  text = inputs() + conv_layer("a", "data", 8, 3) + layer("BatchNorm", "bn", "a", "bn") +
         layer("Scale", "sc", "bn", "sc") + layer("ReLU", "r", "sc", "r") + sum("s", "r", "sc") +
         classifier("s", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale", "relu", "sum", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(a_sum_with_itself_is_not_fused) {
  const std::string text = inputs() + normed("a", "data") + sum("s", "a", "a") + classifier("s", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale", "sum", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(a_kept_blob_ends_the_chain) {
  const std::string text = inputs() + conv_layer("a", "data", 8, 3) +
                           layer("BatchNorm", "bn", "a", "bn") + layer("Scale", "sc", "bn", "sc") +
                           layer("ReLU", "r", "sc", "r") + classifier("r", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale+relu", "gemm", "softmax loss"}));
  CHECK_EQ(fused_ops(text, {"bn"}), Ops({"conv", "norm", "scale", "relu", "gemm", "softmax loss"}));
  CHECK_EQ(fused_ops(text, {"sc"}), Ops({"conv", "norm+scale", "relu", "gemm", "softmax loss"}));
  check_fused(text, {"bn"});
  check_fused(text, {"sc"});
  CHECK_THROWS_WITH("keep: the net has no blob 'nothing'", fused_ops(text, {"nothing"}));
}

TEST(an_output_ends_the_chain) {
  NetOptions options = net_on("reference", true);
  options.train = false;
  const auto net = make_net(inputs() + normed("a", "data") + layer("ReLU", "r", "a", "r") +
                                layer("BatchNorm", "last", "data", "last"),
                            options);
  CHECK_EQ(ops_of(*net), Ops({"conv", "norm+scale+relu", "norm"}));
  feed_all(*net, 5);
  net->forward();
  CHECK_EQ(blob_of(*net, "last").size(), size_t{4 * 8 * 5 * 6});
}

TEST(a_weighted_sum_is_not_fused) {
  for (const char* coeff : {"coeff: 1 coeff: -1", "coeff: 0.5 coeff: 1"}) {
    const std::string text = inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
                             sum("s", "a", "x", concat("eltwise_param { ", coeff, " }")) +
                             relu("s") + classifier("s", 5);
    CHECK_EQ(fused_ops(text),
             Ops({"conv", "conv", "norm+scale", "sum", "relu", "gemm", "softmax loss"}));
    check_fused(text);
  }
  CHECK_EQ(
      fused_ops(inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
                sum("s", "a", "x", "eltwise_param { coeff: 1 coeff: 1 }") + classifier("s", 5)),
      Ops({"conv", "conv", "norm+scale+add", "gemm", "softmax loss"}));
}

TEST(products_maxima_and_sums_of_three_are_not_fused) {
  for (const char* operation : {"PROD", "MAX"}) {
    const std::string text =
        inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
        sum("s", "a", "x", concat("eltwise_param { operation: ", operation, " }")) +
        classifier("s", 5);
    CHECK_EQ(fused_ops(text)[2], "norm+scale");
    check_fused(text);
  }
  const std::string text =
      inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
      "layer { name: 's' type: 'Eltwise' bottom: 'a' bottom: 'x' bottom: 'x' top: 's' }" +
      classifier("s", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "conv", "norm+scale", "sum", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(scales_on_other_axes_or_by_a_bottom_are_not_fused) {
  std::string text = inputs() + conv_layer("a", "data", 8, 3) + layer("BatchNorm", "bn", "a", "a") +
                     layer("Scale", "sc", "a", "a", "scale_param { axis: 2 }") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm", "scale", "gemm", "softmax loss"}));
  check_fused(text);
  text = inputs() + input_layer("gain", {4, 8}) + conv_layer("a", "data", 8, 3) +
         layer("BatchNorm", "bn", "a", "a") +
         "layer { name: 'sc' type: 'Scale' bottom: 'a' bottom: 'gain' top: 'sc' scale_param { "
         "axis: 0 } }" +
         classifier("sc", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm", "scale", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(a_dropout_in_between_ends_the_chain) {
  const std::string text = inputs() + normed("a", "data") + layer("Dropout", "d", "a", "a") +
                           relu("a") + classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale", "dropout", "relu", "gemm", "softmax loss"}));
  check_fused(text);
}

// Where the gradient stops at the chain's own side of the sum the ops stay apart.
TEST(a_gradient_that_stops_is_not_fused_away) {
  for (const char* flags : {"propagate_down: false propagate_down: true",
                            "propagate_down: true propagate_down: false"}) {
    const std::string text = inputs() + conv_layer("x", "data", 8, 3) + normed("a", "x") +
                             sum("s", "a", "x", flags) + relu("s") + classifier("s", 5);
    const Ops ops = fused_ops(text);
    CHECK_EQ(std::count(ops.begin(), ops.end(), "sum"), std::ptrdiff_t{flags[16] == 'f'});
    check_fused(text);
  }
  check_fused(inputs() + normed("a", "data") + relu("a", "propagate_down: false") +
              conv_layer("b", "a", 8, 3) + classifier("b", 5));
}

TEST(global_statistics_fuse_too) {
  const std::string text =
      inputs() + conv_layer("a", "data", 8, 3) +
      layer("BatchNorm", "bn", "a", "a", "batch_norm_param { use_global_stats: true }") +
      layer("Scale", "s", "a", "a", "scale_param { bias_term: true }") + relu("a") +
      classifier("a", 5);
  CHECK_EQ(fused_ops(text), Ops({"conv", "norm+scale+relu", "gemm", "softmax loss"}));
  check_fused(text);
}

TEST(fixed_parameters_in_a_chain_get_no_gradient) {
  const std::string text =
      inputs() + conv_layer("a", "data", 8, 3) + layer("BatchNorm", "bn", "a", "a") +
      layer("Scale", "s", "a", "a",
            "scale_param { bias_term: true } param { lr_mult: 0 } param { lr_mult: 1 }") +
      relu("a") + classifier("a", 5);
  check_fused(text);
}

TEST(a_swallowed_blob_is_named) {
  const auto net =
      make_net(inputs() + normed("a", "data") + layer("ReLU", "r", "a", "r") + classifier("r", 5),
               net_on("reference", true));
  CHECK_THROWS_WITH("was swallowed by the fused op a_bn+a_scale+r",
                    net->host(net->blob_index("a"), false));
  CHECK_THROWS_WITH("Build the net with fuse=False, or name the blob in keep=[...]",
                    net->host(net->blob_index("r"), false));
  CHECK_THROWS_WITH("not kept in this plan", net->read(net->blob_index("r")));
}

TEST(plans_may_share_memory_without_fusion_but_not_fuse_what_is_kept) {
  const std::string text = inputs() + normed("a", "data") + classifier("a", 5);
  NetOptions options = net_on("reference", true);
  options.keep_blobs = true;
  CHECK_THROWS_WITH("fuse or keep_blobs, not both", make_net(text, options));
  options.fuse = options.keep_blobs = false;
  const auto net = make_net(text, options);
  CHECK_EQ(net->plan_rows().size(), fused_ops(text).size() + 1);
  CHECK_THROWS_WITH("it shares memory with others", net->host(net->blob_index("a"), false));
}

}  // namespace
}  // namespace pcc
