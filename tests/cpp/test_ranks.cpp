// Several processes that train one net together, here as threads over socket pairs: what they say
// to each other, and that they learn what as many replicas of one net would.
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "backends/cuda/host/modes.h"
#include "backends/cuda/watchdog.h"
#include "core/parallel.h"
#include "list_feed.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"

namespace pcc {
namespace {

// Connected groups of as many ranks, whose sockets are closed with it.
class Ranks {
 public:
  explicit Ranks(int count, double patience = 0) {
    std::vector<int> from(static_cast<size_t>(count)), to = from;
    std::vector<std::vector<int>> words(static_cast<size_t>(count));
    words[0] = {-1};
    for (int r = 0; r < count; ++r) {
      const auto [out, in] = pair();
      to[static_cast<size_t>(r)] = out;
      from[static_cast<size_t>((r + 1) % count)] = in;
      if (r == 0) continue;
      const auto [root, other] = pair();
      words[0].push_back(root);
      words[static_cast<size_t>(r)] = {other};
    }
    for (int r = 0; r < count; ++r) {
      const auto at = static_cast<size_t>(r);
      groups.push_back(std::make_shared<Group>(r, count, from[at], to[at], words[at], patience));
      of_rank_.push_back({from[at], to[at]});
      if (r > 0) of_rank_.back().push_back(words[at][0]);
    }
  }
  ~Ranks() {
    for (const int socket : sockets_) ::close(socket);
  }
  // As where its process ends.
  void end(int rank) {
    for (const int socket : of_rank_[static_cast<size_t>(rank)]) ::shutdown(socket, SHUT_RDWR);
  }
  // Runs work(rank) in a thread for each; what they threw, by rank.
  std::map<int, std::string> run(const std::function<void(int)>& work) {
    std::map<int, std::string> errors;
    std::mutex mutex;
    std::vector<std::thread> threads;
    for (int r = 0; r < static_cast<int>(groups.size()); ++r)
      threads.emplace_back([&, r] {
        try {
          work(r);
        } catch (const Error& error) {
          const std::lock_guard lock(mutex);
          errors[r] = error.what();
          end(r);
        }
      });
    for (std::thread& thread : threads) thread.join();
    return errors;
  }

  std::vector<std::shared_ptr<Group>> groups;

 private:
  std::pair<int, int> pair() {
    int both[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, both) != 0) PCC_THROW(engine, "no sockets");
    sockets_.insert(sockets_.end(), both, both + 2);
    return {both[0], both[1]};
  }
  std::vector<int> sockets_;
  std::vector<std::vector<int>> of_rank_;
};

TEST(sums_are_equal_on_all_ranks) {
  for (const int ranks : {1, 2, 3, 5})
    for (const int64_t count : {0, 1, 4, 1000003}) {
      Ranks all(ranks);
      std::vector<std::vector<float>> values(static_cast<size_t>(ranks));
      std::vector<double> expected(static_cast<size_t>(count));
      for (size_t r = 0; r < values.size(); ++r)
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          values[r].push_back(0.1f * static_cast<float>((r + 1) * (i % 1013)));
          expected[i] += static_cast<double>(values[r][i]);
        }
      const auto errors = all.run([&](int r) {
        all.groups[static_cast<size_t>(r)]->sum(values[static_cast<size_t>(r)].data(), count);
      });
      CHECK(errors.empty());
      for (const std::vector<float>& of_rank : values) CHECK(of_rank == values[0]);
      for (size_t i = 0; i < expected.size(); i += 997)
        CHECK_NEAR(static_cast<double>(values[0][i]), expected[i], 1e-6 * (1 + expected[i]));
    }
}

TEST(rank_0_tells_the_others) {
  Ranks all(3);
  std::vector<std::vector<int>> values(3, std::vector<int>(700000, 0));
  for (size_t i = 0; i < values[0].size(); ++i) values[0][i] = static_cast<int>(i);
  std::vector<int> begun(3, 0);
  const auto errors = all.run([&](int r) {
    Group& group = *all.groups[static_cast<size_t>(r)];
    std::vector<int>& own = values[static_cast<size_t>(r)];
    group.broadcast(own.data(), static_cast<int64_t>(own.size() * sizeof(int)));
    if (r == 0) {
      for (int i = 0; i < 4; ++i) group.begin();
      return group.end();
    }
    while (group.begins()) ++begun[static_cast<size_t>(r)];
  });
  CHECK(errors.empty());
  CHECK(values[1] == values[0] && values[2] == values[0]);
  CHECK_EQ(begun[1], 4);
  CHECK_EQ(begun[2], 4);
}

TEST(nobody_waits_for_a_rank_that_is_gone) {
  Ranks all(3);
  std::vector<double> values(100000, 1);
  const auto errors = all.run([&](int r) {
    if (r == 2) return all.end(2);
    std::vector<double> own = values;
    all.groups[static_cast<size_t>(r)]->sum(own.data(), static_cast<int64_t>(own.size()));
  });
  CHECK_EQ(errors.size(), size_t{2});
  CHECK(errors.at(0).find("rank 0 of 3 has lost rank ") == 0);
}

