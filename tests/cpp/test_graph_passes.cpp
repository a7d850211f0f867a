// Passes over parts of a net, on how many threads, and what timing one leaves behind.
#include <atomic>
#include <map>
#include <string>
#include <thread>

#include "core/parallel.h"
#include "guarded.h"
#include "list_feed.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

int last_layer(const Net& net) { return static_cast<int>(net.layers().size()) - 1; }

// --- parts of a pass

TEST(a_pass_in_parts_is_the_whole_pass) {
  for (const std::string& backend : backend_names()) {
    const auto whole = ready(small_net(), net_on(backend));
    const double loss = pass(*whole);
    const int last = last_layer(*whole);
    for (int cut = 0; cut < last; ++cut) {
      const auto parts = ready(small_net(), net_on(backend));
      if (cut % 2)  // the user looks on
        for (const BlobInfo& blob : parts->blobs())
          for (const bool diff : {false, true}) view(*parts, blob.name, diff);
      parts->clear_param_diffs();
      double sum = parts->forward(0, cut);
      sum += parts->forward(cut + 1, last);
      parts->backward(last, cut + 1);
      parts->backward(cut, 0);
      CHECK_EQ(sum, loss);
      for (const int p : whole->learnable())
        CHECK_EQ(values_of(parts->params()[static_cast<size_t>(p)].diff),
                 values_of(whole->params()[static_cast<size_t>(p)].diff));
    }
  }
}

TEST(a_part_shows_what_it_made) {
  for (const std::string& backend : backend_names()) {
    const auto net = ready(small_net(), net_on(backend)),
               whole = ready(small_net(), net_on(backend));
    view(*net, "conv", false);
    net->forward(0, net->layer_index("conv"));
    const Values before = view(*net, "conv", false);
    whole->forward();
    net->forward(net->layer_index("conv_bn"), net->layer_index("relu"));
    CHECK_EQ(view(*net, "conv", false), view(*whole, "conv", false));
    CHECK(before != view(*net, "conv", false));
  }
}

TEST(what_the_user_writes_between_parts_counts) {
  for (const std::string& backend : backend_names()) {
    const auto net = ready(small_net(), net_on(backend));
    net->forward(0, net->layer_index("relu"));
    view(*net, "conv", false);
    Values ones(4 * 8 * 6 * 5, 1.0);
    write_view(*net, "conv", false, ones);
    net->forward(net->layer_index("pool"), net->layer_index("pool"));
    for (const double value : blob_of(*net, "conv")) CHECK_EQ(value, 1.0);
    net->forward(net->layer_index("pool"), net->layer_index("pool"));
    const Tensor& pooled = net->plan().data(info_of(*net, "pool").top_values[0]);
    const GuardedAccess access(pooled.data);
    CHECK_EQ(pooled.as<float>()[0], 1.0f);
  }
}

// Layers in place on "a", or each with a top of its own: "a", "n", "s", "r".
std::string chain(bool in_place) {
  const auto top = [&](const char* name) { return std::string(in_place ? "a" : name); };
  return input_layer("data", {4, 3, 6, 5}) + input_layer("label", {4}) +
         conv_layer("a", "data", 8, 3) + layer("BatchNorm", "n", "a", top("n")) +
         layer("Scale", "s", top("n"), top("s"), "scale_param { bias_term: true }") +
         layer("ReLU", "r", top("s"), top("r"), "relu_param { negative_slope: 0.2 }") +
         classifier(top("r"), 5);
}

TEST(a_view_shows_the_version_that_the_pass_reached) {
  for (const std::string& backend : backend_names()) {
    const auto one = ready(chain(true), net_on(backend)),
               many = ready(chain(false), net_on(backend));
    for (const bool diff : {false, true}) view(*one, "a", diff);
    const int last = last_layer(*one);
    int before = 0;
    for (const char* name : {"a", "n", "s", "r"}) {
      const int reached = one->layer_index(name);
      for (Net* net : {one.get(), many.get()}) net->forward(before, reached);
      CHECK_EQ(view(*one, "a", false), view(*many, name, false));
      before = reached + 1;
    }
    for (Net* net : {one.get(), many.get()}) net->forward(before, last);
    before = last;
    const char* tops[] = {"r", "s", "n", "a"};
    const char* readers[] = {"ip", "r", "s", "n"};
    for (int i = 0; i < 4; ++i) {
      const int reached = one->layer_index(readers[i]);
      for (Net* net : {one.get(), many.get()}) net->backward(before, reached);
      CHECK_EQ(view(*one, "a", true), view(*many, tops[i], true));
      before = reached - 1;
    }
    for (Net* net : {one.get(), many.get()}) net->backward(before, 0);
    for (const char* name : {"a", "s", "ip"})
      for (const int i : {0, 1}) CHECK_EQ(param_diff(*one, name, i), param_diff(*many, name, i));
  }
}

