// How records come to a device: whole databases once for all nets, others batch by batch.
#include <cstring>
#include <functional>
#include <optional>

#include "backends/cuda/device.h"
#include "backends/cuda/host/modes.h"
#include "list_feed.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

using cuda::host::Modes;
using cuda::host::Order;
using cuda::host::Streams;

// Modes of the simulated device for a test.
struct Late {
  Late() : before(cuda::host::modes()) { cuda::host::set_modes({Order::forward, Streams::late}); }
  ~Late() { cuda::host::set_modes(before); }
  Modes before;
};

// Pictures cropped and flipped at random, with labels, and two fields of other records.
std::string text() {
  return "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 4 }"
         " transform_param { scale: 0.004 mean_value: 100 crop_size: 5 mirror: true } }\n"
         "layer { name: 'fields' type: 'Data' top: 'bytes' top: 'number' data_param {"
         " batch_size: 4 } }\n" +
         conv_layer("conv", "data", 8, 3) + classifier("conv", 4);
}

// Pictures in whose place others may come.
struct Pictures : ListFeed {
  using ListFeed::ListFeed;
  RecordBatch whole() const override { return others ? others->whole() : ListFeed::whole(); }
  std::shared_ptr<ListFeed> others;
};

struct Fed {
  std::shared_ptr<Pictures> pictures =
      std::make_shared<Pictures>(Shape{2, 7, 6}, random_values(10 * 84, 4, 0, 256), false, 4);
  std::shared_ptr<FieldsFeed> fields = std::make_shared<FieldsFeed>(9);
  std::shared_ptr<Net> net;

  Fed(NetOptions options, uint64_t resident, const std::shared_ptr<Net>& share = nullptr) {
    pictures->resident = resident;
    fields->resident = resident ? resident + 1 : 0;
    std::map<std::string, LayerFeed> feeds;
    feeds["data"].records = pictures;
    feeds["fields"].records = fields;
    net = std::make_shared<Net>(parse_layers(text()), feeds, options, share);
    if (!share) draw_params(*net);
  }
};

std::vector<std::string> backends() {
  std::vector<std::string> names = backend_names();
  for (const char* more : {"guarded_cpu", "fussy_reference", "cuda_host"}) names.push_back(more);
  return names;
}

// What data layers give, whatever way it came, is the same to the bit.
TEST(batches_are_the_same_from_a_database_and_one_by_one) {
  const Late late;
  for (const std::string& backend : backends())
    for (const int64_t replicas : {1, 2}) {
      NetOptions options = net_on("reference");
      options.replicas = replicas;
      Fed expected(options, 0);
      options.backend = backend;
      Fed whole(options, 100), single(options, 0);
      for (int pass = 0; pass < 9; ++pass) {
        for (Fed* each : {&expected, &whole, &single}) {
          if (pass == 3) each->pictures->seek(7);
          if (pass == 5) each->net->state().pass = 2;
          if (pass == 6) each->net->rewind(2);
          each->net->forward();
        }
        for (const char* blob : {"data", "label", "bytes", "number"}) {
          CHECK_EQ(blob_of(*whole.net, blob), blob_of(*expected.net, blob));
          CHECK_EQ(blob_of(*single.net, blob), blob_of(*expected.net, blob));
        }
        CHECK_EQ(whole.pictures->position(), expected.pictures->position());
      }
      // Another database in its place.
      for (Fed* each : {&expected, &whole, &single}) {
        each->pictures->others =
            std::make_shared<ListFeed>(Shape{2, 7, 6}, random_values(10 * 84, 9, 0, 256), false, 4);
        if (each->pictures->resident) each->pictures->resident = 103;
        each->net->forward(0, 0);
      }
      CHECK_EQ(blob_of(*whole.net, "data"), blob_of(*expected.net, "data"));
    }
}

SolverParams solver_params(int64_t iter_size) {
  SolverParams params;
  params.type = "Nesterov";
  params.schedule.lr_policy = "triangular";
  params.schedule.base_lr = 0.01f;
  params.schedule.max_lr = 0.05f;
  params.schedule.stepsize = 3;
  params.schedule.momentum = 0.9f;
  params.iter_size = iter_size;
  return params;
}

// With many iterations asked for before the first is done; each in one piece, or in its halves.
TEST(training_is_the_same_from_a_database_and_one_by_one) {
  const Late late;
  for (const int64_t iter_size : {1, 3}) {
    std::vector<std::vector<double>> losses;
    for (const uint64_t resident : {0, 100})
      for (const bool halves : {false, true}) {
        Fed fed(net_on("cuda_host", true), resident);
        Solver solver(fed.net, solver_params(iter_size));
        losses.push_back(
            solver.run(7, 1e30, nullptr, halves ? [] {} : std::function<void()>()).losses);
        losses.push_back(param_data(*fed.net, "ip", 0));
        CHECK_EQ(losses[losses.size() - 2].size(), size_t{7});
        CHECK_EQ(fed.pictures->position(), 7 * 4 * iter_size % 10);
        CHECK_EQ(fed.net->state().pass, static_cast<uint64_t>(7 * iter_size));
      }
    for (size_t i = 2; i < losses.size(); ++i) CHECK(losses[i] == losses[i % 2]);
  }
}

// What the host does for a device, counted.
struct Counts {
  int uploads = 0, downloads = 0, syncs = 0, runs = 0;
} counts;

