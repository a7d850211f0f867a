// Concatenations in place: what is joined lies among the channels of the whole from the beginning,
// and its gradient among those of the whole's. The same bits as where it is copied.
#include <algorithm>

#include "lines_cases.h"
#include "net_text.h"
#include "wrapped.h"

namespace pcc {
namespace {

// An op that wants every value by itself.
class Alone : public WrappedOp {
 public:
  using WrappedOp::WrappedOp;
  OpNeeds needs() const override {
    OpNeeds needs = inner_->needs();
    needs.channel_unit = 0;
    needs.joins_channels = false;
    return needs;
  }
};

std::string copying(const std::string& backend_name) {
  return wrapped("copying", backend_name,
                 [](const Backend& inner, const OpDesc& desc, const OpSite& site) {
                   std::unique_ptr<Op> op = inner.make(desc, site);
                   return op ? std::make_unique<Alone>(std::move(op)) : std::unique_ptr<Op>();
                 });
}

std::string concat_layer(const std::string& name, const std::vector<std::string>& bottoms) {
  std::string text = "layer { name: '" + name + "' type: 'Concat' top: '" + name + "'";
  for (const std::string& bottom : bottoms) text += " bottom: '" + bottom + "'";
  return text + " }";
}
std::string relu_on(const std::string& blob) { return layer("ReLU", blob + "_relu", blob, blob); }
std::string normed(const std::string& name, const std::string& bottom) {
  return layer("BatchNorm", name, bottom, name) +
         layer("Scale", name + "_scale", name, name,
               "scale_param { bias_term: true filler { type: 'uniform' min: 0.5 max: 1.5 } }") +
         relu_on(name);
}
std::string mean_pool(const std::string& name, const std::string& bottom, const std::string& how) {
  return layer("Pooling", name, bottom, name, "pooling_param { pool: AVE " + how + " }");
}

// Name's layers, which join their `growth` maps to what they read.
std::string dense(const std::string& name, const std::string& bottom, int layers, int growth = 12) {
  std::string text, whole = bottom;
  for (int i = 0; i < layers; ++i) {
    const std::string at = name + std::to_string(i);
    text += normed(at + "n", whole) + conv_layer(at, at + "n", growth, 3) +
            layer("Dropout", at + "d", at, at, "dropout_param { dropout_ratio: 0.2 }");
    text += concat_layer(at + "cat", {whole, at});
    whole = at + "cat";
  }
  return text;
}

std::string ending(const std::string& bottom) {
  return mean_pool("pool", bottom, "global_pooling: true") + classifier("pool", 5);
}
std::string beginning(const std::string& name = "stem") {
  return input_layer("data", {4, 3, 6, 4}) + input_layer("label", {4}) +
         conv_layer(name, "data", 8, 3);
}

// Two blocks: a value from a convolution, and one from pooling, grow.
std::string dense_net() {
  return beginning() + dense("a", "stem", 2) + normed("t", "a1cat") + conv_layer("tc", "t", 24, 1) +
         mean_pool("tp", "tc", "kernel_size: 2 stride: 2") + dense("b", "tp", 2) +
         normed("end", "b1cat") + ending("end");
}

// Branches of GoogLeNet, as its layers have them.
std::string inception() {
  return beginning() + relu_on("stem") + conv_layer("one", "stem", 8, 1) + relu_on("one") +
         conv_layer("three_in", "stem", 12, 1) + relu_on("three_in") +
         conv_layer("three", "three_in", 16, 3) + relu_on("three") +
         layer("Pooling", "most", "stem", "most",
               "pooling_param { pool: MAX kernel_size: 3 stride: 1 pad: 1 }") +
         conv_layer("pooled", "most", 8, 1) + relu_on("pooled") +
         mean_pool("mean", "stem", "kernel_size: 3 stride: 1 pad: 1") +
         concat_layer("cat", {"one", "three", "pooled", "mean"}) + conv_layer("end", "cat", 8, 3) +
         ending("end");
}

NetOptions on(const std::string& backend_name, int replicas = 1) {
  NetOptions options = net_on(backend_name, true);
  options.replicas = replicas;
  return options;
}

// Launches of all concatenations in a pass.
int64_t launches_of_joins(const Net& net) {
  int64_t launches = 0;
  for (const PlanRow& row : net.plan_rows())
    if (row.op == "concat") launches += row.forward_work.launches + row.backward_work.launches;
  return launches;
}

// In place and with copies, in every order of threads: the same bits, or, where sums are rounded in
// other places, nearly so.
void check(const std::string& text, double in_bf16) {
  using namespace cuda::host;
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    const std::string name = cuda_host_in(precision);
    const auto there = ready(text, on(name, 2)), other = ready(text, on(name, 2)),
               copied = ready(text, on(copying(name), 2));
    CHECK(there->fallbacks().empty());
    CHECK_EQ(launches_of_joins(*there), 0);
    CHECK(there->memory_bytes() < copied->memory_bytes());
    for (int step = 0; step < 2; ++step) {
      compare_passes(*there, *copied, {"loss"}, precision == Precision::bf16 ? in_bf16 : 0,
                     name_of(precision));
      const Modes before = modes();
      set_modes({step == 0 ? Order::reversed : Order::shuffled, Streams::late});
      pass(*other);
      other->device()->sync();
      set_modes(before);
      for (const int p : there->learnable())
        CHECK(values_of(there->params()[static_cast<size_t>(p)].diff) ==
              values_of(other->params()[static_cast<size_t>(p)].diff));
    }
  }
}

TEST(blocks_of_a_densenet_grow_in_place) { check(dense_net(), 1e-1); }

TEST(branches_are_written_side_by_side) { check(inception(), 0); }

void check_copied(const std::string& text, bool all) {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    const std::string name = cuda_host_in(precision);
    const auto got = ready(text, on(name)), copied = ready(text, on(copying(name)));
    CHECK(launches_of_joins(*got) > 0);
    if (all) CHECK_EQ(launches_of_joins(*got), launches_of_joins(*copied));
    for (int step = 0; step < 2; ++step)
      compare_passes(*got, *copied, {"loss"}, precision == Precision::bf16 ? 1e-1 : 0,
                     name_of(precision));
  }
}

