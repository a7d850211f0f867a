// A test's sums over its passes against what each pass says by itself.
#include "list_feed.h"
#include "net_text.h"
#include "testing.h"

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
                int32_t classes = kClasses)
      : feed(std::make_shared<ListFeed>(Shape{2, 6, 6}, random_values(12 * 72, 4, 0, 255), false,
                                        classes)) {
    LayerFeed source;
    source.records = feed;
    NetOptions options = net_on(backend, fuse);
    options.train = false;
    options.replicas = replicas;
    net = std::make_shared<Net>(parse_layers(text()),
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

}  // namespace
}  // namespace pcc
