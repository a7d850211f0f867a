// Training in memory that the host cannot reach: what is read late, kept apart and copied once must
// come out as where the host sees everything.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>

#include "backends/cuda/host/modes.h"
#include "guarded.h"
#include "list_feed.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"

namespace pcc {
namespace {

constexpr int kClasses = 4;

// 12 pictures of 2x3x3, from arrays that stay (a database in memory) or not (a stream).
class Pictures : public ListFeed {
 public:
  explicit Pictures(bool resident, int32_t classes = kClasses)
      : ListFeed({2, 3, 3}, random_values(12 * 18, 4, 0, 255), false, classes),
        resident_(resident) {}
  RecordBatch next(int64_t count) override {
    RecordBatch batch = ListFeed::next(count);
    batch.resident = resident_ ? 1 : 0;
    return batch;
  }

 private:
  bool resident_;
};

struct Training {
  std::shared_ptr<Pictures> feed;
  std::shared_ptr<Net> net;
  std::unique_ptr<Solver> solver;

  Training(const std::string& backend, float lr, bool resident = true, int32_t classes = kClasses,
           int64_t iter_size = 1, bool fuse = true)
      : feed(std::make_shared<Pictures>(resident, classes)) {
    const std::string text =
        "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 4 }"
        " transform_param { scale: 0.004 mirror: true } }\n" +
        conv_layer("conv", "data", 8, 3) + norm_layers_on("conv") +
        layer("ReLU", "relu", "conv", "conv") + layer("Dropout", "drop", "conv", "conv") +
        classifier("conv", kClasses);
    LayerFeed source;
    source.records = feed;
    net = std::make_shared<Net>(parse_layers(text),
                                std::map<std::string, LayerFeed>{{"data", source}},
                                net_on(backend, fuse));
    SolverParams params;
    params.type = "Nesterov";
    params.schedule.lr_policy = "fixed";
    params.schedule.base_lr = lr;
    params.schedule.momentum = 0.9f;
    params.iter_size = iter_size;
    solver = std::make_unique<Solver>(net, params);
  }
  Solver::Run run(int64_t count) { return solver->run(count, 1e30, nullptr); }
  Values weights() {
    Values all;
    for (const int p : net->learnable())
      for (const double value : values_of(net->host_param(p, false).tensor))
        all.push_back(std::isnan(value) ? 1e99 : value);  // so that it equals itself
    return all;
  }
};

void check_same(Training& guarded, Training& plain) {
  CHECK_EQ(guarded.weights(), plain.weights());
  CHECK_EQ(guarded.solver->iteration(), plain.solver->iteration());
  CHECK_EQ(guarded.net->state().pass, plain.net->state().pass);
  CHECK_EQ(guarded.feed->position(), plain.feed->position());
}

TEST(the_host_cannot_reach_it) {
  const std::shared_ptr<Device> device = backend("guarded_reference").open();
  const std::shared_ptr<Memory> memory = device->allocate(100);
  char zeros[100];
  device->download(zeros, memory->data(), 100);
  for (const char zero : zeros) CHECK_EQ(zero, 0);
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGSEGV, [](int) { _exit(3); });
    std::signal(SIGBUS, [](int) { _exit(3); });
    _exit(*static_cast<volatile char*>(memory->data()) == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

TEST(training_is_the_same) {
  for (const bool fuse : {true, false})
    for (const bool resident : {true, false})
      for (const std::string name : {"reference", "cpu"}) {
        Training guarded("guarded_" + name, 0.05f, resident, kClasses, 2, fuse);
        Training plain(name, 0.05f, resident, kClasses, 2, fuse);
        CHECK_EQ(guarded.run(20).losses, plain.run(20).losses);
        check_same(guarded, plain);
      }
}

// Op by op, recorded, and replayed; in every order of threads, at once or late: the same bits.
TEST(cuda_kernels_train_the_same_in_every_order) {
  using namespace cuda::host;
  for (const bool fuse : {true, false}) {
    Training plain("reference", 0.05f, true, kClasses, 2, fuse);
    const std::vector<double> expected = plain.run(8).losses;
    std::vector<double> first;
    Values weights;
    for (const Modes& modes : {Modes{}, Modes{}, Modes{Order::reversed, Streams::late},
                               Modes{Order::shuffled, Streams::late}}) {
      set_modes(modes);
      Training cuda("cuda_host", 0.05f, true, kClasses, 2, fuse);
      CHECK(cuda.net->fallbacks().empty());
      const std::vector<double> losses = cuda.run(8).losses;
      set_modes({});
      REQUIRE(losses.size() == expected.size());
      for (size_t i = 0; i < losses.size(); ++i) CHECK_NEAR(losses[i], expected[i], 1e-5);
      if (first.empty()) {
        first = losses;
        weights = cuda.weights();
      }
      CHECK_EQ(losses, first);
      CHECK_EQ(cuda.weights(), weights);
      CHECK(relative_difference(cuda.weights(), plain.weights()) < 1e-4);
    }
  }
}

TEST(the_host_makes_up_for_ops_that_a_device_lacks) {
  for (const bool fuse : {true, false})
    for (const std::string name : {"reference", "cpu"}) {
      // Sums come in the same order only where the loops are the same.
      Training fussy("fussy_" + name, 0.05f, true, kClasses, 2, fuse);
      Training plain("reference", 0.05f, true, kClasses, 2, fuse);
      CHECK(!fussy.net->fallbacks().empty());
      int on_host = 0, copies = 0;
      for (const Node& node : fussy.net->program().nodes) {
        copies += std::holds_alternative<TransferDesc>(node.desc);
        on_host += node.place == Place::host && node.backend == "reference";
      }
      CHECK(on_host >= 2 && copies >= on_host);
      for (const Value& value : fussy.net->program().values)
        if (!value.blob.empty()) CHECK(value.place == Place::device);
      const std::vector<double> got = fussy.run(6).losses, expected = plain.run(6).losses;
      REQUIRE(got.size() == expected.size());
      for (size_t i = 0; i < got.size(); ++i) CHECK_NEAR(got[i], expected[i], 1e-5);
      CHECK(relative_difference(fussy.weights(), plain.weights()) < 1e-4);
      if (name == "reference") check_same(fussy, plain);
    }
}

TEST(a_label_found_on_the_host_stops_the_device) {
  // The loss of "fussy_reference" runs on the host.
  Training fussy("fussy_reference", 0.05f, true, 12), plain("reference", 0.05f, true, 12);
  const std::string message = "layer 'loss': the label of sample 0 of the batch is 4, but there";
  CHECK_THROWS_WITH(message, fussy.run(30));
  CHECK_THROWS_WITH(message, plain.run(30));
  check_same(fussy, plain);
}

TEST(more_losses_than_the_report_holds) {
  Training guarded("guarded_cpu", 1e-4f), plain("cpu", 1e-4f);
  const int64_t count = StepReport::kLosses + 40;
  const std::vector<double> losses = guarded.run(count).losses;
  CHECK_EQ(static_cast<int64_t>(losses.size()), count);
  CHECK_EQ(losses, plain.run(count).losses);
}

TEST(a_diverged_run_stands_where_it_diverged) {
  for (const std::string name : {"reference", "cpu"}) {
    Training guarded("guarded_" + name, 1e30f, true, kClasses, 2),
        plain(name, 1e30f, true, kClasses, 2);
    const Solver::Run late = guarded.run(30), early = plain.run(30);
    CHECK(late.diverged && early.diverged);
    CHECK_EQ(late.losses.size(), early.losses.size());
    CHECK(late.losses.size() > 1 && late.losses.size() < 30);
    check_same(guarded, plain);
  }
}

TEST(a_label_that_is_no_class_is_named) {
  // Records 0 to 11 have the labels 0 to 11: the sixth batch's first sample is not the first to be
  // wrong, and no update is made from its iteration on.
  for (const std::string name : {"reference", "cpu"}) {
    Training guarded("guarded_" + name, 0.05f, true, 12), plain(name, 0.05f, true, 12);
    const std::string message = "layer 'loss': the label of sample 0 of the batch is 4, but there";
    CHECK_THROWS_WITH(message, guarded.run(30));
    CHECK_THROWS_WITH(message, plain.run(30));
    CHECK_EQ(guarded.solver->iteration(), 1);
    check_same(guarded, plain);
    // The net is not stuck: the next pass complains of its own batch.
    CHECK_THROWS_WITH("the label of sample 0 of the batch is 8", guarded.net->forward());
  }
}

TEST(arrays_of_parameters_count_while_they_are_held_and_after) {
  for (const std::string name : {"reference", "guarded_reference"}) {
    Training training(name, 0.05f);
    Net& net = *training.net;
    const size_t ip = param_index(net, "ip", 1);
    Net::HostParam held = net.host_param(static_cast<int>(ip), false);
    const Values before = values_of(held.tensor);
    training.run(1);
    CHECK(values_of(held.tensor) != before);  // it shows the update
    set_values(held.tensor, {1, 2, 3, 4});
    net.forward();
    CHECK_EQ(param_data(net, "ip", 1), (Values{1, 2, 3, 4}));
    set_values(held.tensor, {5, 6, 7, 8});
    held = {};  // let go before any pass took it in
    net.forward();
    CHECK_EQ(param_data(net, "ip", 1), (Values{5, 6, 7, 8}));
    // A history, too.
    set_values(training.solver->history(static_cast<int>(ip)).tensor, {100, 100, 100, 100});
    training.run(1);
    for (const double value : param_data(net, "ip", 1)) CHECK(value < -50);
  }
}

TEST(test_nets_share_what_is_guarded) {
  Training training("guarded_cpu", 0.05f);
  const std::string text = input_layer("data", {4, 2, 3, 3}) + input_layer("label", {4}) +
                           conv_layer("conv", "data", 8, 3) + norm_layers_on("conv") +
                           layer("ReLU", "relu", "conv", "conv") + classifier("conv", kClasses);
  NetOptions options = net_on("guarded_cpu", true);
  options.train = false;
  Net test(parse_layers(text), {}, options, training.net);
  feed_all(test, kClasses);
  const double before = test.forward();
  training.run(3);
  CHECK(test.forward() != before);
  CHECK_THROWS_WITH("cannot share the parameters",
                    Net(parse_layers(text), {}, net_on("cpu"), training.net));
}

TEST(fields_of_records_reach_every_device) {
  for (const std::string& backend : backend_names())
    for (const int64_t replicas : {1, 2}) {
      NetOptions options = net_on(backend, true);
      options.replicas = replicas;
      options.keep = {"bytes", "number", "floats"};
      LayerFeed source;
      source.records = std::make_shared<FieldsFeed>(3);
      Net net(parse_layers("layer { name: 'data' type: 'Data' top: 'floats' top: 'number' top: "
                           "'bytes' data_param { batch_size: 2 } }"),
              {{"data", source}}, options);
      net.forward();
      CHECK_EQ(net.read(net.blob_index("number")),
               replicas == 1 ? (Values{0, -100}) : (Values{0, -200}));
      net.forward();
      if (replicas > 1) continue;
      CHECK_EQ(net.read(net.blob_index("number")), (Values{-200, 0}));
      CHECK_EQ(net.read(net.blob_index("bytes")), (Values{8, 9, 10, 11, 0, 1, 2, 3}));
      CHECK_EQ(net.read(net.blob_index("floats")), (Values{2.25, 2.5, 2.75, 0.25, 0.5, 0.75}));
    }
}

TEST(hooks_see_gradients_and_may_change_them) {
  for (const std::string name : {"cpu", "guarded_cpu"}) {
    Training training(name, 0.05f);
    Net& net = *training.net;
    int calls = 0, moved = 0;
    const auto hook = [&] {
      ++calls;
      for (const int p : net.learnable()) {
        const Tensor diff = net.host_param(p, true).tensor;
        for (const double value : values_of(diff)) moved += value != 0;
        set_values(diff, Values(static_cast<size_t>(diff.count()), 0.0));
      }
    };
    const Values weights = param_data(net, "conv", 0);
    training.solver->run(2, 1e9, {}, hook);
    CHECK_EQ(calls, 2);
    CHECK(moved > 0);
    CHECK_EQ(param_data(net, "conv", 0), weights);
    // Where it throws the iteration is not over, and the run goes on from there.
    CHECK_THROWS_WITH("hook", training.solver->run(2, 1e9, {}, [] { PCC_THROW(data, "hook"); }));
    CHECK_EQ(training.solver->iteration(), 2);
    CHECK_EQ(param_data(net, "conv", 0), weights);
    training.run(1);
    CHECK_EQ(training.solver->iteration(), 3);
    CHECK(param_data(net, "conv", 0) != weights);
  }
}

}  // namespace
}  // namespace pcc
