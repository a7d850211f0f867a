// What the CUDA backend can build: one maker per descriptor. A maker answers null for a case that
// it does not cover (the planner then has the host make up for it).
#pragma once

#include <memory>

#include "ops/op.h"

namespace pcc::cuda {

std::unique_ptr<Op> make_conv(const ConvDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_tensor_conv(const ConvDesc& desc, const OpSite& site);  // channels last
std::unique_ptr<Op> make_pool(const PoolDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_pool_lines(const PoolDesc& desc, const OpSite& site);  // channels last
std::unique_ptr<Op> make_lrn(const LrnDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_norm_act(const NormActDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_norm_lines(const NormActDesc& desc, const OpSite& site);  // channels last
std::unique_ptr<Op> make_affine(const AffineDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_pointwise(const PointwiseDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_prelu_lines(const OpSite& site);  // channels last
// For all functions but relu, sigmoid and prelu.
std::unique_ptr<Op> make_activation(const PointwiseDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_dropout(const DropoutDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_eltwise(const EltwiseDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_recurrent(const RecurrentDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_lstm_unit(const LstmUnitDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_concat(const ConcatDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_slice(const SliceDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_crop(const CropDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_permute(const PermuteDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_tile(const TileDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_im2col(const Im2colDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_batch_reindex(const BatchReindexDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_embed(const EmbedDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_parameter(const ParameterDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_reduction(const ReductionDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_arg_max(const ArgMaxDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_mvn(const MvnDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_normalize(const NormalizeDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_interp(const InterpDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_roi_pool(const RoiPoolDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_gemm(const GemmDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_softmax_loss(const SoftmaxLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_infogain_loss(const InfogainLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_distance_loss(const DistanceLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_smooth_loss(const SmoothLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_hinge_loss(const HingeLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_log_loss(const LogLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_sigmoid_loss(const SigmoidLossDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_accuracy(const AccuracyDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_fill(const FillDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_transform(const TransformDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_field(const FieldDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_tally(const TallyDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_all_reduce(const AllReduceDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_accumulate(const AccumulateDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_reorder(const ReorderDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_sum(const SumDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_update(const UpdateDesc& desc, const OpSite& site);

}  // namespace pcc::cuda
