// How ops of the CUDA backend would like their values to lie.
#pragma once

#include "ops/op.h"

namespace pcc::cuda {

// Everything float32 in plain layout, but for what convolutions on the tensor cores make and take
// (tf32 and bf16), and what stands between them: there channels are last, in bf16 where the
// products are. site.in: as they lie now.
FormChoice choose_forms(const OpDesc& desc, const OpSite& site);
// Whether an op was made for such a site. What is not plain float32 only some take.
bool takes_forms(const OpDesc& desc, const OpSite& site);
// Backend::gives_moments and prologue_cost.
bool gives_moments(const ConvDesc& desc, const OpSite& site);
std::optional<int64_t> prologue_cost(const ConvDesc& desc, const OpSite& site);

}  // namespace pcc::cuda
