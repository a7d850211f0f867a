// Who gets a gradient, and parameters that several layers or nets share. Source: Caffe's net.cpp
// (Init, AppendParam, ShareTrainedLayersWith) and test_net.cpp.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

std::string ip(const std::string& name, const std::string& bottom, const std::string& more = "",
               int outputs = 4) {
  return layer("InnerProduct", name, bottom, name,
               concat("inner_product_param { num_output: ", outputs,
                      " weight_filler { type: 'gaussian' std: 0.3 } } ", more));
}

std::string loss(const std::string& bottom, const std::string& more = "") {
  return "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: '" + bottom +
         "' bottom: 'label' top: 'loss' " + more + " }";
}

std::string inputs() { return input_layer("data", {3, 4}) + input_layer("label", {3}); }

// The layers that run backward, in order.
std::string backward_layers(const std::string& text, const NetOptions& options = reference_net()) {
  const auto net = make_net(text, options);
  std::string names;
  for (const LayerInfo& info : net->layers())
    if (info.need_backward) names += (names.empty() ? "" : " ") + info.layer->spec().name;
  return names;
}

const char* const kFixed = "param { lr_mult: 0 } param { lr_mult: 0 }";

TEST(everything_under_a_loss_with_parameters_runs_backward) {
  CHECK_EQ(backward_layers(inputs() + ip("a", "data") + ip("b", "a") + loss("b")), "a b loss");
}

TEST(fixed_parameters_end_the_backward_pass) {
  CHECK_EQ(backward_layers(inputs() + ip("a", "data", kFixed) + ip("b", "a") + loss("b")),
           "b loss");
  CHECK_EQ(backward_layers(inputs() + ip("a", "data") + ip("b", "a", kFixed) + loss("b")),
           "a b loss");
  CHECK_EQ(backward_layers(inputs() + ip("a", "data", kFixed) + loss("a")), "");
}

TEST(a_fixed_parameter_gets_no_diff) {
  for (const bool fuse : {false, true}) {
    const auto net = make_net(inputs() + ip("a", "data", "param { lr_mult: 0 }") + loss("a"),
                              net_on("reference", fuse));
    feed_all(*net, 4);
    pass(*net);
    for (const double diff : param_diff(*net, "a", 0)) CHECK_EQ(diff, 0.0);
    CHECK(relative_difference(param_diff(*net, "a", 1), Values(4, 0)) > 1);
  }
}

TEST(propagate_down_false_stops_the_gradient) {
  const std::string text =
      inputs() + ip("a", "data") + ip("b", "a", "propagate_down: false") + loss("b");
  CHECK_EQ(backward_layers(text), "b loss");
  const auto net = make_net(text);
  CHECK(!info_of(*net, "b").bottom_need_backward[0]);
}

TEST(propagate_down_false_stops_one_of_two_branches) {
  const std::string text = inputs() + ip("a", "data") + ip("b", "data") +
                           "layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' top: 'sum'"
                           " propagate_down: true propagate_down: false }" +
                           loss("sum");
  CHECK_EQ(backward_layers(text), "a sum loss");
}

TEST(propagate_down_false_in_place_stops_the_gradient_too) {
  CHECK_EQ(backward_layers(inputs() + ip("a", "data") +
                           layer("ReLU", "relu", "a", "a", "propagate_down: false") + ip("b", "a") +
                           loss("b")),
           "relu b loss");
}

TEST(a_blob_shows_the_diff_that_came_last_though_its_maker_gets_none) {
  const auto net = make_net(inputs() + ip("a", "data") +
                            layer("ReLU", "leaky", "a", "a", "relu_param { negative_slope: 0.1 }") +
                            layer("Scale", "scale", "a", "a", "propagate_down: false") +
                            ip("b", "a") + loss("b"));
  feed_all(*net, 4);
  pass(*net);
  const BlobInfo& blob = net->blobs()[static_cast<size_t>(net->blob_index("a"))];
  CHECK_EQ(blob.versions.size(), size_t{3});
  const Values last = values_of(net->plan().diff(blob.versions[2].value));
  CHECK(relative_difference(last, Values(12, 0)) > 1);
  CHECK(view(*net, "a", true) == last);
}

// Caffe: the layer provides the backward pass that its bottom needs, and leaves it at that.
TEST(propagate_down_false_still_lets_a_gradient_come_to_the_layer) {
  const auto net =
      make_net(inputs() + ip("a", "data") +
               layer("ReLU", "relu", "a", "r", "propagate_down: false") + ip("b", "r") + loss("b"));
  feed_all(*net, 4);
  pass(*net);
  const auto diff = [&](const char* blob) {
    const int value = net->blobs()[static_cast<size_t>(net->blob_index(blob))].versions[0].value;
    return values_of(net->plan().diff(value));
  };
  CHECK(relative_difference(diff("r"), Values(12, 0)) > 1);
  CHECK(diff("a") == Values(12, 0));
}

