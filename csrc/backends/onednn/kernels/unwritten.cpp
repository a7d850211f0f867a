// Descriptors that no kernel answers yet: the reference backend's plain loops carry them out.
#include "backends/onednn/makers.h"

namespace pcc::onednn {

std::unique_ptr<Op> make_lrn(const LrnDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_affine(const AffineDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_pointwise(const PointwiseDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_dropout(const DropoutDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_eltwise(const EltwiseDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_concat(const ConcatDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_slice(const SliceDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_softmax_loss(const SoftmaxLossDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_accuracy(const AccuracyDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_fill(const FillDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_transform(const TransformDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_sum(const SumDesc&, const OpSite&) { return nullptr; }
std::unique_ptr<Op> make_update(const UpdateDesc&, const OpSite&) { return nullptr; }

}  // namespace pcc::onednn
