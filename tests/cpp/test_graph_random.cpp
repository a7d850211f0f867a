// Nets drawn at random compute the same in every plan and on every backend; and random numbers
// that nets draw.
#include <set>

#include "graph/steps.h"
#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

std::string sum(const std::string& name, const std::string& a, const std::string& b,
                const std::string& more = "") {
  return "layer { name: '" + name + "' type: 'Eltwise' bottom: '" + a + "' bottom: '" + b +
         "' top: '" + name + "' " + more + " }\n";
}
std::string inputs() { return input_layer("data", {4, 8, 5, 6}) + input_layer("label", {4}); }

struct Draw {
  explicit Draw(uint64_t seed) { stream.seed = seed; }
  int below(int end) { return static_cast<int>(stream.uniform(next++) * end); }
  RandomStream stream;
  uint64_t next = 0;
};

// Layers that keep (4, C, 5, 6); any earlier blob may be read again.
std::string random_net(Draw& draw) {
  std::set<std::string> seen;  // blobs with a reader: nobody may work in place on them any more
  std::string text = inputs() + conv_layer("n0", "data", 8, 3);
  std::vector<std::string> blobs{"n0"};
  const int count = 4 + draw.below(12);
  for (int i = 1; i <= count; ++i) {
    const std::string name = concat("n", i);
    // Mostly the newest blob: chains.
    const auto pick = [&] {
      return draw.below(3) ? blobs.back()
                           : blobs[static_cast<size_t>(draw.below(static_cast<int>(blobs.size())))];
    };
    const std::string below = pick();
    if (draw.below(4) == 0 && !seen.count(below)) {
      text += layer(draw.below(2) ? "ReLU" : "Dropout", name, below, below);
      continue;
    }
    seen.insert(below);
    const auto second = [&] { return *seen.insert(pick()).first; };
    switch (draw.below(10)) {
      case 0:
        text += conv_layer(name, below, 8, draw.below(2) ? 3 : 1);
        break;
      case 1:
        text += layer("BatchNorm", name + "_bn", below, name) +
                layer("Scale", name + "_s", name, name, "scale_param { bias_term: true }");
        break;
      case 2:
        text += layer("BatchNorm", name, below, name);
        break;
      case 3:
        text += layer("Scale", name, below, name,
                      draw.below(2) ? "scale_param { bias_term: true }" : "");
        break;
      case 4:
        text += layer("ReLU", name, below, name);
        break;
      case 5:
        text += sum(name, below, second());
        break;
      case 6:
        text += sum(name, below, pick(), "eltwise_param { coeff: 0.5 coeff: -1 }");
        break;
      case 7:
        text += layer("Pooling", name, below, name,
                      draw.below(2) ? "pooling_param { kernel_size: 3 pad: 1 pool: MAX }"
                                    : "pooling_param { kernel_size: 3 pad: 1 pool: AVE }");
        break;
      case 8:
        text += layer("Dropout", name, below, name);
        break;
      default:
        text += "layer { name: '" + name + "_cat' type: 'Concat' bottom: '" + below +
                "' bottom: '" + second() + "' top: '" + name + "_cat' }\n" +
                conv_layer(name, name + "_cat", 8, 1);
    }
    blobs.push_back(name);
  }
  // What nobody reads is left to be an output.
  return text + classifier(blobs.back(), 5);
}

// In double the layers one by one against plans in shared memory: what is fused, what shares
// memory or is summed where must not show at all. Then each backend in single precision.
TEST(random_nets_compute_the_same_in_every_plan) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    Draw draw(seed);
    const std::string text = random_net(draw);
    for (const bool fuse : {false, true}) {
      NetOptions shared = double_net(true);
      shared.fuse = fuse;
      const auto expected = make_net(text, double_net()), got = make_net(text, shared);
      for (Net* net : {expected.get(), got.get()}) {
        draw_params(*net, seed);
        feed_all(*net, 5, seed);
      }
      for (int i = 0; i < 2; ++i) compare_passes(*got, *expected, {"loss"}, 1e-10);
    }
  }
}

TEST(random_nets_compute_the_same_on_every_backend) {
  for (uint64_t seed = 1; seed <= 15; ++seed) {
    Draw draw(seed);
    const std::string text = random_net(draw);
    for (const std::string& backend : backend_names())
      for (const bool fuse : {false, true}) {
        const auto expected = make_net(text, double_net()),
                   got = make_net(text, net_on(backend, fuse));
        for (Net* net : {expected.get(), got.get()}) {
          draw_params(*net, seed);
          feed_all(*net, 5, seed);
        }
        // Chains of several norms amplify rounding.
        compare_passes(*got, *expected, {"loss"}, 1e-3);
      }
  }
}

// Two Dropouts and, between them, a top that a kept net copies.
class TwoDropouts : public Layer {
 public:
  using Layer::Layer;
  Arity arity() const override { return {1, 1, 3, 3, false}; }
  std::vector<Shape> infer_shapes(const std::vector<Shape>& bottoms) override {
    return {bottoms[0], bottoms[0], bottoms[0]};
  }
  void lower(Lowering& to) const override {
    const ValueId x = to.bottom(0);
    to.top(0, to.op(DropoutDesc{}, {x}, {}, {to.shape(x)})[0]);
    to.top(1, x);
    to.top(2, to.op(DropoutDesc{}, {x}, {}, {to.shape(x)})[0]);
  }
};

TEST(every_op_of_a_layer_draws_numbers_of_its_own) {
  for (const bool keep_blobs : {false, true}) {
    Built built;
    LayerInfo info;
    LayerSpec spec;
    spec.name = "drop";
    info.layer = std::make_unique<TwoDropouts>(spec, LayerContext{});
    info.tops = {"a", "b", "c"};
    info.bottom_values = {0};
    info.bottom_need_backward = {true};
    built.layers.push_back(std::move(info));
    Value input;
    input.shape = {2, 3};
    built.program.values.push_back(input);
    NetOptions options;
    options.keep_blobs = keep_blobs;
    lower_layer(built, 0, options, {});
    std::vector<uint32_t> streams;
    for (const Node& node : built.program.nodes)
      if (std::holds_alternative<DropoutDesc>(node.desc)) streams.push_back(node.stream);
    REQUIRE(streams.size() == 2);
    // The first one's is the layer's name alone, in every plan.
    CHECK_EQ(streams[0], hash_name("drop"));
    CHECK_EQ(streams[1], hash_name("drop") ^ 0x9E3779B9u);
  }
}

// Numbers that were drawn once are drawn for ever: runs and snapshots go on with them.
TEST(tops_of_dummy_data_draw_numbers_of_their_own) {
  const std::string text =
      "layer { name: 'd' type: 'DummyData' top: 'a' top: 'b' top: 'c' dummy_data_param { "
      "shape { dim: 3 dim: 5 } data_filler { type: 'constant' } data_filler { type: 'uniform' } "
      "data_filler { type: 'uniform' } } }";
  for (const std::string& backend : backend_names()) {
    const auto net = make_net(text, net_on(backend));
    net->forward();
    for (const uint32_t top : {1u, 2u}) {
      const RandomStream stream{net->state().seed, 0, hash_name("d") ^ (top * 0x9E3779B9u), 1};
      const Values got = net->read(net->blob_index(top == 1 ? "b" : "c"));
      for (uint64_t i = 0; i < got.size(); ++i)
        CHECK_EQ(got[i], static_cast<double>(static_cast<float>(stream.uniform(i))));
    }
  }
}

}  // namespace
}  // namespace pcc
