// Split insertion with Caffe's names (insert_splits.cpp, and test_split_layer.cpp of its tests).
#include "graph/splits.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

struct Row {
  std::string type, name;
  std::vector<std::string> bottoms, tops;
  bool operator==(const Row&) const = default;
};

std::vector<Row> rows_of(const std::vector<LayerSpec>& layers) {
  std::vector<Row> rows;
  for (const LayerSpec& spec : layers)
    rows.push_back({spec.type, spec.name, spec.bottoms, spec.tops});
  return rows;
}

std::vector<Row> split(const std::string& text) {
  return rows_of(insert_splits(parse_layers(text)));
}

const Row& row(const std::vector<Row>& rows, const std::string& name) {
  for (const Row& each : rows)
    if (each.name == name) return each;
  throw std::runtime_error("no layer " + name);
}

using Names = std::vector<std::string>;

const char* const kTwoTops =
    "layer { name: 'data' type: 'DummyData' top: 'data' top: 'label'"
    "  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }";

TEST(a_chain_stays_as_it_is) {
  const std::string text =
      input_layer("data", {2, 3}) + layer("ReLU", "a", "data", "a") + layer("ReLU", "b", "a", "b");
  CHECK(split(text) == rows_of(parse_layers(text)));
}

TEST(a_blob_with_two_readers_gets_a_split_behind_its_layer) {
  const auto rows = split(input_layer("data", {2, 3}) + layer("ReLU", "a", "data", "a") +
                          layer("ReLU", "b", "data", "b"));
  REQUIRE(rows.size() == 4);
  CHECK_EQ(rows[1].name, "data_data_0_split");
  CHECK_EQ(rows[1].type, "Split");
  CHECK_EQ(rows[1].bottoms, Names({"data"}));
  CHECK_EQ(rows[1].tops, Names({"data_data_0_split_0", "data_data_0_split_1"}));
  CHECK_EQ(row(rows, "a").bottoms, Names({"data_data_0_split_0"}));
  CHECK_EQ(row(rows, "b").bottoms, Names({"data_data_0_split_1"}));
}

TEST(the_name_tells_the_index_of_the_top) {
  const auto rows = split(std::string(kTwoTops) + layer("ReLU", "a", "label", "a") +
                          layer("ReLU", "b", "label", "b") + layer("ReLU", "c", "label", "c"));
  CHECK_EQ(rows[1].name, "label_data_1_split");
  CHECK_EQ(rows[1].tops,
           Names({"label_data_1_split_0", "label_data_1_split_1", "label_data_1_split_2"}));
  CHECK_EQ(row(rows, "c").bottoms, Names({"label_data_1_split_2"}));
}

TEST(one_layer_that_reads_twice_counts_twice) {
  const auto rows =
      split(input_layer("data", {2, 3}) +
            "layer { name: 's' type: 'Eltwise' bottom: 'data' bottom: 'data' top: 's' }");
  CHECK_EQ(row(rows, "s").bottoms, Names({"data_data_0_split_0", "data_data_0_split_1"}));
}

TEST(readers_of_an_in_place_layer_are_split_behind_it) {
  const auto rows = split(input_layer("data", {2, 3}) + layer("ReLU", "a", "data", "a") +
                          layer("ReLU", "relu", "a", "a") + layer("ReLU", "b", "a", "b") +
                          layer("ReLU", "c", "a", "c"));
  REQUIRE(rows.size() == 6);
  CHECK_EQ(rows[2].name, "relu");
  CHECK_EQ(rows[2].bottoms, Names({"a"}));
  CHECK_EQ(rows[3].name, "a_relu_0_split");
  CHECK_EQ(row(rows, "b").bottoms, Names({"a_relu_0_split_0"}));
}

TEST(in_place_behind_a_split_keeps_its_top) {
  // Caffe's TestInsertionTwoTop and TestWithInPlace: the in-place layer then reads the split's
  // blob.
  const auto rows = split(input_layer("data", {2, 3}) + layer("ReLU", "a", "data", "a") +
                          layer("ReLU", "b", "a", "b") + layer("ReLU", "c", "a", "a") +
                          layer("ReLU", "d", "a", "d"));
  CHECK_EQ(row(rows, "b").bottoms, Names({"a_a_0_split_0"}));
  CHECK_EQ(row(rows, "c").bottoms, Names({"a_a_0_split_1"}));
  CHECK_EQ(row(rows, "c").tops, Names({"a"}));
  CHECK_EQ(row(rows, "d").bottoms, Names({"a"}));
}

const char* const kLossReadOnce =
    "layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip'"
    "  inner_product_param { num_output: 4 } loss_weight: 2 }"
    "layer { name: 'quiet' type: 'Silence' bottom: 'ip' }";