class CountingDevice : public Device {
 public:
  explicit CountingDevice(std::shared_ptr<Device> inner) : inner_(std::move(inner)) {}
  std::shared_ptr<Memory> allocate(int64_t bytes) override { return inner_->allocate(bytes); }
  void upload(void* to, const void* from, int64_t bytes) override {
    ++counts.uploads;
    inner_->upload(to, from, bytes);
  }
  void download(void* to, const void* from, int64_t bytes) override {
    ++counts.downloads;
    inner_->download(to, from, bytes);
  }
  void clear(void* to, int64_t bytes) override { inner_->clear(to, bytes); }
  void sync() override {
    ++counts.syncs;
    inner_->sync();
  }
  bool host_visible() const override { return inner_->host_visible(); }
  int64_t memory_bytes() const override { return inner_->memory_bytes(); }
  std::unique_ptr<Staging> stage(int64_t bytes) override { return inner_->stage(bytes); }
  std::shared_ptr<Memory> hold(uint64_t key, const void* from, int64_t bytes) override {
    return inner_->hold(key, from, bytes);
  }
  void run(const Call* calls, size_t count, const Context& context) override {
    ++counts.runs;
    inner_->run(calls, count, context);
  }
  void run(Unit& unit, const Context& context) override {
    ++counts.runs;
    inner_->run(unit, context);
  }
  void run(std::span<const Part> parts, std::shared_ptr<void>& recording) override {
    ++counts.runs;
    inner_->run(parts, recording);
  }

 private:
  std::shared_ptr<Device> inner_;
};

class CountingBackend : public WrappedBackend {
 public:
  using WrappedBackend::WrappedBackend;
  std::shared_ptr<Device> open(int index, Precision precision) const override {
    return std::make_shared<CountingDevice>(WrappedBackend::open(index, precision));
  }
};

// Once it goes, the host says which passes come, and has them run: all of the rest lies there.
TEST(an_iteration_from_a_database_is_one_replay) {
  register_backend("counting_cuda_host", [] {
    return std::make_unique<CountingBackend>(
        "counting_cuda_host", backend("cuda_host"),
        [](const Backend& own, const OpDesc& desc, const OpSite& site) {
          return own.make(desc, site);
        });
  });
  for (const int64_t iter_size : {1, 3}) {
    Fed fed(net_on("counting_cuda_host", true), 300);
    Solver solver(fed.net, solver_params(iter_size));
    std::vector<Counts> after;
    solver.run(6, 1e30, [&] { after.push_back(counts); });
    for (size_t i = 3; i < after.size(); ++i) {
      CHECK_EQ(after[i].uploads - after[i - 1].uploads, 1);
      CHECK_EQ(after[i].runs - after[i - 1].runs, 1);
      CHECK_EQ(after[i].downloads, after[i - 1].downloads);
      CHECK_EQ(after[i].syncs, after[i - 1].syncs);
    }
  }
}

TEST(staged_memory_waits_for_its_turn) {
  for (const bool is_late : {false, true}) {
    const std::optional<Late> late = is_late ? std::optional<Late>(std::in_place) : std::nullopt;
    const auto device = std::make_shared<cuda::CudaDevice>(0);
    const std::unique_ptr<Staging> staging = device->stage(8);
    // Each batch is used twice, by what the device is asked for before the next is sent.
    struct Copy : Op {
      void forward(const Context&) override {
        cuda::current_stream().copy(to, from, 8);
        to += 8;
      }
      const void* from = nullptr;
      char* to = nullptr;
    } copy;
    const std::shared_ptr<Memory> taken = device->allocate(16 * 8);
    copy.to = taken->data();
    std::vector<double> expected, got(16);
    for (int batch = 0; batch < 8; ++batch) {
      const double value = batch;
      std::memcpy(staging->fill(), &value, 8);
      copy.from = staging->send();
      const Call call{&copy};
      for (int use = 0; use < 2; ++use) {
        device->run(&call, 1, {});
        expected.push_back(value);
      }
    }
    device->download(got.data(), taken->data(), taken->bytes());
    CHECK_EQ(got, expected);
  }
}

TEST(databases_are_held_once) {
  const auto first = std::make_shared<cuda::CudaDevice>(0);
  const auto second = std::make_shared<cuda::CudaDevice>(0);
  const auto elsewhere = std::make_shared<cuda::CudaDevice>(1);
  const std::vector<double> values = {1, 2, 3};
  std::shared_ptr<Memory> one = first->hold(1000, values.data(), 24);
  std::shared_ptr<Memory> two = second->hold(1000, values.data(), 24);
  CHECK(one->data() == two->data());
  CHECK(elsewhere->hold(1000, values.data(), 24)->data() != one->data());
  CHECK(first->hold(1001, values.data(), 24)->data() != one->data());
  one.reset();
  std::vector<double> got(3);
  second->download(got.data(), two->data(), 24);
  CHECK_EQ(got, values);
  // All together take a quarter of the memory at most.
  CHECK(!first->hold(1002, values.data(), first->memory_bytes() / 4 - 8));
  CHECK(first->hold(1000, values.data(), 24)->data() == two->data());
}

// The test net of a net reads its database where it lies already; a device too small takes batches.
TEST(nets_share_what_the_device_holds) {
  Fed train(net_on("cuda_host", true), 200);
  train.net->forward();
  NetOptions options = net_on("cuda_host", true);
  options.train = false;
  Fed test(options, 200, train.net);
  test.net->forward();
  const std::vector<double> none(1);
  const std::shared_ptr<Memory> held =
      train.net->device()->hold(200 * RecordBatch::kMaxFields, none.data(), 8);
  CHECK_EQ(held->bytes(), int64_t{840});  // of whoever came first
}

}  // namespace
}  // namespace pcc
