#include "backends/onednn/makers.h"
namespace pcc::onednn {
std::unique_ptr<Op> make_pool(const PoolDesc&, const OpSite&) { return nullptr; }
LayoutChoice vote_pool(const PoolDesc&, const OpSite& site) { return vote_follow(site); }
}  // namespace pcc::onednn
