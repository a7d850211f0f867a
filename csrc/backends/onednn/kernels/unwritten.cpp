// Descriptors that no kernel answers yet: the reference backend's plain loops carry them out.
#include "backends/onednn/makers.h"

namespace pcc::onednn {

std::unique_ptr<Op> make_affine(const AffineDesc&, const OpSite&) { return nullptr; }

}  // namespace pcc::onednn
