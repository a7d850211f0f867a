// What the CPU backend can build: one maker and one vote per descriptor. A maker answers null for a
// case it does not cover (the planner then takes the reference op); a vote says which layouts it
// would like.
#pragma once

#include <memory>
#include <optional>

#include "ops/op.h"

namespace pcc::cpu {

// The convolutions that no other is faster than: null, and an empty vote, where none of them suits.
std::unique_ptr<Op> make_fast_conv(const ConvDesc& desc, const OpSite& site);
std::optional<LayoutChoice> vote_fast_conv(const ConvDesc& desc, const OpSite& site);
// For all the others.
std::unique_ptr<Op> make_columns_conv(const ConvDesc& desc, const OpSite& site);
// Whether the kernels for plain layout are the fastest for this convolution.
bool direct_conv_suits(const ConvDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_direct_conv(const ConvDesc& desc, const OpSite& site);
// Whether Winograd's algorithm along the rows is; make_fast_conv asks this first.
bool winograd_rows_suits(const ConvDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_winograd_rows_conv(const ConvDesc& desc, const OpSite& site);
// The layout of both values if Winograd's algorithm is the fastest for this convolution.
std::optional<Layout> winograd_suits(const ConvDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_winograd_conv(const ConvDesc& desc, const OpSite& site);

std::unique_ptr<Op> make_gemm(const GemmDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_recurrent(const RecurrentDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_pool(const PoolDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_norm_act(const NormActDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_lrn(const LrnDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_affine(const AffineDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_pointwise(const PointwiseDesc& desc, const OpSite& site);
// For all functions but relu, sigmoid and prelu.
std::unique_ptr<Op> make_activation(const PointwiseDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_dropout(const DropoutDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_eltwise(const EltwiseDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_concat(const ConcatDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_slice(const SliceDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_softmax_loss(const SoftmaxLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_accuracy(const AccuracyDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_fill(const FillDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_transform(const TransformDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_reorder(const ReorderDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_sum(const SumDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_update(const UpdateDesc& desc, const OpSite& site);

// Votes. site.out has its shapes, but its layouts are not known yet.
LayoutChoice vote_plain(const OpSite& site);
// Every input and output in one layout, that of the first input not plain which all of them can
// have: for whatever works element by element or channel by channel.
LayoutChoice vote_follow(const OpSite& site);
LayoutChoice vote_pool(const PoolDesc& desc, const OpSite& site);
LayoutChoice vote_affine(const AffineDesc& desc, const OpSite& site);
LayoutChoice vote_concat(const ConcatDesc& desc, const OpSite& site);
LayoutChoice vote_slice(const SliceDesc& desc, const OpSite& site);

// Whether kernels of ours or oneDNN's can serve: float32, and something to compute (the plain loops
// do nothing well enough, and oneDNN need not be asked about sizes of zero).
bool has_kernels(const OpSite& site);

// Whether backward must compute the gradient of input 0; of any parameter.
inline bool wants_data(const OpSite& site) { return !site.want_din.empty() && site.want_din[0]; }
inline bool wants_weights(const OpSite& site) {
  for (const bool want : site.want_dparam)
    if (want) return true;
  return false;
}

// Whether a value of that shape can lie in that layout.
bool can_have(const Shape& shape, Layout layout);

}  // namespace pcc::cpu
