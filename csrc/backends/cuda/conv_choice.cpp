// Which ways there are for a step of a convolution, and the choice among them.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <mutex>

#include "backends/cuda/choices.h"
#include "backends/cuda/conv_way.h"
#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/device.h"

namespace pcc::cuda {

namespace {

// To be counted up whenever our own kernels, or the list of ways, have become faster or slower.
constexpr int kKernels = 2;

// Memory for everything that a step works on, full of small numbers.
class Playground {
 public:
  Playground(CudaDevice& device, const ConvDesc& desc, const OpSite& site, ConvStep step,
             const std::vector<std::unique_ptr<ConvWay>>& ways)
      : device_(device) {
    int64_t prepared = 0, scratch = 0;
    for (const auto& way : ways) {
      prepared = std::max(prepared, way->prepared_bytes());
      scratch = std::max(scratch, way->scratch_bytes());
    }
    const bool y = step == ConvStep::forward, dx = step == ConvStep::data;
    const bool dw = step == ConvStep::weights;
    const TensorSpec &image = site.in[0], &weights = site.params[0], &map = site.out[0];
    tensors_ = {.x = room(image.bytes(), y || dw),
                .w = room(weights.bytes(), y || dx),
                .bias = desc.bias ? room(site.params[1].bytes(), y) : nullptr,
                .dy = room(map.bytes(), dx || dw),
                .y = room(map.bytes(), y),
                .dx = room(image.bytes(), dx),
                .dw = room(weights.bytes(), dw),
                .prepared = room(prepared, true),
                .scratch = room(scratch, true)};
  }
  const ConvTensors& tensors() const { return tensors_; }

 private:
  float* room(int64_t bytes, bool wanted) {
    if (!wanted) return nullptr;
    constexpr unsigned char kByte = 0x3c;  // as float32 and as bf16: 0.0115
    const std::shared_ptr<Memory> memory = device_.allocate(bytes);
    device_.stream().fill(memory->data(), kByte, bytes);
    kept_.push_back(memory);
    return reinterpret_cast<float*>(memory->data());
  }

