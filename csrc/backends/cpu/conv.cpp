// Which of the fast convolutions suits where.
#include "backends/cpu/makers.h"

namespace pcc::cpu {

std::unique_ptr<Op> make_fast_conv(const ConvDesc& desc, const OpSite& site) {
  const Layout in = site.in[0].layout, out = site.out[0].layout;
  if (in == Layout::plain && out == Layout::plain) {
    if (winograd_rows_suits(desc, site)) return make_winograd_rows_conv(desc, site);
    if (direct_conv_suits(desc, site)) return make_direct_conv(desc, site);
  }
  const std::optional<Layout> blocks = winograd_suits(desc, site);
  if (blocks && in == *blocks && out == *blocks) return make_winograd_conv(desc, site);
  return nullptr;
}

std::optional<LayoutChoice> vote_fast_conv(const ConvDesc& desc, const OpSite& site) {
  if (direct_conv_suits(desc, site)) return vote_plain(site);
  const std::optional<Layout> blocks = winograd_suits(desc, site);
  if (blocks && site.in[0].layout != Layout::nhwc) return LayoutChoice{{*blocks}, {*blocks}};
  return std::nullopt;
}

}  // namespace pcc::cpu
