// Nets are independent: two of them run in two threads of the caller's at once. One of them, in
// two, is refused.
#include <algorithm>
#include <functional>
#include <thread>
#include <utility>

#include "core/parallel.h"
#include "layers/host.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"

namespace pcc {
namespace {

// Losses and gradients of a few passes, from the making of the net on.
std::vector<Values> history(const std::string& backend, bool fuse, uint64_t seed) {
  const auto net = ready(small_net(6), net_on(backend, fuse));
  draw_params(*net, seed);
  std::vector<Values> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back({pass(*net)});
    for (const int p : net->learnable())
      all.push_back(values_of(net->params()[static_cast<size_t>(p)].diff));
  }
  return all;
}

TEST(two_nets_in_two_threads_compute_what_each_does_alone) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      const std::vector<Values> one = history(backend, fuse, 5), two = history(backend, fuse, 6);
      CHECK(one != two);
      for (int round = 0; round < 5; ++round) {
        std::vector<Values> beside;
        std::thread other([&] { beside = history(backend, fuse, 6); });
        const std::vector<Values> here = history(backend, fuse, 5);
        other.join();
        CHECK(here == one);
        CHECK(beside == two);
      }
    }
}

// A layer whose forward pass calls `work` once, while everything else waits.
class Midway : public HostLayerFunction {
 public:
  explicit Midway(std::function<void()>& work) : work_(work) {}
  std::vector<Shape> reshape(const std::vector<Shape>& bottoms) override { return bottoms; }
  void forward(const HostTensors& t) override {
    std::copy_n(t.in[0].as<float>(), t.in[0].count(), t.out[0].as<float>());
    if (const std::function<void()> work = std::exchange(work_, nullptr)) work();
  }
  void backward(const HostTensors& t) override {
    std::copy_n(t.dout[0].as<float>(), t.dout[0].count(), t.din[0].as<float>());
  }

 private:
  std::function<void()>& work_;
};

class MidwayNets {
 public:
  MidwayNets() {
    register_layer({"Midway", [this](LayerSpec spec, LayerContext context) {
                      return make_host_layer(std::move(spec), std::move(context),
                                             std::make_shared<Midway>(work));
                    }});
  }
  ~MidwayNets() { unregister_layer("Midway"); }

  std::function<void()> work;
  const std::string text = input_layer("data", {3, 4}) + input_layer("label", {3}) +
                           layer("Midway", "m", "data", "y") + classifier("y", 5);
};

SolverParams fixed_rate() {
  SolverParams params;
  params.schedule.lr_policy = "fixed";
  params.schedule.base_lr = 0.1f;
  return params;
}

const char* const kElsewhere = "this net is running in another thread";
const char* const kPass = "this net is in the middle of a pass";

TEST(a_net_that_runs_refuses_other_threads) {
  MidwayNets nets;
  for (const bool fuse : {false, true}) {
    const auto net = ready(nets.text, net_on("reference", fuse));
    NetOptions options = net_on("reference", fuse);
    options.train = false;
    const auto test_net = make_net(nets.text, options, net);
    const auto other_net = ready(nets.text, net_on("reference", fuse));
    Solver solver(net, fixed_rate());
    const Values before = values_of(net->params()[0].data);
    const double loss = net->forward(), other_loss = other_net->forward();
    int refused = 0;
    nets.work = [&] {
      std::thread([&] {
        for (const auto& made : {net, test_net}) {
          CHECK_THROWS_WITH(kElsewhere, made->forward());
          CHECK_THROWS_WITH(kElsewhere, made->test(1, [] { return true; }));
          CHECK_THROWS_WITH(kElsewhere, made->reshape({{"data", Shape{2, 4}}}));
          CHECK_THROWS_WITH(kElsewhere, made->host(made->blob_index("data"), false));
          CHECK_THROWS_WITH(kElsewhere, made->host_param(0, false));
          CHECK_THROWS_WITH(kElsewhere, made->read(made->blob_index("loss")));
          CHECK_THROWS_WITH(kElsewhere, made->write(made->blob_index("data"), nullptr));
          CHECK_THROWS_WITH(kElsewhere, made->clear_param_diffs());
        }
        CHECK_THROWS_WITH(kElsewhere, net->backward());
        CHECK_THROWS_WITH(kElsewhere, net->time_nodes());
        CHECK_THROWS_WITH(kElsewhere, solver.forward_backward());
        CHECK_THROWS_WITH(kElsewhere, solver.apply_update());
        CHECK_THROWS_WITH(kElsewhere, solver.run(1, 1, {}));
        CHECK_THROWS_WITH(kElsewhere, solver.history(0));
        CHECK_THROWS_WITH(kElsewhere, make_net(nets.text, options, net));
        CHECK_CLOSE(other_net->forward(), other_loss, 0);
        ++refused;
      }).join();
    };
    CHECK_CLOSE(net->forward(), loss, 0);
    CHECK_EQ(refused, 1);
    // Between passes the net is anybody's.
    std::thread([&] { CHECK_CLOSE(net->forward(), loss, 0); }).join();
    CHECK(values_of(net->params()[0].data) == before);
  }
}

TEST(a_pass_begins_no_other_and_may_be_looked_at) {
  MidwayNets nets;
  const auto net = ready(nets.text, net_on("reference", false));
  const auto test_net = make_net(nets.text, net_on("reference", false), net);
  Solver solver(net, fixed_rate());
  const double loss = net->forward();
  int called = 0;
  nets.work = [&] {
    for (const auto& made : {net, test_net}) {
      CHECK_THROWS_WITH(kPass, made->forward());
      CHECK_THROWS_WITH(kPass, made->reshape({{"data", Shape{2, 4}}}));
    }
    CHECK_THROWS_WITH(kPass, solver.run(1, 1, {}));
    CHECK_EQ(net->read(net->blob_index("y")).size(), size_t{12});
    CHECK(net->host_param(0, true).tensor.data != nullptr);
    ++called;
  };
  CHECK_CLOSE(net->forward(), loss, 0);
  CHECK_EQ(called, 1);
  // What fails leaves the net free again.
  nets.work = [] { throw std::runtime_error("failed"); };
  CHECK_THROWS_WITH("failed", net->forward());
  std::thread([&] { CHECK_CLOSE(net->forward(), loss, 0); }).join();
}

}  // namespace
}  // namespace pcc
