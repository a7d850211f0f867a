// A test's sums over its passes against what each pass says by itself, also where several batches
// are merged in one.
#include <cmath>

#include "list_feed.h"
#include "net_text.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

constexpr int kClasses = 4;

// Two losses, an accuracy, and pictures that a backend may lay out as it likes.
std::string text() {
  return "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 4 }"
         " transform_param { scale: 0.004 } }\n" +
         conv_layer("conv", "data", 8, 3) + conv_layer("pictures", "conv", 8, 3) +
         classifier("conv", kClasses) +
         "layer { name: 'more' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'more'"
         " loss_weight: 0.25 }"
         "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' }";
}

struct Test {
  std::shared_ptr<ListFeed> feed;
  std::shared_ptr<Net> net;

  explicit Test(const std::string& backend, bool fuse, int64_t replicas = 1,
                int32_t classes = kClasses, int64_t merge = 1, const std::string& layers = text())
      : feed(std::make_shared<ListFeed>(Shape{2, 6, 6}, random_values(12 * 72, 4, 0, 255), false,
                                        classes)) {
    LayerFeed source;
    source.records = feed;
    NetOptions options = net_on(backend, fuse);
    options.train = false;
    options.replicas = replicas;
    options.merge = merge;
    net = std::make_shared<Net>(parse_layers(layers),
                                std::map<std::string, LayerFeed>{{"data", source}}, options);
    draw_params(*net);
  }
};

std::vector<std::string> backends() {
  std::vector<std::string> names = backend_names();
  for (const char* more :
       {"guarded_reference", "guarded_cpu", "fussy_reference", "fussy_cpu", "cuda_host"})
    names.push_back(more);
  return names;
}

TEST(sums_are_those_of_the_passes) {
  for (const std::string& backend : backends())
    for (const bool fuse : {false, true})
      for (const int64_t replicas : {1, 2}) {
        Test whole(backend, fuse, replicas), single(backend, fuse, replicas);
        Net& net = *single.net;
        for (const int64_t passes : {3, 2}) {  // the second test begins with new sums
          const Net::Tested tested = whole.net->test(passes, [] { return true; });
          std::vector<Values> sums(net.outputs().size());
          double loss = 0;
          for (int64_t pass = 0; pass < passes; ++pass) {
            loss += net.forward();
            for (size_t o = 0; o < sums.size(); ++o) {
              const Values values = net.read(net.outputs()[o]);
              sums[o].resize(values.size());
              for (size_t i = 0; i < values.size(); ++i) sums[o][i] += values[i];
            }
          }
          CHECK_EQ(tested.passes, passes);
          CHECK(tested.sums == sums);
          CHECK_NEAR(tested.loss, loss, 1e-12);
          CHECK_EQ(whole.feed->position(), single.feed->position());
          CHECK_EQ(whole.net->state().pass, net.state().pass);
        }
        const HostBlob host = whole.net->host(whole.net->blob_index("accuracy"), false);
        CHECK_EQ(values_of({host.data->data(), {Shape{}, DType::f32}}),
                 net.read(net.blob_index("accuracy")));
      }
}

TEST(a_test_ends_early_when_asked_to) {
  Test test("cpu", true);
  int polls = 0;
  const Net::Tested tested = test.net->test(10, [&] { return ++polls < 3; });
  CHECK_EQ(tested.passes, int64_t{3});
  CHECK_EQ(test.net->test(0, [] { return true; }).loss, 0.0);
}

TEST(a_test_stands_where_its_label_was_no_class) {
  for (const std::string& backend : backends()) {
    // Records 0 to 11 have the labels 0 to 11: the second batch is wrong from its first sample on.
    Test whole(backend, true, 1, 12), single(backend, true, 1, 12);
    const std::string message = "the label of sample 0 of the batch is 4, but there";
    CHECK_THROWS_WITH(message, whole.net->test(3, [] { return true; }));
    single.net->forward();
    CHECK_THROWS_WITH(message, single.net->forward());
    CHECK_EQ(whole.feed->position(), single.feed->position());
    CHECK_EQ(whole.net->state().pass, single.net->state().pass);
    CHECK_THROWS_WITH("the label of sample 0 of the batch is 8", whole.net->forward());
  }
}

// A net whose outputs are means; norm: more of BatchNorm, data: of the transform, loss: of the
// second loss, end: more layers.
std::string means(const std::string& norm = "", const std::string& data = "",
                  const std::string& loss = "", const std::string& end = "") {
  return "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 4 }"
         " transform_param { scale: 0.004 crop_size: 5 " +
         data + " } }\n" + conv_layer("conv", "data", 8, 3) +
         layer("BatchNorm", "norm", "conv", "conv", norm) +
         layer("Scale", "scale", "conv", "conv", "scale_param { bias_term: true }") +
         layer("ReLU", "relu", "conv", "conv") +
         layer("Pooling", "pool", "conv", "pool", "pooling_param { kernel_size: 2 stride: 2 }") +
         classifier("pool", kClasses) +
         "layer { name: 'more' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'more'"
         " loss_weight: 0.25 " +
         loss +
         " }"
         "layer { name: 'accuracy' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'accuracy' "
         "}" +
         end;
}

