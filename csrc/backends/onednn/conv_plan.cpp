#include "backends/onednn/conv_plan.h"

#include <algorithm>

#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

struct Convolution {
  using Forward = dnnl::convolution_forward::primitive_desc;
  using BackwardData = dnnl::convolution_backward_data::primitive_desc;
  using BackwardWeights = dnnl::convolution_backward_weights::primitive_desc;
  static constexpr auto kAlgorithm = dnnl::algorithm::convolution_direct;
};
struct Deconvolution {
  using Forward = dnnl::deconvolution_forward::primitive_desc;
  using BackwardData = dnnl::deconvolution_backward_data::primitive_desc;
  using BackwardWeights = dnnl::deconvolution_backward_weights::primitive_desc;
  static constexpr auto kAlgorithm = dnnl::algorithm::deconvolution_direct;
};

// What all three steps are built from.
struct Geometry {
  const dnnl::memory::desc &x, &weights, &y;
  const dnnl::memory::desc* bias;  // null: none
  const dnnl::memory::dims &stride, &dilation, &pad;
  dnnl::prop_kind kind;
};

template <typename Kind>
typename Kind::Forward forward_of(const Geometry& g) {
  const dnnl::primitive_attr attributes = user_scratchpad();
  if (g.bias)
    return {engine(), g.kind, Kind::kAlgorithm, g.x, g.weights, *g.bias, g.y, g.stride, g.dilation,
            g.pad,    g.pad,  attributes,       true};
  return {engine(), g.kind, Kind::kAlgorithm, g.x, g.weights, g.y, g.stride, g.dilation,
          g.pad,    g.pad,  attributes,       true};
}

template <typename Kind>
typename Kind::BackwardData backward_data_of(const Geometry& g) {
  return {engine(),
          Kind::kAlgorithm,
          g.x,
          g.weights,
          g.y,
          g.stride,
          g.dilation,
          g.pad,
          g.pad,
          forward_of<Kind>(g),
          user_scratchpad(),
          true};
}

// `hint` must outlive the result: going on to another implementation looks at it again.
template <typename Kind>
typename Kind::BackwardWeights backward_weights_of(const Geometry& g,
                                                   const typename Kind::Forward& hint) {
  const dnnl::primitive_attr attributes = user_scratchpad();
  if (g.bias)
    return {engine(), Kind::kAlgorithm, g.x,        g.weights, *g.bias,
            g.y,      g.stride,         g.dilation, g.pad,     g.pad,
            hint,     attributes,       true};
  return {engine(), Kind::kAlgorithm, g.x, g.weights, g.y, g.stride, g.dilation, g.pad, g.pad,
          hint,     attributes,       true};
}

// Goes on to the next implementation where oneDNN 3.2's own cannot be trusted: the weight gradient
// of a strided 1x1 convolution gathers its pixels in scratch memory, and where these lie channels
// last it stores whole vectors of channels, beyond the end of what it asked for if their number is
// no multiple of a vector (seen with AVX2).
template <typename Described>
bool skip_unsafe(Described& described, const dnnl::memory::desc& x,
                 const dnnl::memory::dims& stride) {
  const bool strided = std::any_of(stride.begin(), stride.end(), [](int64_t s) { return s > 1; });
  const bool channels_last = x.get_strides()[1] == 1 && x.get_inner_nblks() == 0;
  if (!strided || !channels_last || x.get_dims()[1] % 16 == 0) return true;
  while (std::string(described.impl_info_str()).find("jit_1x1") != std::string::npos)
    if (!described.next_impl()) return false;
  return true;
}

template <typename Described>
std::optional<ConvStep> step_of(const Described& described, bool compile, bool weights_are_diff) {
  if (!described.get(true)) return std::nullopt;
  ConvStep step;
  if (compile) step.primitive = dnnl::primitive(described.get());
  step.weights = described.query_md(
      weights_are_diff ? dnnl::query::diff_weights_md : dnnl::query::weights_md, 0);
  step.scratchpad = described.query_md(dnnl::query::scratchpad_md, 0);
  step.implementation = described.impl_info_str();
  return step;
}