TEST(propagate_down_true_reaches_the_data) {
  const auto net = make_net(inputs() + ip("a", "data", "propagate_down: true") + loss("a"));
  CHECK(info_of(*net, "a").bottom_need_backward[0]);
  feed_all(*net, 4);
  pass(*net);
  const Values diff = values_of(net->plan().diff(net->blobs()[0].versions[0].value));
  CHECK(relative_difference(diff, Values(12, 0)) > 1);
}

TEST(propagate_down_must_fit_the_bottoms) {
  CHECK_THROWS_WITH(
      "propagate_down is given 2 time(s) for 1 bottom(s)",
      make_net(inputs() + ip("a", "data", "propagate_down: true propagate_down: true") +
               loss("a")));
  CHECK_THROWS_WITH("asks for a gradient to bottom 'label'",
                    make_net(inputs() + ip("a", "data") +
                             loss("a", "propagate_down: true propagate_down: true")));
}

TEST(a_branch_without_a_loss_stays_forward_only) {
  const std::string text = inputs() + ip("a", "data") + ip("side", "a") + ip("b", "a") + loss("b");
  CHECK_EQ(backward_layers(text), "a a_a_0_split b loss");
  const auto net = make_net(text);
  feed_all(*net, 4);
  pass(*net);
  for (const double diff : param_diff(*net, "side", 0)) CHECK_EQ(diff, 0.0);
}

TEST(an_accuracy_layer_sends_nothing_back) {
  const std::string text =
      inputs() + ip("a", "data") + loss("a") +
      "layer { name: 'acc' type: 'Accuracy' bottom: 'a' bottom: 'label' top: 'acc' }";
  CHECK_EQ(backward_layers(text), "a a_a_0_split loss");
}

TEST(a_silenced_branch_sends_nothing_back) {
  CHECK_EQ(backward_layers(inputs() + ip("a", "data") + ip("b", "a") +
                           "layer { name: 'quiet' type: 'Silence' bottom: 'b' }" + ip("c", "a") +
                           loss("c")),
           "a a_a_0_split c loss");
}

TEST(a_loss_weight_of_zero_is_no_loss) {
  CHECK_EQ(backward_layers(inputs() + ip("a", "data") + loss("a", "loss_weight: 0")), "");
}

TEST(loss_weights_scale_loss_and_gradient) {
  const auto one = make_net(inputs() + ip("a", "data") + loss("a"));
  const auto two = make_net(inputs() + ip("a", "data") + loss("a", "loss_weight: 2.5"));
  for (Net* net : {one.get(), two.get()}) feed_all(*net, 4);
  CHECK_CLOSE(pass(*two), 2.5 * pass(*one), 1e-6);
  const Values once = param_diff(*one, "a", 0), more = param_diff(*two, "a", 0);
  for (size_t i = 0; i < once.size(); ++i) CHECK_NEAR(more[i], 2.5 * once[i], 1e-6);
}

TEST(any_top_can_be_a_loss) {
  const auto net = make_net(input_layer("data", {2, 3}) + ip("a", "data", "loss_weight: 0.5"));
  feed(*net, "data", random_values(6, 1));
  double sum = 0;
  const double got = pass(*net);
  for (const double value : blob_of(*net, "a")) sum += value;
  CHECK_CLOSE(got, 0.5 * sum, 1e-5);
  for (const double diff : param_diff(*net, "a", 1)) CHECK_NEAR(diff, 1.0, 1e-6);
}

TEST(loss_weights_must_fit_the_tops) {
  CHECK_THROWS_WITH("loss_weight is given 3 time(s) for 1 top(s)",
                    make_net(inputs() + ip("a", "data") +
                             loss("a", "loss_weight: 1 loss_weight: 1 loss_weight: 1")));
}

TEST(force_backward_reaches_data_and_fixed_parameters) {
  NetOptions options = reference_net();
  options.force_backward = true;
  const std::string text = inputs() + ip("a", "data", kFixed) + loss("a");
  CHECK_EQ(backward_layers(text, options), "data label a loss");
  const auto net = make_net(text, options);
  CHECK(!info_of(*net, "loss").bottom_need_backward[1]);
  feed_all(*net, 4);
  pass(*net);
  const Values diff = values_of(net->plan().diff(net->blobs()[0].versions[0].value));
  CHECK(relative_difference(diff, Values(12, 0)) > 1);
  CHECK(relative_difference(param_diff(*net, "a", 0), Values(16, 0)) > 1);
}

// --- parameters shared by name

std::string shared(const std::string& name, const std::string& bottom,
                   const std::string& fields = "", int outputs = 4) {
  return ip(name, bottom, "param { name: 'w' " + fields + " } param { name: 'b' }", outputs);
}

