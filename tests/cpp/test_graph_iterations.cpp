// Gradients over the passes of an iteration: the first pass's take the place of what is there, the
// others' are added, whoever writes them and whoever cannot overwrite.
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

// Two layers share a weight; BatchNorm, Scale, PReLU and a Bias of its own; one layer that nothing
// reads.
std::string text() {
  const std::string shared =
      "inner_product_param { num_output: 6 weight_filler { type: 'xavier' } } ";
  return input_layer("data", {4, 3, 6, 6}) + input_layer("label", {4}) +
         conv_layer("conv", "data", 8, 3) + norm_layers_on("conv") +
         layer("PReLU", "prelu", "conv", "conv") +
         layer("InnerProduct", "narrow", "conv", "narrow", shared) +
         layer("InnerProduct", "a", "narrow", "a", shared + "param { name: 'w' }") +
         layer("InnerProduct", "b", "a", "b", shared + "param { name: 'w' }") +
         layer("Scale", "scale", "b", "scaled", "scale_param { bias_term: true }") +
         layer("InnerProduct", "unread", "b", "unread", shared) + classifier("scaled", 5);
}

// Of backends whose convolutions, or all of whose ops, only ever add.
class Adding : public WrappedOp {
 public:
  using WrappedOp::WrappedOp;
  OpNeeds needs() const override {
    OpNeeds needs = inner_->needs();
    needs.overwrites_dparams = false;
    return needs;
  }
};

std::string adding(const std::string& inner, bool all) {
  return wrapped(all ? "adding" : "half_adding", inner,
                 [all](const Backend& own, const OpDesc& desc, const OpSite& site) {
                   std::unique_ptr<Op> op = own.make(desc, site);
                   const bool wrap = all || std::holds_alternative<ConvDesc>(desc);
                   return op && wrap ? std::make_unique<Adding>(std::move(op)) : std::move(op);
                 });
}

std::vector<std::string> backends() {
  std::vector<std::string> names = backend_names();
  for (const char* more :
       {"guarded_reference", "guarded_cpu", "fussy_reference", "fussy_cpu", "cuda_host"})
    names.push_back(more);
  for (const bool all : {false, true})
    for (const char* inner : {"reference", "cpu", "guarded_cpu"})
      names.push_back(adding(inner, all));
  return names;
}

Values all_diffs(Net& net) {
  Values all;
  for (const int p : net.learnable())
    for (const double value : values_of(net.params()[static_cast<size_t>(p)].diff))
      all.push_back(value);
  return all;
}

// As if an update had left something there, or trouble.
void spoil_diffs(Net& net) {
  for (const int p : net.learnable()) {
    const Tensor diff = net.params()[static_cast<size_t>(p)].diff;
    set_values(diff, Values(static_cast<size_t>(diff.count()), std::nan("")));
  }
}

TEST(an_iteration_leaves_the_sum_of_its_passes) {
  for (const std::string& name : backends())
    for (const bool fuse : {false, true})
      for (const int32_t passes : {1, 3}) {
        const auto net = ready(text(), net_on(name, fuse));
        const auto other = ready(text(), net_on(name, fuse));
        for (int iteration = 0; iteration < 2; ++iteration) {
          spoil_diffs(*net);
          StepBlock rates;
          rates.parts = passes;
          for (rates.part = 0; rates.part < passes; ++rates.part) net->accumulate(rates);
          other->clear_param_diffs();
          for (int32_t part = 0; part < passes; ++part) {
            other->forward();
            other->backward();
          }
          if (all_diffs(*net) != all_diffs(*other))
            testing::fail(__FILE__, __LINE__, concat(name, ", fuse ", fuse, ", passes ", passes));
        }
        CHECK(relative_difference(param_diff(*net, "a", 0), Values(36, 0)) > 1);
        CHECK_EQ(param_diff(*net, "unread", 0), Values(36, 0));
      }
}

TEST(backward_by_itself_adds) {
  for (const std::string& name : backends()) {
    const auto net = ready(text(), net_on(name));
    StepBlock rates;
    rates.parts = 1;
    net->accumulate(rates);
    const Values once = param_diff(*net, "ip", 0);
    net->backward();
    Values twice = once;
    for (double& value : twice) value *= 2;
    CHECK(relative_difference(param_diff(*net, "ip", 0), twice) < 1e-6);
  }
}

TEST(a_gradient_that_nobody_writes_is_zero_at_every_update) {
  for (const std::string& name : backends()) {
    const auto net = ready(text(), net_on(name, true));
    SolverParams params;
    params.schedule.lr_policy = "fixed";
    params.schedule.base_lr = 0.125f;
    params.weight_decay = 0.5f;
    Solver solver(net, params);
    Values expected = param_data(*net, "unread", 0);
    solver.run(3, 1e30, nullptr);
    // Each update leaves in the diff what it subtracted, which must be gone at the next.
    for (double& value : expected)
      for (int i = 0; i < 3; ++i)
        value =
            static_cast<float>(value - static_cast<float>(0.125 * static_cast<float>(0.5 * value)));
    CHECK(relative_difference(param_data(*net, "unread", 0), expected) < 1e-6);
  }
}

TEST(where_an_array_of_diffs_is_held_it_shows_the_sum) {
  for (const std::string& name : backends()) {
    const auto net = ready(text(), net_on(name)), other = ready(text(), net_on(name));
    const Net::HostParam held = net->host_param(static_cast<int>(param_index(*net, "ip", 0)), true);
    set_values(held.tensor, Values(static_cast<size_t>(held.tensor.count()), 7));
    for (Net* each : {net.get(), other.get()}) {
      StepBlock rates;
      rates.parts = 2;
      for (rates.part = 0; rates.part < 2; ++rates.part) each->accumulate(rates);
    }
    CHECK_EQ(values_of(held.tensor), param_diff(*other, "ip", 0));
  }
}

}  // namespace
}  // namespace pcc
