// The three primitives of a convolution, or of a transposed one, for given layouts; also asked
// which layouts are fast.
#pragma once

#include <optional>
#include <string>

#include "backends/onednn/engine.h"

namespace pcc::onednn {

// One primitive, and the memory it wants.
struct ConvStep {
  dnnl::primitive primitive;
  dnnl::memory::desc weights, scratchpad;
  std::string implementation;
};

// Descriptions of x and y for one convolution, with `any` where oneDNN is free to choose.
class ConvPlan {
 public:
  ConvPlan(const ConvDesc& desc, const OpSite& site, const dnnl::memory::desc& x,
           const dnnl::memory::desc& y);

  // The weights as our parameters lie, in oneDNN's order of axes: ([groups,] outputs, inputs,
  // kernel..).
  const dnnl::memory::desc& plain_weights() const { return plain_weights_; }
  const dnnl::memory::desc& bias() const { return bias_; }

  // Empty where oneDNN has no implementation. Primitives are compiled only on request: a vote needs
  // just their names.
  std::optional<ConvStep> forward(bool compile) const;
  std::optional<ConvStep> backward_data(bool compile) const;
  std::optional<ConvStep> backward_weights(bool compile) const;

  // What the forward step made of x and y: tells what oneDNN chose for `any`.
  struct Chosen {
    dnnl::memory::desc x, y;
  };
  std::optional<Chosen> chosen() const;

 private:
  bool transposed_, has_bias_, training_;
  dnnl::memory::dims stride_, dilation_, pad_;
  dnnl::memory::desc x_, y_, plain_weights_, any_weights_, bias_;
};

}  // namespace pcc::onednn