TEST(layers_share_parameters_by_name) {
  const auto net = make_net(inputs() + shared("a", "data") + shared("b", "a") + loss("b"));
  REQUIRE(net->params().size() == 4);
  CHECK_EQ(net->learnable(), std::vector<int>({0, 1}));
  CHECK_EQ(net->params()[2].owner, 0);
  CHECK_EQ(net->params()[3].owner, 1);
  CHECK_EQ(net->offset(2), int64_t{-1});
}

TEST(gradients_of_shared_parameters_add_up) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = make_net(inputs() + shared("a", "data") + shared("b", "a") + loss("b"),
                                net_on(backend, fuse));
      const auto apart =
          make_net(inputs() + ip("a", "data") + ip("b", "a") + loss("b"), net_on(backend, fuse));
      draw_params(*net);
      draw_params(*apart);
      for (int i = 0; i < 2; ++i)
        for (const char* name : {"a", "b"})
          set_values(apart->params()[param_index(*apart, name, i)].data, param_data(*net, "a", i));
      feed_all(*net, 4);
      feed_all(*apart, 4);
      CHECK_CLOSE(pass(*net), pass(*apart), 1e-6);
      for (int i = 0; i < 2; ++i) {
        const Values sum = param_diff(*net, "a", i), of_a = param_diff(*apart, "a", i),
                     of_b = param_diff(*apart, "b", i);
        for (size_t k = 0; k < sum.size(); ++k) CHECK_NEAR(sum[k], of_a[k] + of_b[k], 1e-5);
      }
    }
}

TEST(strict_sharing_needs_equal_shapes) {
  // 4x4 weights and 2x4: the same name does not fit, whatever the mode.
  CHECK_THROWS_WITH("shares param 'w' with layer 'a', whose shape is 4x4; here it would be 2x4",
                    make_net(inputs() + shared("a", "data") + shared("b", "a", "", 2) + loss("b")));
  CHECK_THROWS_WITH("shares param 'w'",
                    make_net(inputs() + shared("a", "data") +
                             shared("b", "a", "share_mode: PERMISSIVE", 2) + loss("b")));
}

// Embedding by a 1x8 and an 8x1 weight: as many elements in another shape.
std::string permissive(const char* mode) {
  return input_layer("data", {3, 8}) + input_layer("label", {3}) +
         layer("InnerProduct", "down", "data", "down",
               "param { name: 'w' } inner_product_param { num_output: 1 bias_term: false"
               " weight_filler { type: 'gaussian' } }") +
         layer("InnerProduct", "up", "down", "up",
               std::string("param { name: 'w' ") + mode +
                   " } inner_product_param { num_output: 8 bias_term: false }") +
         loss("up");
}

TEST(permissive_sharing_needs_equal_counts_only) {
  CHECK_THROWS_WITH("whose shape is 1x8; here it would be 8x1", make_net(permissive("")));
  CHECK_THROWS_WITH("shares param 'w'", make_net(permissive("share_mode: STRICT")));
  const auto net = make_net(permissive("share_mode: PERMISSIVE"));
  CHECK_EQ(net->params()[1].shape, (Shape{8, 1}));
  CHECK_EQ(net->params()[1].owner, 0);
  feed_all(*net, 8);
  pass(*net);
  CHECK(relative_difference(param_diff(*net, "down", 0), Values(8, 0)) > 0.1);
}

TEST(multipliers_of_shared_parameters_must_agree) {
  CHECK_THROWS_WITH("shared param 'w' has lr_mult 3, but 2 in layer 'a'",
                    make_net(inputs() + shared("a", "data", "lr_mult: 2") +
                             shared("b", "a", "lr_mult: 3") + loss("b")));
  CHECK_THROWS_WITH("shared param 'w' has decay_mult 0, but 5 in layer 'a'",
                    make_net(inputs() + shared("a", "data", "decay_mult: 5") +
                             shared("b", "a", "decay_mult: 0") + loss("b")));
  const auto net = make_net(inputs() + shared("a", "data", "lr_mult: 2 decay_mult: 0.5") +
                            shared("b", "a") + loss("b"));
  CHECK_EQ(net->params()[2].lr_mult, 2.0);
  CHECK_EQ(net->params()[2].decay_mult, 0.5);
}

// AppendParam: the first layer that writes a multiplier sets it for all.
TEST(a_multiplier_written_by_a_later_layer_counts_for_the_owner) {
  const auto net =
      make_net(inputs() + shared("a", "data") + shared("b", "a", "lr_mult: 3 decay_mult: 0") +
               shared("c", "b") + loss("c"));
  CHECK_EQ(net->params()[0].lr_mult, 3.0);
  CHECK_EQ(net->params()[0].decay_mult, 0.0);
  CHECK_EQ(net->params()[4].lr_mult, 3.0);
  CHECK_THROWS_WITH("has lr_mult 4, but 3",
                    make_net(inputs() + shared("a", "data") + shared("b", "a", "lr_mult: 3") +
                             shared("c", "b", "lr_mult: 4") + loss("c")));
}

