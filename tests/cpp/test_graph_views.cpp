// The user's views of blobs: what they show, what is written through them, and what they cost.
#include <algorithm>

#include "net_text.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

TEST(views_follow_the_passes) {
  for (const std::string& backend : backend_names()) {
    const auto net = ready(small_net(), net_on(backend)),
               plain = ready(small_net(), net_on(backend));
    for (const char* blob : {"data", "conv", "pool", "ip", "loss"}) {
      view(*net, blob, false);
      view(*net, blob, true);
    }
    CHECK_EQ(pass(*net), pass(*plain));
    for (const char* blob : {"data", "conv", "pool", "ip", "loss"})
      CHECK_EQ(view(*net, blob, false), blob_of(*plain, blob));
    CHECK_EQ(param_diff(*net, "conv", 0), param_diff(*plain, "conv", 0));
    CHECK(relative_difference(view(*net, "ip", true), Values(20, 0)) > 0.1);
  }
}

TEST(an_input_is_written_through_its_view) {
  const auto net = ready(small_net(), net_on("reference")),
             other = ready(small_net(), net_on("reference"));
  view(*net, "data", false);
  const Values data = random_values(4 * 3 * 6 * 5, 99);
  write_view(*net, "data", false, data);
  feed(*other, "data", data);
  CHECK_EQ(net->forward(), other->forward());
  feed(*net, "data", Values(data.size(), 0.0));  // and write() shows in the view
  CHECK_EQ(view(*net, "data", false), Values(data.size(), 0.0));
}

TEST(a_view_stays_where_it_is) {
  const auto net = ready(small_net(), net_on("reference"));
  const void* before = net->host(net->blob_index("conv"), false).data->data();
  net->forward();
  CHECK(net->host(net->blob_index("conv"), false).data->data() == before);
}

TEST(the_diff_of_the_input_is_there_with_force_backward) {
  NetOptions options = net_on("reference");
  options.force_backward = true;
  const auto net = ready(small_net(), options);
  view(*net, "data", true);
  pass(*net);
  CHECK(relative_difference(view(*net, "data", true), Values(4 * 3 * 6 * 5, 0)) > 1e-3);
}

// A pass that ends between layers in place leaves what its last one made, whether or not anybody
// looked before.
TEST(a_first_look_after_a_part_of_a_pass_sees_that_part) {
  for (const std::string& backend : backend_names()) {
    const auto seen = ready(small_net(), net_on(backend)),
               fresh = ready(small_net(), net_on(backend));
    view(*seen, "conv", false);
    view(*seen, "conv", true);
    for (const auto& net : {seen, fresh}) net->forward(0, net->layer_index("conv"));
    const Values conv = view(*fresh, "conv", false);
    CHECK_EQ(view(*seen, "conv", false), conv);
    CHECK(*std::min_element(conv.begin(), conv.end()) < 0);
    for (const auto& net : {seen, fresh}) {
      net->forward();
      net->backward(net->layer_index("loss"), net->layer_index("relu"));
    }
    CHECK_EQ(view(*seen, "conv", true), view(*fresh, "conv", true));
  }
}

// --- copies

bool lies_in_plan(Net& net, const std::string& blob, bool diff) {
  const int index = net.blob_index(blob);
  const HostBlob host = net.host(index, diff);
  const int value = net.blobs()[static_cast<size_t>(index)].versions.back().value;
  const Tensor& own = diff ? net.plan().diff(value) : net.plan().data(value);
  return (diff ? host.diff : host.data)->data() == own.data;
}

TEST(only_another_layout_or_device_costs_an_array_of_its_own) {
  for (const std::string& backend : backend_names()) {
    const auto net = ready(small_net(), net_on(backend));
    for (const BlobInfo& blob : net->blobs()) {
      const Tensor& data = net->plan().data(blob.versions.back().value);
      const bool as_it_is = net->device()->host_visible() && data.spec.layout == Layout::plain;
      CHECK_EQ(lies_in_plan(*net, blob.name, false), as_it_is);
    }
    if (net->device()->host_visible()) CHECK(lies_in_plan(*net, "ip", true));
  }
}

// Counts what goes from and to the host's memory.
class CountingDevice : public HostDevice {
 public:
  void upload(void* to, const void* from, int64_t bytes) override {
    moved += bytes;
    HostDevice::upload(to, from, bytes);
  }
  void download(void* to, const void* from, int64_t bytes) override {
    moved += bytes;
    HostDevice::download(to, from, bytes);
  }
  int64_t moved = 0;
};

class CountingBackend : public WrappedBackend {
 public:
  CountingBackend()
      : WrappedBackend("counting", backend("reference"),
                       [](const Backend& inner, const OpDesc& desc, const OpSite& site) {
                         return inner.make(desc, site);
                       }) {}
  std::shared_ptr<Device> open(int, Precision) const override {
    return std::make_shared<CountingDevice>();
  }
};

TEST(passes_copy_nothing_for_views_that_lie_as_the_values_do) {
  register_backend("counting", [] { return std::make_unique<CountingBackend>(); });
  const auto moved_by_a_pass = [](bool looked) {
    const auto net = ready(small_net(), net_on("counting"));
    if (looked) {
      for (const char* blob : {"data", "ip", "loss"})
        for (const bool diff : {false, true}) view(*net, blob, diff);
      // Dropout works on it in place: its diff is that of two values, one after the other.
      view(*net, "pool", false);
    }
    auto& device = static_cast<CountingDevice&>(*net->device());
    const int64_t before = device.moved;
    pass(*net);
    if (looked) CHECK(relative_difference(view(*net, "ip", false), Values(20, 0)) > 0.1);
    return device.moved - before;
  };
  CHECK_EQ(moved_by_a_pass(true), moved_by_a_pass(false));
}

TEST(a_view_outlives_its_net) {
  auto net = ready(small_net(), net_on("reference"));
  net->forward();
  const HostBlob host = net->host(net->blob_index("ip"), false);
  const Values expected = view(*net, "ip", false);
  net.reset();
  CHECK_EQ(values_of({host.data->data(), {host.shape, DType::f32, Layout::plain}}), expected);
}

// A blob that keeps its shape keeps its contents, and its array as long as somebody looks at it.
TEST(what_views_hold_comes_through_a_reshape) {
  const std::string text = input_layer("a", {2, 3}) + input_layer("b", {2, 3}) +
                           layer("ReLU", "x", "a", "x") + layer("ReLU", "y", "b", "y");
  for (const std::string& backend : backend_names())
    for (const bool held : {false, true}) {
      const auto net = make_net(text, net_on(backend));
      const Values numbers = random_values(6, 3), others = random_values(6, 4);
      write_view(*net, "a", false, numbers);
      write_view(*net, "x", false, others);
      const HostBlob looked = held ? net->host(net->blob_index("a"), false) : HostBlob{};
      net->reshape({{"b", {5, 3}}});
      CHECK_EQ(view(*net, "a", false), numbers);
      CHECK_EQ(view(*net, "x", false), others);
      if (held) CHECK(net->host(net->blob_index("a"), false).data == looked.data);
      Values positive;
      for (const double number : numbers) positive.push_back(std::max(0.0, number));
      net->forward();
      CHECK_EQ(view(*net, "x", false), positive);
    }
}

}  // namespace
}  // namespace pcc