TEST(nobody_waits_for_ever_for_a_rank_that_does_nothing) {
  Ranks ranks(2, 0.05);
  const auto errors = ranks.run([&](int rank) {
    float values[3] = {};
    if (rank == 0) ranks.groups[0]->sum(values, 3);
  });
  CHECK_EQ(errors.size(), size_t{1});
  CHECK_EQ(
      errors.at(0),
      "rank 0 of 2 has waited 0.05 s for rank 1, whose process has not ended and does not go on "
      "(PYCAFFE_CLR_RANKS_TIMEOUT)");
}

TEST(who_waits_for_a_device_too_long_is_told_on) {
  const auto since = std::make_shared<cuda::WaitsSince>(0);
  std::atomic<int> told = 0;
  const auto settle = [] { std::this_thread::sleep_for(std::chrono::milliseconds(60)); };
  {
    const cuda::Watchdog watchdog(since, 0.02, [&] { ++told; });
    settle();
    CHECK_EQ(told.load(), 0);  // nobody waits
    const cuda::Waiting waiting(*since);
    settle();
    settle();
    CHECK_EQ(told.load(), 1);
  }
  const cuda::Watchdog patient(since, 0, [&] { ++told; });
  const cuda::Waiting waiting(*since);
  settle();
  CHECK_EQ(told.load(), 1);
}

TEST(why_a_group_was_given_up_is_said_once) {
  Ranks ranks(2);
  ranks.groups[0]->check();
  ranks.groups[0]->abort("the device hangs");
  ranks.groups[0]->abort("something else");
  CHECK_THROWS_WITH("the device hangs", ranks.groups[0]->check());
  float value = 0;
  CHECK_THROWS_WITH("the device hangs", ranks.groups[0]->sum(&value, 1));
}

TEST(abort_ends_what_goes_on) {
  Ranks all(2);
  bool told = false;
  all.groups[0]->on_abort([&] { told = true; });
  std::thread later([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    all.groups[0]->abort();
  });
  double value = 1;
  CHECK_THROWS_WITH("were stopped", all.groups[0]->sum(&value, 1));
  CHECK_THROWS_WITH("were stopped", all.groups[0]->sum(&value, 1));
  later.join();
  CHECK(told);
}

// Crops, flips and Dropout of an odd number of elements draw; BatchNorm normalises per replica.
// wide: with parameters enough to be summed in several parts.
std::string text(bool wide) {
  const std::string in = wide ? "wide" : "pool";
  const std::string more = !wide ? ""
                                 : layer("InnerProduct", "wide", "pool", "wide",
                                         "inner_product_param { num_output: 2000 weight_filler { "
                                         "type: 'xavier' } }");
  return "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { source: 'db' "
         "batch_size: 3 } transform_param { crop_size: 5 mirror: true mean_value: 100 scale: 0.01 "
         "} }\n" +
         conv_layer("conv", "data", 4, 3) + norm_layers_on("conv") +
         layer("ReLU", "relu", "conv", "conv") +
         layer("Pooling", "pool", "conv", "pool",
               "pooling_param { pool: AVE kernel_size: 2 stride: 2 }") +
         more +
         layer("InnerProduct", "narrow", in, "narrow",
               "inner_product_param { num_output: 7 weight_filler { type: 'xavier' } }") +
         layer("Dropout", "drop", "narrow", "narrow") + classifier("narrow", 5);
}

std::shared_ptr<Net> net_of(NetOptions options, std::shared_ptr<RecordFeed> records,
                            bool wide = false) {
  set_threads(1);
  LayerFeed source;
  source.records = std::move(records);
  return std::make_shared<Net>(parse_layers(text(wide)),
                               std::map<std::string, LayerFeed>{{"data", source}}, options);
}

std::shared_ptr<RecordFeed> records() {
  const Shape picture{2, 7, 6};
  return std::make_shared<ListFeed>(picture, random_values(23 * picture.count(), 6, 0, 256), false,
                                    5);
}

SolverParams settings() {
  SolverParams params;
  params.type = "Nesterov";
  params.schedule.lr_policy = "fixed";
  params.schedule.base_lr = 0.05f;
  params.schedule.momentum = 0.9f;
  params.weight_decay = 0.01f;
  params.clip_gradients = 1;
  params.iter_size = 2;
  return params;
}

struct Trained {
  std::vector<double> losses;
  std::vector<Values> params;
  int64_t position = 0;
};

constexpr int kIterations = 4;

Trained result_of(Net& net, std::vector<double> losses, const RecordFeed& records) {
  Trained trained{std::move(losses), {}, records.position()};
  for (const Param& param : net.params()) trained.params.push_back(values_of(param.data));
  return trained;
}

Trained alone(NetOptions options, int64_t replicas, bool wide) {
  options.replicas = replicas;
  const auto fed = records();
  const auto net = net_of(options, fed, wide);
  Solver solver(net, settings());
  return result_of(*net, solver.run(kIterations, 1e9, {}).losses, *fed);
}