template <typename Kind>
std::optional<ConvStep> weights_step_of(const Geometry& g, const dnnl::memory::desc& gathered,
                                        bool compile) {
  const typename Kind::Forward hint = forward_of<Kind>(g);
  typename Kind::BackwardWeights described = backward_weights_of<Kind>(g, hint);
  if (!described.get(true) || !skip_unsafe(described, gathered, g.stride)) return std::nullopt;
  return step_of(described, compile, true);
}

// A failed forward description cannot serve as a hint; such a convolution has no implementation at
// all.
template <typename Make>
auto attempt(Make&& make) -> decltype(make()) {
  try {
    return make();
  } catch (const dnnl::error&) {
    return std::nullopt;
  }
}

}  // namespace

ConvPlan::ConvPlan(const ConvDesc& desc, const OpSite& site, const dnnl::memory::desc& x,
                   const dnnl::memory::desc& y)
    : transposed_(desc.transposed),
      has_bias_(desc.bias),
      training_(site.backward()),
      stride_(desc.stride),
      dilation_(desc.dilation),
      pad_(desc.pad),
      x_(x),
      y_(y) {
  for (int64_t& each : dilation_) --each;  // oneDNN counts the holes
  const int64_t inputs = site.in[0].shape[1] / desc.group,
                outputs = site.out[0].shape[1] / desc.group;
  dnnl::memory::dims dims = {desc.group, outputs, inputs}, strides;
  int64_t area = 1;
  for (const int64_t size : desc.kernel) {
    dims.push_back(size);
    area *= size;
  }
  // A transposed convolution's weights lie (inputs, outputs / group, kernel..), a plain one's
  // (outputs, inputs / group, kernel..).
  strides = {outputs * inputs * area, desc.transposed ? area : inputs * area,
             desc.transposed ? outputs * area : area};
  int64_t rest = area;
  for (const int64_t size : desc.kernel) strides.push_back(rest /= size);
  if (desc.group == 1) {
    dims.erase(dims.begin());
    strides.erase(strides.begin());
  }
  plain_weights_ = {dims, dnnl::memory::data_type::f32, strides};
  any_weights_ = {dims, dnnl::memory::data_type::f32, dnnl::memory::format_tag::any};
  bias_ = describe_plain({outputs * desc.group});
}

std::optional<ConvStep> ConvPlan::forward(bool compile) const {
  const Geometry g{
      x_,      any_weights_,
      y_,      has_bias_ ? &bias_ : nullptr,
      stride_, dilation_,
      pad_,    training_ ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference};
  return attempt([&] {
    return transposed_ ? step_of(forward_of<Deconvolution>(g), compile, false)
                       : step_of(forward_of<Convolution>(g), compile, false);
  });
}

std::optional<ConvStep> ConvPlan::backward_data(bool compile) const {
  // The gradient of the input knows no bias.
  const Geometry g{x_,      any_weights_, y_,   nullptr,
                   stride_, dilation_,    pad_, dnnl::prop_kind::forward_training};
  return attempt([&] {
    return transposed_ ? step_of(backward_data_of<Deconvolution>(g), compile, false)
                       : step_of(backward_data_of<Convolution>(g), compile, false);
  });
}

std::optional<ConvStep> ConvPlan::backward_weights(bool compile) const {
  const Geometry g{x_,      any_weights_, y_,   has_bias_ ? &bias_ : nullptr,
                   stride_, dilation_,    pad_, dnnl::prop_kind::forward_training};
  return attempt([&] {
    return transposed_ ? weights_step_of<Deconvolution>(g, y_, compile)
                       : weights_step_of<Convolution>(g, x_, compile);
  });
}

std::optional<ConvPlan::Chosen> ConvPlan::chosen() const {
  const Geometry g{x_,      any_weights_, y_,   has_bias_ ? &bias_ : nullptr,
                   stride_, dilation_,    pad_, dnnl::prop_kind::forward_training};
  return attempt([&]() -> std::optional<Chosen> {
    const auto described = forward_of<Convolution>(g);
    if (!described.get(true)) return std::nullopt;
    return Chosen{described.src_desc(), described.dst_desc()};
  });
}

}  // namespace pcc::onednn
