// Types of layers that a program adds at run time, and the functions that they call back.
#include "layers/host.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <thread>

#include "net_text.h"
#include "testing.h"

namespace pcc {
namespace {

template <typename T>
T* data(const Tensor& tensor) {
  return tensor.as<T>();
}

// y = w * x, the parameter w one number that begins at 3.
class Times : public HostLayerFunction {
 public:
  std::vector<Shape> reshape(const std::vector<Shape>& bottoms) override { return {bottoms[0]}; }
  std::vector<ParamDecl> params() const override {
    ParamDecl decl{Shape{1}, {}};
    decl.filler.values = std::make_shared<const std::vector<double>>(1, 3.0);
    return {decl};
  }
  void forward(const HostTensors& t) override {
    if (t.in[0].spec.dtype == DType::f32)
      multiply<float>(t.in[0], t.params[0], t.out[0]);
    else
      multiply<double>(t.in[0], t.params[0], t.out[0]);
  }
  void backward(const HostTensors& t) override {
    if (t.out[0].spec.dtype == DType::f32)
      differentiate<float>(t);
    else
      differentiate<double>(t);
  }

 private:
  template <typename T>
  static void multiply(const Tensor& x, const Tensor& w, const Tensor& y) {
    for (int64_t i = 0; i < y.count(); ++i) data<T>(y)[i] = data<T>(w)[0] * data<T>(x)[i];
  }
  template <typename T>
  static void differentiate(const HostTensors& t) {
    if (t.dparams[0])
      for (int64_t i = 0; i < t.in[0].count(); ++i)
        data<T>(t.dparams[0])[0] += data<T>(t.dout[0])[i] * data<T>(t.in[0])[i];
    if (t.din[0]) multiply<T>(t.dout[0], t.params[0], t.din[0]);
  }
};

// Squares what it finds, where it stands.
class SquareInPlace : public HostLayerFunction {
 public:
  std::vector<Shape> reshape(const std::vector<Shape>& bottoms) override { return {bottoms[0]}; }
  void forward(const HostTensors& t) override {
    PCC_CHECK(t.in[0].data == t.out[0].data, "not in place");
    kept_.assign(data<double>(t.in[0]), data<double>(t.in[0]) + t.in[0].count());
    for (size_t i = 0; i < kept_.size(); ++i) data<double>(t.in[0])[i] *= kept_[i];
  }
  void backward(const HostTensors& t) override {
    PCC_CHECK(t.din[0].data == t.dout[0].data, "not in place");
    for (size_t i = 0; i < kept_.size(); ++i) data<double>(t.din[0])[i] *= 2 * kept_[i];
  }

 private:
  std::vector<double> kept_;
};

class Fails : public SquareInPlace {
 public:
  void forward(const HostTensors&) override { throw std::out_of_range("a function failed"); }
};

template <typename Function>
LayerType type_of(const std::string& name) {
  return {name, [](LayerSpec spec, LayerContext context) {
            return make_host_layer(std::move(spec), std::move(context),
                                   std::make_shared<Function>());
          }};
}

// As long as it lives.
class Registered {
 public:
  explicit Registered(LayerType type) : name_(type.type) { register_layer(std::move(type)); }
  ~Registered() { unregister_layer(name_); }