TEST(what_the_user_writes_inside_a_chain_counts) {
  const Values data = random_values(4 * 8 * 6 * 5, 21), diff = random_values(4 * 8 * 6 * 5, 22);
  for (const std::string& backend : backend_names()) {
    const auto one = ready(chain(true), net_on(backend)),
               many = ready(chain(false), net_on(backend));
    const int last = last_layer(*one), n = one->layer_index("n"), s = one->layer_index("s");
    for (Net* net : {one.get(), many.get()}) net->forward(0, n);
    write_view(*one, "a", false, data);
    write_view(*many, "n", false, data);
    CHECK_EQ(one->forward(s, last), many->forward(s, last));
    for (Net* net : {one.get(), many.get()}) net->backward(last, s + 1);
    write_view(*one, "a", true, diff);
    write_view(*many, "s", true, diff);
    for (Net* net : {one.get(), many.get()}) net->backward(s, 0);
    for (const char* name : {"a", "s"})
      for (const int i : {0, 1}) CHECK_EQ(param_diff(*one, name, i), param_diff(*many, name, i));
  }
}

TEST(every_reader_sees_what_the_user_wrote) {
  // Both readers want the values in order, a convolution's blocks unfolded.
  const auto reader = [](const char* name) {
    return layer(
        "InnerProduct", name, "a", name,
        "inner_product_param { num_output: 1 weight_filler { type: 'constant' value: 1 } }");
  };
  const std::string text = input_layer("data", {1, 16, 4, 4}) + conv_layer("a", "data", 16, 3) +
                           reader("x") + reader("y");
  for (const std::string& backend : backend_names()) {
    const auto net = ready(text, net_on(backend));
    for (const char* name : {"x", "y"})
      set_values(net->params()[param_index(*net, name, 0)].data, Values(16 * 16, 1));
    net->forward();
    write_view(*net, "a", false, Values(16 * 16, 2));
    const int y = net->layer_index("y");
    net->forward(y, y);
    CHECK_NEAR(blob_of(*net, "y")[0], 512 + param_data(*net, "y", 1)[0], 1e-3);
  }
}

TEST(backward_from_a_diff_that_the_user_wrote) {
  for (const std::string& backend : backend_names()) {
    const auto net = ready(small_net(), net_on(backend));
    net->forward();
    net->clear_param_diffs();
    Values diff(4 * 5, 0.0);
    diff[7] = 2;  // sample 1, class 2
    write_view(*net, "ip", true, diff);
    net->backward(net->layer_index("ip"), net->layer_index("ip"));
    Values expected(5, 0.0);
    expected[2] = 2;
    CHECK_EQ(param_diff(*net, "ip", 1), expected);
  }
}

TEST(parts_need_a_net_that_keeps_its_blobs) {
  const auto net = ready(small_net(), net_on("reference", true));
  CHECK_THROWS_WITH("needs a net built with fuse=False", net->forward(0, 1));
  CHECK_THROWS_WITH("needs a net built with fuse=False", net->backward(1, 0));
  CHECK_THROWS_WITH("but the net has", net->forward(0, 100));
  CHECK_THROWS_WITH("but the net has", net->forward(3, 2));
  CHECK_THROWS_WITH("but the net has", net->backward(2, 3));
  NetOptions options = net_on("reference", true);
  options.train = false;
  const auto test = ready(small_net(), options);
  test->forward();
  CHECK_THROWS_WITH("planned for forward passes only", test->backward());
}

TEST(a_pass_in_parts_draws_the_masks_of_a_whole_one) {
  const auto net = ready(small_net(), net_on("reference"));
  net->forward();
  const Values first = blob_of(*net, "pool");
  net->forward();
  CHECK(blob_of(*net, "pool") != first);
  net->state().pass = 0;
  net->forward(0, net->layer_index("pool"));
  net->forward(net->layer_index("drop"), last_layer(*net));
  CHECK_EQ(blob_of(*net, "pool"), first);
}

TEST(an_input_with_several_readers_is_one_input) {
  const std::string text = input_layer("data", {2, 3}) + layer("ReLU", "a", "data", "a") +
                           layer("ReLU", "b", "data", "b");
  for (const bool fuse : {false, true}) {
    const auto net = make_net(text, net_on("reference", fuse));
    CHECK_EQ(net->inputs(), std::vector<int>({net->blob_index("data")}));
  }
}

// --- threads

// Remembers how many threads the pass that asked it for records uses.
class CountingFeed : public ListFeed {
 public:
  CountingFeed() : ListFeed({1, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}) {}
  RecordBatch next(int64_t count) override {
    seen = 0;
    parallel(1000, 1, [this](int64_t, int64_t, int) { ++seen; });
    return ListFeed::next(count);
  }
  std::atomic<int> seen{0};
};

