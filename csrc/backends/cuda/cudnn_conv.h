// cuDNN's convolutions as ways of the CUDA backend.
#pragma once

#include <functional>

#include "backends/cuda/conv_way.h"
#include "backends/cuda/cudnn/plan.h"

namespace pcc::cuda {

// Where such a way runs: cuDNN on the thread's current stream.
using CudnnHere = std::function<const cudnn::Handle&()>;

// Which of an op's tensors are those of the convolution that carries out its step
// (cudnn::convolution_of).
cudnn::Pointers cudnn_pointers(const ConvTensors& tensors, ConvStep step, bool transposed);

// The weights of an op, float32 in plain layout, into those of its convolution, which have channels
// last; and their float32 gradient back, over what is in dw or added to it.
void weights_to_last(const float* w, const TensorSpec& to, void* there);
void gradient_from_last(const float* there, const Shape& shape, float* dw, bool adds);

// cuDNN's plans for a step, the one that should be fastest first, `most` of them, for a device that
// may only be described: then they are not for running, and `here` may be empty. None where cuDNN
// has no such convolution; `refusal`, if given, then says why.
std::vector<std::unique_ptr<ConvWay>> cudnn_convs(const ConvDesc& desc, const OpSite& site,
                                                  ConvStep step, Precision precision,
                                                  const cudnn::Target& target,
                                                  const CudnnHere& here, int most,
                                                  std::string* refusal = nullptr);

}  // namespace pcc::cuda