 private:
  std::string name_;
};

bool known(const std::string& name) {
  const std::vector<std::string> types = layer_types();
  return std::find(types.begin(), types.end(), name) != types.end();
}

std::string net_of(const std::string& layers, const std::string& last) {
  return input_layer("data", {3, 4}) + input_layer("label", {3}) + layers + classifier(last, 5);
}

TEST(a_type_comes_and_goes) {
  CHECK(!known("Times"));
  register_layer(type_of<Times>("Times"));
  CHECK(known("Times"));
  CHECK_THROWS_WITH("there is a layer type 'Times' already",
                    register_layer(type_of<Times>("Times")));
  CHECK_THROWS_WITH("there is a layer type 'ReLU' already", register_layer(type_of<Times>("ReLU")));
  CHECK_THROWS_WITH("a name and a maker", register_layer({"Empty", nullptr}));
  const auto net = ready(net_of(layer("Times", "t", "data", "y"), "y"), reference_net());
  CHECK(unregister_layer("Times"));
  CHECK(!unregister_layer("Times"));
  CHECK(!unregister_layer("ReLU"));
  pass(*net);  // it keeps its layers
  CHECK_THROWS_WITH("type 'Times' is unknown",
                    make_net(net_of(layer("Times", "t", "data", "y"), "y")));
}

TEST(types_come_and_go_in_threads) {
  std::atomic<int> wrong{0};
  const auto work = [&](int number) {
    const std::string name = concat("Own", number);
    for (int i = 0; i < 200; ++i) {
      register_layer(type_of<Times>(name));
      if (!known(name) || !known("ReLU")) ++wrong;
      if (!unregister_layer(name)) ++wrong;
    }
  };
  std::thread one([&] { work(1); }), two([&] { work(2); });
  one.join();
  two.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(a_function_computes_what_a_layer_of_the_library_does) {
  const Registered times(type_of<Times>("Times"));
  const std::string scale = "scale_param { num_axes: 0 filler { value: 3 } }";
  for (const std::string& backend : backend_names())
    for (const bool fuse : {false, true}) {
      NetOptions options = net_on(backend, fuse);
      const auto own = make_net(net_of(layer("InnerProduct", "a", "data", "a",
                                             "inner_product_param { num_output: 6 weight_filler { "
                                             "type: 'gaussian' } }") +
                                           layer("Times", "t", "a", "y"),
                                       "y"),
                                options);
      const auto library = make_net(net_of(layer("InnerProduct", "a", "data", "a",
                                                 "inner_product_param { num_output: 6 "
                                                 "weight_filler { type: 'gaussian' } }") +
                                               layer("Scale", "t", "a", "y", scale),
                                           "y"),
                                    options);
      // A function runs on the host, which a device of another kind tells.
      CHECK(own->fallbacks().empty() || backend.rfind("fussy_", 0) == 0 || backend == "cuda_host");
      CHECK_EQ(param_data(*own, "t", 0), (Values{3}));
      feed_all(*own, 5);
      feed_all(*library, 5);
      CHECK_CLOSE(pass(*own), pass(*library), 1e-6);
      for (const char* name : {"a", "t", "ip"})
        CHECK(relative_difference(param_diff(*own, name, 0), param_diff(*library, name, 0)) < 1e-5);
    }
}

TEST(in_place_means_one_memory) {
  const Registered square(type_of<SquareInPlace>("Square"));
  for (const bool fuse : {false, true}) {
    NetOptions options = double_net(fuse);
    options.force_backward = true;
    const auto net = make_net(
        input_layer("data", {2, 3}) + layer("Square", "s", "data", "data", "loss_weight: 1"),
        options);
    feed(*net, "data", {1, -2, 3, 0.5, 0, 4});
    CHECK_CLOSE(net->forward(), 1 + 4 + 9 + 0.25 + 16, 1e-12);
    net->backward();
    CHECK_EQ(blob_of(*net, "data"), (Values{1, 4, 9, 0.25, 0, 16}));
    if (!fuse) CHECK_EQ(view(*net, "data", true), (Values{2, -4, 6, 1, 0, 8}));
  }
}

TEST(what_a_function_throws_comes_through) {
  const Registered fails(type_of<Fails>("Fails"));
  const auto net = make_net(input_layer("data", {2, 3}) + layer("Fails", "f", "data", "y"));
  bool right = false;
  try {
    net->forward();
  } catch (const std::out_of_range& error) {
    right = std::string(error.what()) == "a function failed";
  }
  CHECK(right);
}

}  // namespace
}  // namespace pcc