TEST(a_net_keeps_its_number_of_threads) {
  const int before = threads();
  const std::string text =
      "layer { name: 'data' type: 'Data' top: 'data' data_param { batch_size: 2 } }" +
      layer("ReLU", "relu", "data", "relu");
  for (const std::string& backend : backend_names()) {
    const auto feed = std::make_shared<CountingFeed>();
    LayerFeed fed;
    fed.records = feed;
    set_threads(3);
    Net net(parse_layers(text), {{"data", fed}}, net_on(backend));
    set_threads(1);
    CHECK_EQ(net.threads(), 3);
    net.forward();
    CHECK_EQ(feed->seen.load(), 3);
    std::thread([&] { net.forward(); }).join();
    CHECK_EQ(feed->seen.load(), 3);
    CHECK_EQ(threads(), 1);
    std::thread([&] {
      const Net other(parse_layers(text), {{"data", fed}}, net_on(backend));
      CHECK_EQ(other.threads(), 1);
    }).join();
  }
  set_threads(before);
}

TEST(a_pass_in_another_thread_gives_the_same_bits) {
  const int before = threads();
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      std::vector<Values> first;
      for (const bool elsewhere : {false, true}) {
        set_threads(2);
        Net net(parse_layers(small_net(12)), {}, net_on(backend, fuse));
        set_threads(elsewhere ? 4 : 2);
        draw_params(net);
        feed_all(net, 5);
        if (elsewhere)
          std::thread([&] { pass(net); }).join();
        else
          pass(net);
        std::vector<Values> diffs;
        for (const int p : net.learnable())
          diffs.push_back(values_of(net.params()[static_cast<size_t>(p)].diff));
        if (elsewhere) CHECK(diffs == first);
        first = diffs;
      }
    }
  set_threads(before);
}

// --- timing

TEST(timing_leaves_diffs_and_what_the_caller_wrote) {
  const std::string text =
      "layer { name: 'label' type: 'DummyData' top: 'label' dummy_data_param { shape { dim: 4 } "
      "data_filler { type: 'constant' value: 1 } } }" +
      input_layer("data", {4, 3, 6, 5}) + conv_layer("conv", "data", 8, 3) + classifier("conv", 5);
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = make_net(text, net_on(backend, fuse));
      draw_params(*net);
      const Values data = random_values(4 * 3 * 6 * 5, 7), labels{3, 0, 4, 2};
      feed(*net, "data", data);
      feed(*net, "label", labels);
      const double loss = pass(*net);
      const Values weights = param_diff(*net, "conv", 0), biases = param_diff(*net, "ip", 1);
      const uint64_t passes = net->state().pass;
      double forward = 0, backward = 0;
      for (const Net::NodeTime& row : net->time_nodes()) {
        forward += row.forward;
        backward += row.backward;
      }
      CHECK(forward > 0 && backward > 0);
      CHECK_EQ(net->state().pass, passes + 1);
      CHECK_EQ(param_diff(*net, "conv", 0), weights);
      CHECK_EQ(param_diff(*net, "ip", 1), biases);
      CHECK_EQ(blob_of(*net, "label"), labels);
      CHECK_EQ(blob_of(*net, "data"), data);
      CHECK_EQ(pass(*net), loss);
      CHECK_EQ(param_diff(*net, "conv", 0), weights);
    }
}

// Also where the host runs some of them, which take the parameters as they are now.
TEST(timing_makes_a_whole_pass_with_its_copies) {
  const std::string text = small_net(6);
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = ready(text, net_on(backend, fuse));
      pass(*net);
      draw_params(*net, 77);
      const uint64_t passes = net->state().pass;
      std::map<std::string, Net::NodeTime> copies;
      for (const Net::NodeTime& row : net->time_nodes())
        if (row.op.rfind("copy", 0) == 0) copies[row.name + row.op.substr(4)] = row;
      const Values timed = blob_of(*net, "loss");
      net->state().pass = passes;
      pass(*net);
      CHECK_EQ(blob_of(*net, "loss"), timed);
      CHECK_EQ(copies.empty(), backend.rfind("fussy_", 0) != 0);
      if (backend != "fussy_reference") continue;
      const Net::NodeTime &weights = copies["copy of parameter 0 of conv"],
                          &diff = copies["copy of the diff of parameter 0 of conv"];
      CHECK(weights.forward > 0 && weights.backward > 0);
      CHECK(diff.forward == 0 && diff.backward > 0);
      CHECK(copies["copy of data to host"].forward > 0);
      CHECK(copies["copy of conv to device"].forward > 0);
    }
}

}  // namespace
}  // namespace pcc
