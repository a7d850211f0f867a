// The ways to carry out a convolution on a GPU: each of its steps has one of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/op.h"

namespace pcc::cuda {

// What is computed of a convolution: its output, the gradient of its input, that of its weights.
enum class ConvStep { forward, data, weights };
const char* name_of(ConvStep step);

// Device memory; what a step does not work on may be null. bias: where the convolution has one.
struct ConvTensors {
  const float *x = nullptr, *w = nullptr, *bias = nullptr, *dy = nullptr;
  float *y = nullptr, *dx = nullptr, *dw = nullptr;
  bool adds = false;  // to what is in dw
  void *prepared = nullptr, *scratch = nullptr;
  void* moments = nullptr;  // of y; null: not wanted
};

// A way to carry out one step of a convolution, by kernels on the thread's current stream.
class ConvWay {
 public:
  virtual ~ConvWay() = default;
  // "tensor", "plain", ..: tells the ways of a step apart, in this process and another.
  virtual std::string name() const = 0;
  virtual int64_t prepared_bytes() const { return 0; }
  virtual int64_t scratch_bytes() const { return 0; }
  // Makes `prepared` from w, which holds until w changes.
  virtual void prepare(const ConvTensors& tensors) const { (void)tensors; }
  virtual void run(const ConvTensors& tensors) const = 0;
};

// "tensor", by the kernels of tensor_conv.h: what they cover, else null.
std::unique_ptr<ConvWay> make_tensor_way(const ConvDesc& desc, const OpSite& site, ConvStep step);
// As a matrix product, "plain" in fp32, "matmul" on the tensor cores: any convolution but those of
// more than three axes or 2^31 values, for which it is null.
std::unique_ptr<ConvWay> make_matmul_conv(const ConvDesc& desc, const OpSite& site, ConvStep step,
                                          Precision precision);

// The way of a step, as the site's device has it (CudaDevice::conv_choice): the first of all that
// there are; that which was measured to be the fastest there, now or by another process; or one of
// that name ("cudnn": of its plans the first), else the first. Null: there is none.
std::unique_ptr<ConvWay> choose_conv(const ConvDesc& desc, const OpSite& site, ConvStep step);

// How the site's device chooses; the first, where it is not there.
std::string conv_choice(const OpSite& site);
inline constexpr const char *kFirstConv = "first", *kMeasuredConv = "measured",
                            *kCudnnConv = "cudnn", *kTensorConv = "tensor";
// Which BatchNorms are left to the convolutions behind them (ConvDesc::prologue), where both can:
// those where that is faster by the model of prologue_cost; all; none. PYCAFFE_CLR_PROLOGUE says
// so; throws a config error for a word that is unknown.
enum class Prologues { model, always, never };
Prologues prologues_of_environment();
// What PYCAFFE_CLR_CONVOLUTION says, or, where it says nothing, `usual`. Throws a config error for
// a word that is unknown.
std::string conv_choice_of_environment(const std::string& usual);

}  // namespace pcc::cuda
