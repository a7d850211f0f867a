// Parameters that ops keep in forms of their own: made anew whenever the parameters have changed,
// and only then.
#include <cmath>
#include <cstring>

#include "core/bfloat16.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"
#include "wrapped.h"

namespace pcc {
namespace {

int prepared = 0;  // how often any op has been asked

double rounded(double value) {
  return static_cast<double>(static_cast<float>(BFloat16(static_cast<float>(value))));
}

// An InnerProduct whose weights are kept transposed and in bfloat16. Their gradient comes
// transposed, too, and is brought back.
class Turned : public WrappedOp {
 public:
  Turned(std::unique_ptr<Op> inner, const GemmDesc& desc, bool wants_dw)
      : WrappedOp(std::move(inner)), desc_(desc), wants_dw_(wants_dw) {}

  OpNeeds needs() const override {
    OpNeeds needs = inner_->needs();
    needs.prepared_bytes = count() * (kFloat + size_of(DType::bf16));
    dw_at_ = (needs.backward_scratch + 63) / 64 * 64;
    if (wants_dw_) needs.backward_scratch = dw_at_ + count() * kFloat;
    return needs;
  }
  void bind(const OpBuffers& buffers) override {
    Op::bind(buffers);
    OpBuffers own = buffers;
    turned_ = static_cast<float*>(buffers.prepared);
    halves_ = reinterpret_cast<BFloat16*>(turned_ + count());
    if (wants_dw_)
      dturned_ = reinterpret_cast<float*>(static_cast<char*>(buffers.backward_scratch) + dw_at_);
    own.params[0].data = turned_;
    if (own.dparams[0]) own.dparams[0].data = dturned_;
    inner_->bind(own);
  }
  void prepare(const Context&) override {
    ++prepared;
    const float* const w = buffers_.params[0].as<float>();
    for_each([&](int64_t plain, int64_t turned) { halves_[turned] = BFloat16(w[plain]); });
    for (int64_t i = 0; i < count(); ++i) turned_[i] = static_cast<float>(halves_[i]);
  }

 protected:
  void differentiate(const Context& context) override {
    float* const dw = buffers_.dparams[0].as<float>();
    if (dw) std::memset(dturned_, 0, static_cast<size_t>(count() * kFloat));
    inner_->backward(context);
    if (!dw) return;
    const bool overwrite = overwrites(context, 0);
    for_each([&](int64_t plain, int64_t turned) {
      dw[plain] = (overwrite ? 0 : dw[plain]) + dturned_[turned];
    });
  }

 private:
  static constexpr int64_t kFloat = sizeof(float);
  int64_t count() const { return desc_.n * desc_.k; }
  template <typename Body>
  void for_each(Body body) const {
    for (int64_t n = 0; n < desc_.n; ++n)
      for (int64_t k = 0; k < desc_.k; ++k) body(n * desc_.k + k, k * desc_.n + n);
  }

  GemmDesc desc_;
  bool wants_dw_;
  mutable int64_t dw_at_ = 0;
  float *turned_ = nullptr, *dturned_ = nullptr;
  BFloat16* halves_ = nullptr;
};

// Ops of layers whose name begins with "plain" stay as they are.
std::unique_ptr<Op> turn(const Backend& inner, const OpDesc& desc, const OpSite& site) {
  const GemmDesc* const gemm = std::get_if<GemmDesc>(&desc);
  if (!gemm || site.name.rfind("plain", 0) == 0) return inner.make(desc, site);
  GemmDesc turned = *gemm;
  turned.transpose = !turned.transpose;
  return std::make_unique<Turned>(inner.make(turned, site), *gemm, site.want_dparam[0]);
}

std::vector<std::string> backends() {
  std::vector<std::string> names;
  for (const char* inner : {"reference", "cpu", "guarded_reference", "guarded_cpu"})
    names.push_back(wrapped("turned", inner, turn));
  return names;
}

std::string product(const std::string& name, const std::string& bottom,
                    const std::string& more = "") {
  return layer("InnerProduct", name, bottom, name,
               "inner_product_param { num_output: 6 weight_filler { type: 'xavier' } } " + more);
}

// One weight under two layers, of which one takes it as it is.
std::string text() {
  return input_layer("data", {4, 6}) + input_layer("label", {4}) +
         product("a", "data", "param { name: 'w' }") + layer("ReLU", "relu", "a", "a") +
         product("plain", "a", "param { name: 'w' }") + product("c", "plain") + classifier("c", 5);
}

std::shared_ptr<Net> ready_net(const std::string& backend, bool fuse, bool train = true,
                               const std::shared_ptr<Net>& share = nullptr) {
  NetOptions options = net_on(backend, fuse);
  options.train = train;
  options.index = train ? 0 : 1;
  const auto net = make_net(text(), options, share);
  if (!share) draw_params(*net);
  feed_all(*net, 5);
  return net;
}

// The same net with plain ops, whose weights are rounded where the others round them: all but those
// of the layer "plain", which no other net can share.
struct Rounded {
  std::shared_ptr<Net> net;