// Passes that a net of a counting backend made.
int64_t passes_made = 0;

std::string counting(const std::string& inner) {
  struct Counted : WrappedOp {
    using WrappedOp::WrappedOp;
    void forward(const Context& context) override {
      ++passes_made;
      WrappedOp::forward(context);
    }
  };
  return wrapped("counting", inner, [](const Backend& own, const OpDesc& desc, const OpSite& site) {
    std::unique_ptr<Op> op = own.make(desc, site);
    const bool wrap = op && std::holds_alternative<TransformDesc>(desc);
    return wrap ? std::make_unique<Counted>(std::move(op)) : std::move(op);
  });
}

TEST(merged_batches_give_the_same_means) {
  std::vector<std::string> names = backends();
  for (const char* inner : {"cpu", "guarded_cpu"}) names.push_back(counting(inner));
  for (const std::string& backend : names)
    for (const bool fuse : {false, true}) {
      Test merged(backend, fuse, 1, kClasses, 4, means());
      Test single(backend, fuse, 1, kClasses, 1, means());
      for (const int64_t passes : {12, 12, 2, 7}) {
        passes_made = 0;
        const Net::Tested got = merged.net->test(passes, [] { return true; });
        // Of 12 three times three are merged, and of 7 twice three: the last ones are not.
        if (backend.rfind("counting", 0) == 0)
          CHECK_EQ(passes_made, int64_t{passes == 12 ? 6 : passes == 7 ? 3 : 2});
        const Net::Tested expected = single.net->test(passes, [] { return true; });
        CHECK_EQ(got.passes, passes);
        for (size_t o = 0; o < expected.sums.size(); ++o)
          CHECK(relative_difference(got.sums[o], expected.sums[o]) < 1e-6);
        CHECK(std::fabs(got.loss - expected.loss) < 1e-6 * expected.loss);
        CHECK_EQ(merged.feed->position(), single.feed->position());
        CHECK_EQ(merged.net->state().pass, single.net->state().pass);
        for (const int blob : single.net->outputs())
          CHECK_EQ(merged.net->read(blob), single.net->read(blob));
      }
    }
}

// Where batches may not be merged, nothing changes.
TEST(batches_are_merged_only_where_that_comes_to_the_same) {
  const std::string backend = counting("cpu"), own = "batch_norm_param { use_global_stats: false }";
  for (const std::string& text :
       {means(own), means("", "mirror: true"), means("", "", "loss_param { ignore_label: 2 }"),
        means("", "", "loss_param { normalization: NONE }"),
        means("", "", "", layer("Softmax", "prob", "ip", "prob")),
        means("", "", "",
              layer("Reshape", "flat", "label", "flat",
                    "reshape_param { shape { dim: 1 dim: -1 } }") +
                  layer("Softmax", "prob", "flat", "prob"))}) {
    Test merged(backend, true, 1, kClasses, 4, text), single("cpu", true, 1, kClasses, 1, text);
    passes_made = 0;
    CHECK(merged.net->test(6, [] { return true; }).sums ==
          single.net->test(6, [] { return true; }).sums);
    CHECK_EQ(passes_made, int64_t{6});
  }
}

TEST(a_merged_test_ends_early_when_asked_to) {
  Test test("cpu", true, 1, kClasses, 4, means());
  int polls = 0;
  CHECK_EQ(test.net->test(13, [&] { return ++polls < 2; }).passes, int64_t{8});
  CHECK_EQ(test.feed->position(), 8 * 4 % 12);
}

TEST(a_merged_test_stands_where_its_label_was_no_class) {
  for (const std::string& backend : backends()) {
    Test merged(backend, true, 1, 12, 4, means()), single(backend, true, 1, 12, 1, means());
    const std::string message = "the label of sample 0 of the batch is 4, but there";
    for (Test* each : {&merged, &single})
      CHECK_THROWS_WITH(message, each->net->test(9, [] { return true; }));
    CHECK_EQ(merged.feed->position(), single.feed->position());
    CHECK_EQ(merged.net->state().pass, single.net->state().pass);
    CHECK_THROWS_WITH("the label of sample 0 of the batch is 8", merged.net->forward());
  }
}

// Without being asked: as many as fit into memory that there is anyway.
TEST(a_device_merges_what_fits) {
  Test test("cuda_host", true, 1, kClasses, 0, means());
  int polls = 0;
  test.net->test(5, [&] { return ++polls < 100; });
  CHECK_EQ(polls, 2);
}

}  // namespace
}  // namespace pcc
