// Layouts and in-place chains: who reads a value, and under which shape, must not show.
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

// Convolutions vote for blocks of channels where they can; what reads their values under another
// shape, or on other axes, must see them in order.
TEST(views_and_reorders_keep_the_order_of_the_elements) {
  const std::string head = input_layer("data", {4, 16, 4, 6}) + input_layer("label", {4}) +
                           conv_layer("a", "data", 16, 3);
  const std::string bodies[] = {
      layer("Flatten", "f", "a", "f") + classifier("f", 5),
      layer("Reshape", "r", "a", "r", "reshape_param { shape { dim: 0 dim: 8 dim: 8 dim: -1 } }") +
          conv_layer("b", "r", 16, 3) + classifier("b", 5),
      layer("Reshape", "r", "a", "r", "reshape_param { shape { dim: 0 dim: 32 dim: -1 dim: 6 } }") +
          layer("BatchNorm", "n", "r", "n") + classifier("n", 5),
      layer("InnerProduct", "p", "a", "p",
            "inner_product_param { num_output: 7 axis: 2 weight_filler {"
            " type: 'gaussian' std: 0.3 } }") +
          classifier("p", 5),
      "layer { name: 'cat' type: 'Concat' bottom: 'a' bottom: 'data' top: 'cat' concat_param { "
      "axis: 2 } }" +
          classifier("cat", 5),
      "layer { name: 'cut' type: 'Slice' bottom: 'a' top: 'u' top: 'v' slice_param { slice_point: "
      "5 } }"
      "layer { name: 'cat' type: 'Concat' bottom: 'v' bottom: 'u' top: 'cat' }" +
          conv_layer("b", "cat", 16, 1) + classifier("b", 5),
      layer("Softmax", "s", "a", "s", "softmax_param { axis: 3 }") + classifier("s", 5),
      layer("Scale", "s", "a", "s", "scale_param { axis: 2 num_axes: 2 bias_term: true }") +
          classifier("s", 5),
      layer("LRN", "s", "a", "s", "lrn_param { local_size: 3 alpha: 0.5 }") +
          conv_layer("b", "s", 8, 3) + classifier("b", 5),
      // One value in several layouts, under several shapes.
      layer("ReLU", "r", "a", "r") + conv_layer("b", "r", 16, 3) +
          layer("Reshape", "w", "r", "w",
                "reshape_param { shape { dim: 0 dim: 16 dim: 6 dim: 4 } }") +
          conv_layer("c", "w", 16, 1) +
          layer("Reshape", "z", "c", "z",
                "reshape_param { shape { dim: 0 dim: 16 dim: 4 dim: 6 } }") +
          "layer { name: 's' type: 'Eltwise' bottom: 'b' bottom: 'z' bottom: 'a' top: 's' }" +
          classifier("s", 5),
  };
  for (const std::string& body : bodies)
    for (const std::string& backend : backend_names())
      for (const bool fuse : {false, true}) {
        const auto got = ready(head + body, net_on(backend, fuse)),
                   expected = ready(head + body, double_net());
        for (int i = 0; i < 2; ++i) compare_passes(*got, *expected, {"loss"}, 2e-5, body);
      }
}

// --- in-place chains

TEST(in_place_layers_are_versions_of_one_blob) {
  const auto net = ready(small_net(), net_on("reference"));
  const BlobInfo& conv = net->blobs()[static_cast<size_t>(net->blob_index("conv"))];
  CHECK_EQ(conv.versions.size(), size_t{4});
  net->forward();
  for (const double value : blob_of(*net, "conv"))
    CHECK(value >= 0);  // the newest: behind the ReLU
}

TEST(in_place_computes_what_separate_names_do) {
  const auto text = [](bool in_place) {
    const auto top = [&](const char* name) { return std::string(in_place ? "a" : name); };
    return input_layer("data", {4, 8, 4, 4}) + input_layer("label", {4}) +
           conv_layer("a", "data", 8, 3) + layer("BatchNorm", "n", "a", top("n")) +
           layer("Scale", "s", top("n"), top("s")) +
           layer("ReLU", "r", top("s"), top("r"), "relu_param { negative_slope: 0.2 }") +
           layer("Dropout", "d", top("r"), top("d")) + layer("Bias", "b", top("d"), top("b")) +
           classifier(top("b"), 5);
  };
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const auto one = ready(text(true), net_on(backend, fuse)),
                 many = ready(text(false), net_on(backend, fuse));
      compare_passes(*one, *many, {"loss"}, 1e-6);
    }
}

TEST(a_name_is_used_again_in_place_only) {
  CHECK_THROWS_WITH("top 'a' is made by an earlier layer already",
                    make_net(input_layer("data", {2, 3}) + layer("ReLU", "x", "data", "a") +
                             layer("ReLU", "y", "data", "a")));
}

}  // namespace
}  // namespace pcc