TEST(a_loss_that_is_read_counts_itself_as_the_first_reader) {
  const auto layers = insert_splits(parse_layers(input_layer("data", {2, 3}) + kLossReadOnce));
  const auto rows = rows_of(layers);
  REQUIRE(rows.size() == 4);
  CHECK_EQ(rows[2].name, "ip_ip_0_split");
  CHECK_EQ(rows[3].bottoms, Names({"ip_ip_0_split_1"}));
  // The weight moves to the Split's first top, so that the loss counts once.
  CHECK_EQ(layers[1].attributes.doubles("loss_weight"), std::vector<double>({0}));
  CHECK_EQ(layers[2].attributes.doubles("loss_weight"), std::vector<double>({2, 0}));
}

TEST(a_loss_that_is_read_weighs_once) {
  for (const bool fuse : {false, true}) {
    const auto net =
        make_net(input_layer("data", {2, 3}) + kLossReadOnce, net_on("reference", fuse));
    draw_params(*net);
    feed_all(*net, 4);
    pass(*net);
    // d(2 * sum of ip)/d bias: 2 for each of the two samples.
    for (const double diff : param_diff(*net, "ip", 1)) CHECK_NEAR(diff, 4, 1e-6);
  }
}

// Caffe splits for weights that are written out only. A loss layer's own weight of 1 then gives
// way to the gradient that the reader sends.
TEST(a_loss_read_without_a_written_weight_gets_its_readers_gradient_alone) {
  const std::string text =
      input_layer("data", {3, 5}) + input_layer("label", {3}) + classifier("data", 4) +
      layer("Reshape", "flat", "loss", "flat", "reshape_param { shape { dim: 1 } }") +
      layer("Scale", "triple", "flat", "total",
            "scale_param { axis: 0 num_axes: 0 filler { value: 3 } } param { lr_mult: 0 } "
            "loss_weight: 1");
  CHECK_EQ(split(text).size(), size_t{6});
  for (const bool fuse : {false, true}) {
    const auto plain =
        make_net(input_layer("data", {3, 5}) + input_layer("label", {3}) + classifier("data", 4));
    const auto net = make_net(text, net_on("reference", fuse));
    for (Net* each : {plain.get(), net.get()}) {
      draw_params(*each);
      feed_all(*each, 4);
    }
    set_values(net->params()[param_index(*net, "triple", 0)].data, {3});
    const double loss = pass(*plain);
    CHECK_CLOSE(pass(*net), 4 * loss, 1e-5);  // the loss and three times the loss
    const Values diff = param_diff(*net, "ip", 0), once = param_diff(*plain, "ip", 0);
    for (size_t i = 0; i < diff.size(); ++i) CHECK_NEAR(diff[i], 3 * once[i], 1e-5);
  }
}

TEST(gradients_of_a_split_add_up) {
  const std::string text =
      input_layer("data", {2, 3}) + input_layer("label", {2}) +
      layer("InnerProduct", "a", "data", "a", "inner_product_param { num_output: 3 }") +
      layer("Scale", "b", "a", "b", "param { lr_mult: 0 }") +
      "layer { name: 'sum' type: 'Eltwise' bottom: 'a' bottom: 'b' bottom: 'a' top: 'sum'"
      " loss_weight: 1 }";
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto net = make_net(text, net_on(backend, fuse));
      feed_all(*net, 2);
      pass(*net);
      for (const double diff : param_diff(*net, "a", 1)) CHECK_NEAR(diff, 6, 1e-5);
    }
}

TEST(weights_on_several_tops_of_a_written_split_add_up) {
  const std::string text =
      input_layer("data", {2, 3}) +
      layer("InnerProduct", "a", "data", "a", "inner_product_param { num_output: 3 }") +
      "layer { name: 's' type: 'Split' bottom: 'a' top: 'b' top: 'c' loss_weight: 1 loss_weight: 2 "
      "}";
  for (const bool fuse : {false, true}) {
    const auto net = make_net(text, net_on("reference", fuse));
    feed_all(*net, 2);
    pass(*net);
    for (const double diff : param_diff(*net, "a", 1)) CHECK_NEAR(diff, 6, 1e-6);
  }
}

TEST(a_bottom_that_nobody_makes_is_named) {
  CHECK_THROWS_WITH("bottom 'dat' is not the top of any earlier layer",
                    split(input_layer("data", {2, 3}) + layer("ReLU", "a", "dat", "a")));
  CHECK_THROWS_WITH("near names: data",
                    split(input_layer("data", {2, 3}) + layer("ReLU", "a", "dat", "a")));
  CHECK_THROWS_WITH("'a' (ReLU",
                    split(layer("ReLU", "a", "later", "a") + input_layer("later", {1})));
}

}  // namespace
}  // namespace pcc
