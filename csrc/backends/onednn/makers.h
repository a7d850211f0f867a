// What oneDNN builds, and what it would like. A maker answers null for a case it does not cover.
#pragma once

#include <memory>

#include "backends/cpu/makers.h"

namespace pcc::onednn {

using cpu::can_have;
using cpu::vote_plain;
using cpu::wants_data;
using cpu::wants_weights;

std::unique_ptr<Op> make_conv(const ConvDesc& desc, const OpSite& site);
LayoutChoice vote_conv(const ConvDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_reorder(const ReorderDesc& desc, const OpSite& site);
std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site);

}  // namespace pcc::onednn