// Readers, writers and gradients that cannot lie there.
TEST(what_cannot_lie_among_others_is_copied) {
  const std::string lrn = beginning() +
                          layer("LRN", "n", "stem", "n", "lrn_param { local_size: 3 }") +
                          conv_layer("b", "stem", 8, 3) + relu_on("b") +
                          concat_layer("cat", {"n", "stem", "b"}) + ending("cat");
  check_copied(lrn, false);
  // A gradient that is passed on is others', too; and one whose value is read later.
  const std::string sum = "layer { name: 's' type: 'Eltwise' bottom: 'cat' bottom: 'e' top: 's' }";
  check_copied(beginning() + relu_on("stem") + normed("n", "stem") + conv_layer("b", "n", 8, 3) +
                   concat_layer("cat", {"stem", "b"}) + conv_layer("e", "b", 16, 3) + sum +
                   ending("s"),
               false);
  // Twice the same.
  check_copied(beginning() + concat_layer("cat", {"stem", "stem"}) + ending("cat"), true);
}

TEST(a_kept_blob_has_memory_of_its_own) {
  for (const Precision precision : {Precision::tf32, Precision::bf16}) {
    const std::string name = cuda_host_in(precision);
    NetOptions options = on(name), copying_options = on(copying(name));
    options.keep = copying_options.keep = {"stem", "b0cat"};
    const auto got = ready(dense_net(), options), copied = ready(dense_net(), copying_options);
    pass(*got);
    pass(*copied);
    for (const char* blob : {"stem", "b0cat"})
      CHECK(view(*got, blob, false) == view(*copied, blob, false));
    // Forward: a copy of the first, one to the other, and one from there.
    CHECK_EQ(launches_of_joins(*got), 3);
  }
}

}  // namespace
}  // namespace pcc