std::vector<Trained> together(NetOptions options, int64_t replicas, int ranks, bool wide = false) {
  Ranks all(ranks);
  std::vector<Trained> trained(static_cast<size_t>(ranks));
  options.replicas = replicas;
  options.ranks = ranks;
  const auto errors = all.run([&](int r) {
    NetOptions own = options;
    own.rank = r;
    if (options.backend == "cuda_host") own.backend = concat("cuda_host:", r);
    const auto fed = records();
    const auto net = net_of(own, fed, wide);
    const std::shared_ptr<Group>& group = all.groups[static_cast<size_t>(r)];
    Solver solver(net, settings(), group);
    std::vector<double> losses;
    if (r == 0) {
      losses = solver.run(kIterations, 1e9, {}).losses;
      group->end();
    } else {
      solver.follow();
    }
    CHECK_EQ(solver.iteration(), int64_t{kIterations});
    trained[static_cast<size_t>(r)] = result_of(*net, losses, *fed);
  });
  for (const auto& [rank, error] : errors)
    std::fprintf(stderr, "rank %d: %s\n", rank, error.c_str());
  CHECK(errors.empty());
  return trained;
}

// Sums in another order; there is nothing else that may differ.
constexpr double kTolerance = 2e-5;

void compare(const NetOptions& options, int64_t replicas, int ranks, bool wide = false) {
  const Trained one = alone(options, replicas * ranks, wide);
  const std::vector<Trained> all = together(options, replicas, ranks, wide);
  const Trained& root = all[0];
  REQUIRE(one.losses.size() == kIterations && root.losses.size() == kIterations);
  // Nothing was summed up yet.
  CHECK_NEAR(root.losses[0], one.losses[0], 1e-6);
  for (size_t i = 0; i < one.losses.size(); ++i)
    CHECK_NEAR(root.losses[i], one.losses[i], kTolerance * 10);
  // Running statistics are those of replica 0, which rank 0 has.
  for (size_t p = 0; p < one.params.size(); ++p)
    for (size_t i = 0; i < one.params[p].size(); ++i)
      CHECK_NEAR(root.params[p][i], one.params[p][i],
                 kTolerance * (1 + std::abs(one.params[p][i])));
  for (const Trained& other : all) {
    CHECK_EQ(other.position, one.position);
    const auto net = net_of(options, records(), wide);
    for (size_t p = 0; p < one.params.size(); ++p)
      if (!net->params()[p].statistic) CHECK(other.params[p] == root.params[p]);
  }
}

TEST(ranks_learn_what_replicas_do) {
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      compare(net_on(backend, fuse), 1, 2);
      compare(net_on(backend, fuse), 1, 3);
      compare(net_on(backend, fuse), 2, 2);
    }
}

// Where gradients are summed beside the backward pass, in several parts, as late as anybody lets
// it.
TEST(ranks_learn_what_replicas_do_on_devices) {
  const cuda::host::Modes before = cuda::host::modes();
  for (const auto streams : {cuda::host::Streams::now, cuda::host::Streams::late})
    for (const bool wide : {false, true}) {
      cuda::host::set_modes({cuda::host::Order::forward, streams});
      compare(net_on("cuda_host", true), 1, 2, wide);
    }
  cuda::host::set_modes(before);
}

// As where settings are changed between iterations.
TEST(a_solver_in_place_of_another_sums_gradients_too) {
  Ranks two(2);
  std::vector<Values> weights(2);
  const auto errors = two.run([&](int r) {
    NetOptions options = net_on("cuda_host", true);
    options.ranks = 2;
    options.rank = r;
    const auto net = net_of(options, records());
    const std::shared_ptr<Group>& group = two.groups[static_cast<size_t>(r)];
    auto solver = std::make_unique<Solver>(net, settings(), group);
    solver = std::make_unique<Solver>(net, settings(), group);
    if (r == 0) {
      solver->run(2, 1e9, {});
      group->end();
    } else {
      solver->follow();
    }
    weights[static_cast<size_t>(r)] = param_data(*net, "conv", 0);
  });
  CHECK(errors.empty());
  CHECK(weights[0] == weights[1]);
}

TEST(parts_of_gradients_are_taken_once_they_are_whole) {
  Ranks two(2);
  NetOptions options = net_on("cuda_host", true);
  options.ranks = 2;
  const auto net = net_of(options, records(), true);
  CHECK(net->overlaps());
  const Plan& plan = net->plan();
  // The layers' gradients are written from the last one on, and the shared weight's by the first of
  // its two layers.
  const auto step = [&](const char* layer) {
    return plan.written_by(static_cast<int>(param_index(*net, layer, 0)));
  };
  CHECK(step("wide") < step("conv"));
  CHECK(step("ip") < step("wide"));
  int calls = 0;
  plan.backward_course([&](int, Course&) { ++calls; });
  CHECK_EQ(calls, static_cast<int>(plan.backward_steps().size()));
}

TEST(two_runs_of_the_same_ranks_are_equal) {
  const std::vector<Trained> one = together(net_on("reference", true), 1, 3),
                             two = together(net_on("reference", true), 1, 3);
  for (size_t r = 0; r < one.size(); ++r) CHECK(one[r].params == two[r].params);
}

}  // namespace
}  // namespace pcc
