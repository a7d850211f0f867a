#include "backends/onednn/makers.h"
namespace pcc::onednn {
std::unique_ptr<Op> make_conv(const ConvDesc&, const OpSite&) { return nullptr; }
LayoutChoice vote_conv(const ConvDesc&, const OpSite& site) { return vote_plain(site); }
}  // namespace pcc::onednn