  explicit Rounded(Net& of) {
    std::string apart = text();
    const std::string shared = "param { name: 'w' }";
    for (size_t at = apart.find(shared); at != std::string::npos; at = apart.find(shared))
      apart.erase(at, shared.size());
    net = make_net(apart, net_on("reference"));
    feed_all(*net, 5);
    for (const char* layer : {"a", "plain", "c", "ip"})
      for (const int i : {0, 1}) {
        Values values = param_data(of, layer, i);
        if (i == 0 && layer != std::string("plain"))
          for (double& value : values) value = rounded(value);
        set_values(net->params()[param_index(*net, layer, i)].data, values);
      }
  }
  // Of the parameter that is `index` in `layer`, over all its uses.
  Values diff(const std::string& layer, int index) {
    Values sum = param_diff(*net, layer, index);
    if (layer != "a" || index != 0) return sum;
    const Values other = param_diff(*net, "plain", 0);
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    return sum;
  }
};

TEST(gradients_are_those_at_the_weights_that_an_op_keeps) {
  for (const std::string& backend : backends())
    for (const bool fuse : {false, true})
      for (const int64_t passes : {1, 2}) {
        const auto net = ready_net(backend, fuse);
        SolverParams params;
        params.schedule.lr_policy = "fixed";
        params.schedule.base_lr = 0.5f;
        params.iter_size = passes;
        Solver solver(net, params);
        for (int step = 0; step < 4; ++step) {
          Rounded expected(*net);
          const double loss = pass(*expected.net);
          const Values before = param_data(*net, "a", 0), before_c = param_data(*net, "c", 0);
          prepared = 0;
          CHECK_NEAR(solver.forward_backward(), loss, 1e-5);
          // By the first pass only, and not because of a net that was planned or fed.
          CHECK_EQ(prepared, 3);
          solver.apply_update();
          for (const char* layer : {"a", "c"}) {
            Values weights = *layer == 'a' ? before : before_c;
            const Values diff = expected.diff(layer, 0);
            for (size_t i = 0; i < weights.size(); ++i) weights[i] -= 0.5 * diff[i];
            CHECK(relative_difference(param_data(*net, layer, 0), weights) < 1e-5);
          }
        }
      }
}

TEST(what_is_written_from_outside_counts) {
  for (const std::string& backend : backends())
    for (const bool fuse : {false, true}) {
      const auto net = ready_net(backend, fuse);
      const int w = static_cast<int>(param_index(*net, "a", 0));
      const auto check = [&] { CHECK_NEAR(net->forward(), Rounded(*net).net->forward(), 1e-5); };
      check();
      Net::HostParam held = net->host_param(w, false);
      set_values(held.tensor, random_values(36, 11));
      check();
      set_values(held.tensor, random_values(36, 12));  // again, while it is held
      check();
      set_values(held.tensor, random_values(36, 13));
      held = {};  // let go before any pass
      check();
      prepared = 0;
      check();
      CHECK_EQ(prepared, 0);  // nobody can have written
      if (fuse) continue;
      // Between forward and backward.
      net->clear_param_diffs();
      net->forward();
      Rounded expected(*net);
      expected.net->forward();
      for (Net* each : {net.get(), expected.net.get()}) {
        const int c = static_cast<int>(param_index(*each, "c", 0));
        set_values(each->host_param(c, false).tensor, Values(36, 0.25));
        each->backward();
      }
      CHECK(relative_difference(param_diff(*net, "a", 1), param_diff(*expected.net, "a", 1)) <
            1e-5);
    }
}

TEST(a_test_net_sees_what_training_made_of_shared_weights) {
  for (const std::string& backend : backends()) {
    const auto train = ready_net(backend, true);
    const auto test = ready_net(backend, true, false, train);
    SolverParams params;
    params.schedule.lr_policy = "fixed";
    params.schedule.base_lr = 0.5f;
    Solver solver(train, params);
    double before = 0;
    for (int i = 0; i < 3; ++i) {
      const double loss = Rounded(*train).net->forward();
      prepared = 0;
      const Net::Tested tested = test->test(4, [] { return true; });
      CHECK_EQ(prepared, 3);  // once for all four passes
      CHECK_NEAR(tested.loss, 4 * loss, 1e-4);
      CHECK(tested.loss != before);
      before = tested.loss;
      solver.run(1, 1e30, nullptr);
    }
    // Written through the test net, seen by the other.
    set_values(test->host_param(static_cast<int>(param_index(*test, "a", 0)), false).tensor,
               random_values(36, 17));
    CHECK_NEAR(train->forward(), Rounded(*train).net->forward(), 1e-5);
  }
}

TEST(a_net_of_another_shape_begins_anew) {
  for (const std::string& backend : backends()) {
    const auto net = ready_net(backend, true);
    const double loss = net->forward();
    net->reshape({{"data", {8, 6}}, {"label", {8}}});
    net->reshape({{"data", {4, 6}}, {"label", {4}}});
    feed_all(*net, 5);
    CHECK_EQ(net->forward(), loss);
  }
}

}  // namespace
}  // namespace pcc