  CudaDevice& device_;
  std::vector<std::shared_ptr<Memory>> kept_;
  ConvTensors tensors_;
};

// A GPU that had nothing to do is slow at first, which would count against the way that is measured
// first.
void wake(const std::function<double()>& work) {
  using Clock = std::chrono::steady_clock;
  static std::once_flag once;
  std::call_once(once, [&] {
    for (const auto end = Clock::now() + std::chrono::milliseconds(200); Clock::now() < end;)
      work();
  });
}

// The name of the fastest. What cuDNN planned and then cannot do is left out, and said.
std::string measured(CudaDevice& device, const ConvDesc& desc, const OpSite& site, ConvStep step,
                     const std::vector<std::unique_ptr<ConvWay>>& ways) {
  const Playground playground(device, desc, site, step, ways);
  std::vector<std::function<double()>> timed;
  std::vector<std::string> names;
  for (const auto& way : ways) try {
      timed.push_back(device.timed([&way = *way, &on = playground.tensors()] { way.run(on); }));
      names.push_back(way->name());
    } catch (const cudnn::Failure& failure) {
      device.remark(concat(way->name(), ": ", failure.what()));
    }
  if (device.stream().native()) wake(timed.front());
  return names[fastest(timed)];
}

// cuDNN's few best plans, or none where it is not to be had; what it refuses is said.
void add_cudnn(CudaDevice& device, const ConvDesc& desc, const OpSite& site, ConvStep step,
               std::vector<std::unique_ptr<ConvWay>>& ways) {
  constexpr int kMost = 4;
  const cudnn::Handle* const handle = device.cudnn(device.stream());
  if (!handle) return;
  const auto here = [&device]() -> const cudnn::Handle& {
    const cudnn::Handle* const on_stream = device.cudnn(current_stream());
    PCC_CHECK(on_stream, "cuDNN works on one stream of a device and not on another");
    return *on_stream;
  };
  std::string refusal;
  try {
    for (auto& way : cudnn_convs(desc, site, step, device.precision(), cudnn::Target(*handle), here,
                                 kMost, &refusal))
      ways.push_back(std::move(way));
  } catch (const cudnn::Failure& failure) {
    refusal = failure.what();
  }
  if (!refusal.empty()) device.remark("left to our own kernels by cuDNN: " + refusal);
}

// All there are, our own before cuDNN's, so that where nothing is measured it does not matter
// whether that is installed; empty: none has such a convolution.
std::vector<std::unique_ptr<ConvWay>> conv_ways(CudaDevice* device, const ConvDesc& desc,
                                                const OpSite& site, ConvStep step) {
  std::vector<std::unique_ptr<ConvWay>> ways;
  const auto add = [&](std::unique_ptr<ConvWay> way) {
    if (way) ways.push_back(std::move(way));
  };
  const Precision precision = site.device->precision();
  add(make_tensor_way(desc, site, step));
  // No other finds the moments of what it writes.
  if (step == ConvStep::forward && desc.moments > 0) return ways;
  if (site.out[0].layout == Layout::plain) {
    if (precision != Precision::fp32) add(make_matmul_conv(desc, site, step, precision));
    add(make_matmul_conv(desc, site, step, Precision::fp32));
  }
  if (device && (device->conv_choice() == kMeasuredConv || device->conv_choice() == kCudnnConv))
    add_cudnn(*device, desc, site, step, ways);
  return ways;
}

// Everything that the fastest way may depend on.
std::string key_of(CudaDevice& device, const ConvDesc& desc, const OpSite& site, ConvStep step) {
  const auto list = [](const std::vector<int64_t>& values) { return Shape(values).str(); };
  return concat(device.description(), "; kernels ", PCC_VERSION, ".", kKernels, "; ",
                name_of(device.precision()), ' ', name_of(step),
                desc.transposed ? " transposed" : "", ' ', site.in[0], " * ", site.params[0],
                " -> ", site.out[0], ", stride ", list(desc.stride), ", pad ", list(desc.pad),
                ", dilation ", list(desc.dilation), ", group ", desc.group,
                desc.bias ? ", bias" : "");
}

}  // namespace

const char* name_of(ConvStep step) {
  return step == ConvStep::forward ? "forward" : step == ConvStep::data ? "data" : "weights";
}

std::string conv_choice(const OpSite& site) {
  const auto* const device = dynamic_cast<const CudaDevice*>(site.device);
  return device ? device->conv_choice() : kFirstConv;
}

std::unique_ptr<ConvWay> choose_conv(const ConvDesc& desc, const OpSite& site, ConvStep step) {
  auto* const device = dynamic_cast<CudaDevice*>(site.device);  // null: one that is not there
  std::vector<std::unique_ptr<ConvWay>> ways = conv_ways(device, desc, site, step);
  if (ways.empty()) return nullptr;
  std::string name = conv_choice(site);
  if (name == kMeasuredConv && ways.size() > 1) {
    const std::string key = key_of(*device, desc, site, step);
    Choices& choices = Choices::of_the_user();
    const std::optional<std::string> known = choices.find(key);
    name = known ? *known : choices.settle(key, measured(*device, desc, site, step, ways));
    device->remark(choices.take_remark());
  }
  for (auto& way : ways)
    if (way->name() == name || way->name().rfind(name + ' ', 0) == 0) return std::move(way);
  return std::move(ways.front());
}

namespace {

// The variable's word, one of those known, or "".
std::string word_of_environment(const char* variable, std::initializer_list<const char*> known) {
  const char* const named = std::getenv(variable);
  const std::string word = named ? named : "";
  std::string all;
  for (const char* each : known) {
    if (word.empty() || word == each) return word;
    all += concat(all.empty() ? "" : ", ", each);
  }
  PCC_THROW(config, variable, " is \"", word, "\"; known: ", all);
}

}  // namespace

std::string conv_choice_of_environment(const std::string& usual) {
  const std::string word =
      word_of_environment("PYCAFFE_CLR_CONVOLUTION",
                          {kFirstConv, kMeasuredConv, kCudnnConv, kTensorConv, "matmul", "plain"});
  return word.empty() ? usual : word;
}

Prologues prologues_of_environment() {
  const std::string word =
      word_of_environment("PYCAFFE_CLR_PROLOGUE", {"model", "always", "never"});
  return word == "always"  ? Prologues::always
         : word == "never" ? Prologues::never
                           : Prologues::model;
}

}  // namespace pcc::cuda