TEST(more_param_entries_than_parameters_are_an_error) {
  CHECK_THROWS_WITH(
      "2 parameter blob(s), but 3 param { } entries",
      make_net(inputs() + ip("a", "data", "param { } param { } param { }") + loss("a")));
}

TEST(statistics_are_never_learned) {
  const std::string text = input_layer("data", {4, 3}) +
                           "layer { name: 'bn' type: 'BatchNorm' bottom: 'data' top: 'bn' ";
  CHECK_THROWS_WITH("param 1 must have lr_mult 0, but has 2",
                    make_net(text + "param { lr_mult: 0 } param { lr_mult: 2 } }"));
  const auto net = make_net(text + "param { lr_mult: 0 } }");
  for (const Param& param : net->params()) CHECK_EQ(param.lr_mult, 0.0);
}

// --- parameters shared between nets

NetOptions test_options(const std::string& backend, bool fuse) {
  NetOptions options = net_on(backend, fuse);
  options.train = false;
  options.index = 1;
  return options;
}

TEST(a_test_net_uses_the_train_nets_parameters) {
  const std::string text = inputs() + ip("a", "data") + ip("b", "a") + loss("b");
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto train = make_net(text, net_on(backend, fuse));
      const auto test = make_net(text, test_options(backend, fuse), train);
      CHECK(test->learnable().empty());
      CHECK(test->params()[0].data.data == train->params()[0].data.data);
      draw_params(*train);
      feed_all(*train, 4);
      feed_all(*test, 4);
      CHECK_NEAR(test->forward(), train->forward(), 1e-6);
    }
}

TEST(a_test_net_may_have_layers_of_its_own) {
  const auto train = make_net(inputs() + ip("a", "data") + loss("a"));
  const auto test = make_net(inputs() + ip("a", "data") + ip("own", "a") + loss("own"),
                             test_options("reference", false), train);
  CHECK_EQ(test->learnable(), std::vector<int>({2, 3}));
  CHECK(test->params()[2].data.data != nullptr);
}

TEST(a_test_net_finds_a_shared_parameter_under_each_of_its_layers) {
  const std::string text = inputs() + shared("a", "data") + shared("b", "a") + loss("b");
  const auto train = make_net(text);
  const auto test =
      make_net(inputs() + ip("b", "data") + loss("b"), test_options("reference", false), train);
  CHECK(test->params()[0].data.data == train->params()[0].data.data);
}

TEST(shapes_must_agree_between_nets) {
  const auto train = make_net(inputs() + ip("a", "data") + loss("a"));
  CHECK_THROWS_WITH("layer 'a': parameter 0 has shape 5x4 in this net, but 4x4",
                    make_net(inputs() + ip("a", "data", "", 5) + loss("a"),
                             test_options("reference", false), train));
}

TEST(the_number_of_parameters_must_agree_between_nets) {
  const auto train = make_net(inputs() + ip("a", "data") + loss("a"));
  CHECK_THROWS_WITH("'a' (InnerProduct) has 1 parameter(s), but 2 in the net it shares them with",
                    make_net(inputs() +
                                 layer("InnerProduct", "a", "data", "a",
                                       "inner_product_param { num_output: 4 bias_term: false }") +
                                 loss("a"),
                             test_options("reference", false), train));
}

TEST(a_test_pass_leaves_training_as_it_was) {
  // The test net works in the train net's arena, between two of its iterations.
  const std::string text = input_layer("data", {4, 3, 6, 6}) + input_layer("label", {4}) +
                           conv_layer("c", "data", 8, 3) + norm_layers_on("c") +
                           layer("ReLU", "r", "c", "c") + classifier("c", 5);
  for (const std::string& backend : backend_names()) {
    const auto train = make_net(text, net_on(backend, true)),
               alone = make_net(text, net_on(backend, true));
    const auto test = make_net(text, test_options(backend, true), train);
    CHECK(test->plan().arena() == train->plan().arena());
    for (Net* net : {train.get(), alone.get()}) feed_all(*net, 5);
    feed_all(*test, 5, 8);
    for (int i = 0; i < 2; ++i) {
      CHECK_EQ(pass(*train), pass(*alone));
      test->forward();
      CHECK_EQ(param_diff(*train, "c", 0), param_diff(*alone, "c", 0));
      CHECK_EQ(param_data(*train, "c_bn", 1), param_data(*alone, "c_bn", 1));
    }
  }
}

}  // namespace
}  // namespace pcc
