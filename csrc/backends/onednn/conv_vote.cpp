// Which layouts a convolution would like: those in which oneDNN has a compiled kernel for every
// step that will run.
#include <map>
#include <mutex>

#include "backends/onednn/conv_plan.h"
#include "backends/onednn/makers.h"

namespace pcc::onednn {

namespace {

using Pair = std::pair<Layout, Layout>;  // of x and y

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

// Points off for a step: most for a missing one, then plain loops, then a detour over im2col, then
// a kernel that leaves the wide vectors of the processor unused.
int penalty(const std::optional<ConvStep>& step) {
  static const bool wide = dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core;
  if (!step) return 1000;
  if (contains(step->implementation, "ref")) return 100;
  if (contains(step->implementation, "gemm:")) return 10;
  return wide && !contains(step->implementation, "avx512") ? 1 : 0;
}

int penalty(const ConvDesc& desc, const OpSite& site, const Pair& pair) {
  const ConvPlan plan(desc, site, describe(site.in[0].shape, pair.first),
                      describe(site.out[0].shape, pair.second));
  int sum = penalty(plan.forward(false));
  if (sum < 1000 && wants_data(site)) sum += penalty(plan.backward_data(false));
  if (sum < 1000 && wants_weights(site)) sum += penalty(plan.backward_weights(false));
  return sum;
}

// The favourite first, so that it wins among equals.
std::vector<Pair> candidates(const ConvDesc& desc, const OpSite& site) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  std::vector<Pair> all;
  const auto add = [&](Layout in, Layout out) {
    if (can_have(x, in) && can_have(y, out)) all.emplace_back(in, out);
  };
  // A value that already lies channels last stays so: brgemm kernels are as fast there, and a chain
  // of concatenations with odd numbers of channels (DenseNet) is spared reorders.
  if (site.in[0].layout == Layout::nhwc) add(Layout::nhwc, Layout::nhwc);
  const auto any = [](const Shape& shape) {
    return dnnl::memory::desc(shape.dims(), dnnl::memory::data_type::f32,
                              dnnl::memory::format_tag::any);
  };
  const std::vector<Layout> layouts = {Layout::c16, Layout::c8, Layout::nhwc, Layout::plain};
  if (!desc.transposed) {
    const std::optional<ConvPlan::Chosen> chosen = ConvPlan(desc, site, any(x), any(y)).chosen();
    for (const Layout in : layouts)
      for (const Layout out : layouts)
        if (chosen && can_have(x, in) && can_have(y, out) && chosen->x == describe(x, in) &&
            chosen->y == describe(y, out))
          add(in, out);
  }
  for (const Layout layout : layouts) {
    add(layout, layout);
    add(Layout::plain, layout);  // the first layer: few channels in
  }
  return all;
}

LayoutChoice decide(const ConvDesc& desc, const OpSite& site) {
  Pair best = {Layout::plain, Layout::plain};
  int least = 1 << 30;
  for (const Pair& pair : candidates(desc, site)) {
    const int points = penalty(desc, site, pair);
    if (points < least) {
      least = points;
      best = pair;
    }
    if (least == 0) break;
  }
  return {{best.first}, {best.second}};
}

std::string key_of(const ConvDesc& desc, const OpSite& site) {
  std::string key =
      concat(site.in[0].shape, ' ', site.out[0].shape, ' ', name_of(site.in[0].layout), ' ',
             desc.group, desc.bias, desc.transposed, wants_data(site), wants_weights(site));
  for (const std::vector<int64_t>* list : {&desc.kernel, &desc.stride, &desc.pad, &desc.dilation})
    for (const int64_t number : *list) key += ' ' + std::to_string(number);
  return key;
}

}  // namespace

LayoutChoice vote_conv(const ConvDesc& desc, const OpSite& site) {
  if (site.in[0].shape.axes() != 4) return vote_plain(site);
  if (const std::optional<LayoutChoice> own = cpu::vote_fast_conv(desc, site)) return *own;
  // A deep net asks the same question dozens of times, and oneDNN takes its time to answer.
  static std::mutex mutex;
  static std::map<std::string, LayoutChoice> known;
  const std::string key = key_of(desc, site);
  {
    const std::lock_guard lock(mutex);
    const auto found = known.find(key);
    if (found != known.end()) return found->second;
  }
  const LayoutChoice choice =
      guarded(site.name, "choose layouts", [&] { return decide(desc, site); });
  const std::lock_guard lock(mutex);
  return known[key] = choice;
}

}  // namespace pcc::onednn
