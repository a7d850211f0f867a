#include "backends/cpu/makers.h"

namespace pcc::cpu {

bool has_kernels(const OpSite& site) {
  for (const std::vector<TensorSpec>* list : {&site.in, &site.out, &site.params})
    for (const TensorSpec& spec : *list)
      if (spec.dtype != DType::f32) return false;
  for (const std::vector<TensorSpec>* list : {&site.in, &site.out})
    for (const TensorSpec& spec : *list)
      if (spec.shape.count() == 0) return false;
  return true;
}

bool can_have(const Shape& shape, Layout layout) {
  if (layout == Layout::plain) return true;
  return shape.axes() == 4 && shape[1] % block_of(layout) == 0;
}

LayoutChoice vote_plain(const OpSite& site) {
  return {std::vector<Layout>(site.in.size(), Layout::plain),
          std::vector<Layout>(site.out.size(), Layout::plain)};
}

namespace {

LayoutChoice all(const OpSite& site, Layout layout) {
  return {std::vector<Layout>(site.in.size(), layout),
          std::vector<Layout>(site.out.size(), layout)};
}

bool everyone_can_have(const OpSite& site, Layout layout) {
  for (const TensorSpec& spec : site.in)
    if (!can_have(spec.shape, layout)) return false;
  for (const TensorSpec& spec : site.out)
    if (!can_have(spec.shape, layout)) return false;
  return true;
}

}  // namespace

LayoutChoice vote_follow(const OpSite& site) {
  for (const TensorSpec& spec : site.in)
    if (spec.layout != Layout::plain && everyone_can_have(site, spec.layout))
      return all(site, spec.layout);
  return all(site, Layout::plain);
}

LayoutChoice vote_concat(const ConcatDesc& desc, const OpSite& site) {
  return desc.axis <= 1 ? vote_follow(site) : vote_plain(site);
}

LayoutChoice vote_slice(const SliceDesc& desc, const OpSite& site) {
  return desc.axis <= 1 ? vote_follow(site) : vote_plain(site);
}

}  // namespace pcc::cpu
