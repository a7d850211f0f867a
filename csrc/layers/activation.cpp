// Layers that apply one function to each element, in place or not: AbsVal, BNLL, Clip, ELU, Exp,
// Log, Power, ReLU6, Swish, TanH, Threshold. Source: Caffe's files of those names.
#include <cmath>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

using Function = PointwiseDesc::Function;

class ActivationLayer : public LayerBase {
 public:
  ActivationLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    read();
    const bool in_place = this->spec().bottoms == this->spec().tops;
    desc_.x_is_y =
        in_place && (desc_.function == Function::bnll || desc_.function == Function::clip ||
                     desc_.function == Function::elu);
  }

  bool differentiable(int) const override { return desc_.function != Function::threshold; }
  bool has_backward() const override { return desc_.function != Function::threshold; }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0)}, {}, to.shape(to.bottom(0)));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    if (desc_.function == Function::absval) refuse_in_place();
    return {bottoms[0]};
  }

 private:
  void read() {
    const std::string& type = spec().type;
    if (type == "AbsVal") {
      desc_.function = Function::absval;
    } else if (type == "BNLL") {
      desc_.function = Function::bnll;
    } else if (type == "TanH") {
      desc_.function = Function::tanh;
    } else if (type == "ReLU6") {
      desc_ = {.function = Function::clip, .a = 0, .b = 6};
    } else if (type == "Clip") {
      const Attributes& params = attributes().sub("clip_param");
      require(params.has("min") && params.has("max"), "clip_param needs both min and max");
      desc_ = {
          .function = Function::clip, .a = params.get_double("min"), .b = params.get_double("max")};
    } else if (type == "ELU") {
      desc_ = {.function = Function::elu, .a = attributes().sub("elu_param").get_double("alpha")};
    } else if (type == "Swish") {
      desc_ = {.function = Function::swish,
               .a = attributes().sub("swish_param").get_double("beta")};
    } else if (type == "Threshold") {
      desc_ = {.function = Function::threshold,
               .a = attributes().sub("threshold_param").get_double("threshold")};
    } else if (type == "Exp") {
      read_exp();
    } else if (type == "Log") {
      read_log();
    } else {
      const Attributes& params = attributes().sub("power_param");
      desc_ = {.function = Function::power,
               .a = params.get_double("power"),
               .b = params.get_double("scale"),
               .c = params.get_double("shift")};
    }
  }

  // The logarithm of a base; -1 stands for e.
  double log_of(double base) const {
    require(base == -1 || base > 0, "base: ", base,
            " is out of range; expected a positive number, or -1 for e");
    const double log = base == -1 ? 1 : std::log(base);
    require(std::isfinite(log), "base: ", base, " has no finite logarithm");
    return log;
  }
  // base ^ (scale * x + shift).
  void read_exp() {
    const Attributes& params = attributes().sub("exp_param");
    const double log = log_of(params.get_double("base"));
    desc_ = {.function = Function::exp,
             .a = std::exp(log * params.get_double("shift")),
             .b = log * params.get_double("scale")};
  }
  // The logarithm of scale * x + shift to that base.
  void read_log() {
    const Attributes& params = attributes().sub("log_param");
    const double log = log_of(params.get_double("base"));
    require(log != 0, "base: 1 has no logarithms");
    desc_ = {.function = Function::log,
             .a = 1 / log,
             .b = params.get_double("scale"),
             .c = params.get_double("shift")};
  }

  PointwiseDesc desc_;
};

}  // namespace

std::vector<LayerType> activation_layers() {
  std::vector<LayerType> types;
  for (const char* type : {"AbsVal", "BNLL", "Clip", "ELU", "Exp", "Log", "Power", "ReLU6", "Swish",
                           "TanH", "Threshold"})
    types.push_back(entry<ActivationLayer>(type));
  return types;
}

}  // namespace pcc
