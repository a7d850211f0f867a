// A net after reshape, and replicas of one net.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// --- reshape

TEST(a_reshaped_net_is_the_net_of_that_shape) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = ready(small_net(), net_on(backend, fuse));
      pass(*net);
      net->reshape({{"data", {7, 3, 6, 5}}, {"label", {7}}});
      const auto fresh = ready(small_net(7), net_on(backend, fuse));
      feed_all(*net, 5);
      for (const char* name : {"conv_bn"})
        for (int i = 0; i < 3; ++i)
          set_values(net->params()[param_index(*net, name, i)].data, param_data(*fresh, name, i));
      net->state().pass = 0;
      CHECK_EQ(pass(*net), pass(*fresh));
      CHECK_EQ(param_diff(*net, "conv", 0), param_diff(*fresh, "conv", 0));
      CHECK_EQ(net->blobs()[0].shape(), (Shape{7, 3, 6, 5}));
    }
}

TEST(a_reshape_that_does_not_fit_leaves_the_net_as_it_was) {
  for (const bool fuse : {false, true}) {
    const auto net = ready(small_net(), net_on("reference", fuse));
    const auto other = ready(small_net(), net_on("reference", fuse));
    CHECK_THROWS_WITH("would change parameter 0", net->reshape({{"data", {4, 4, 6, 5}}}));
    CHECK_THROWS_WITH("'loss'", net->reshape({{"data", {5, 3, 6, 5}}}));
    CHECK_THROWS_WITH("no input blob 'dat'", net->reshape({{"dat", {5, 3, 6, 5}}}));
    CHECK_THROWS_WITH("no input blob 'conv'", net->reshape({{"conv", {5, 3, 6, 5}}}));
    CHECK_EQ(net->blobs()[0].shape(), (Shape{4, 3, 6, 5}));
    feed_all(*net, 5);
    CHECK_EQ(pass(*net), pass(*other));
  }
}

// --- replicas

// Two replicas of 3 samples are one net over 6: BatchNorm sees its own 3, the gradient is the mean
// of both, loss and running statistics are replica 0's.
TEST(replicas_average_what_separate_nets_compute) {
  const std::string text =
      input_layer("data", {3, 4, 5, 5}) + input_layer("label", {3}) +
      conv_layer("c", "data", 8, 3) + norm_layers_on("c") + layer("ReLU", "r", "c", "c") +
      classifier("c", 5) +
      "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' }";
  constexpr size_t kRecord = 4 * 5 * 5, kBatch = 3;
  const Values data = random_values(2 * kBatch * kRecord, 8),
               labels = label_values(2 * kBatch, 5, 8);
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      NetOptions options = net_on(backend, fuse);
      options.replicas = 2;
      const auto both = make_net(text, options);
      CHECK_EQ(both->blobs()[0].shape(), (Shape{6, 4, 5, 5}));
      draw_params(*both);
      feed(*both, "data", data);
      feed(*both, "label", labels);
      const double loss = pass(*both);
      std::vector<std::shared_ptr<Net>> each;
      for (size_t r = 0; r < 2; ++r) {
        each.push_back(make_net(text, net_on(backend, fuse)));
        draw_params(*each[r]);
        const auto cut = [&](const Values& all, size_t count) {
          const auto begin = all.begin() + static_cast<std::ptrdiff_t>(r * count);
          return Values(begin, begin + static_cast<std::ptrdiff_t>(count));
        };
        feed(*each[r], "data", cut(data, kBatch * kRecord));
        feed(*each[r], "label", cut(labels, kBatch));
        const double own = pass(*each[r]);
        if (r == 0) CHECK_CLOSE(loss, own, 1e-5);
      }
      CHECK_EQ(blob_of(*both, "acc"), blob_of(*each[0], "acc"));
      for (const int p : both->learnable()) {
        const Param& param = both->params()[static_cast<size_t>(p)];
        if (param.statistic) {
          CHECK(relative_difference(values_of(param.data),
                                    param_data(*each[0], param.layer, param.index)) < 1e-5);
          continue;
        }
        Values mean = param_diff(*each[0], param.layer, param.index);
        const Values second = param_diff(*each[1], param.layer, param.index);
        for (size_t i = 0; i < mean.size(); ++i) mean[i] = (mean[i] + second[i]) / 2;
        // The bias under the BatchNorm has a gradient of zero, but for rounding.
        if (param.layer == "c" && param.index == 1) continue;
        CHECK(relative_difference(values_of(param.diff), mean) < 2e-5);
      }
    }
}

TEST(replicas_must_divide_what_layers_mix) {
  NetOptions options = reference_net();
  options.replicas = 2;
  CHECK_THROWS_WITH("joining along axis 0",
                    make_net(input_layer("a", {2, 3}) + input_layer("b", {2, 3}) +
                                 "layer { name: 'c' type: 'Concat' bottom: 'a' bottom: 'b' top: 'c'"
                                 " concat_param { axis: 0 } }",
                             options));
  options.replicas = 0;
  CHECK_THROWS_WITH("replicas must be at least 1, not 0",
                    make_net(input_layer("a", {2, 3}), options));
}

}  // namespace
}  // namespace pcc
