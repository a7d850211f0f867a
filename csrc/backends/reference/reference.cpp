#include "backends/reference/reference.h"

#include <type_traits>

#include "backends/reference/reference_op.h"
#include "ops/group.h"
#include "ops/host.h"

namespace pcc {
namespace {

// The one type of all tensors of an op.
DType dtype_of(const OpSite& site) {
  for (const auto* specs : {&site.in, &site.out, &site.params})
    if (!specs->empty()) return specs->front().dtype;
  return DType::f32;
}

bool all_plain(const std::vector<TensorSpec>& specs) {
  return std::all_of(specs.begin(), specs.end(),
                     [](const TensorSpec& spec) { return spec.layout == Layout::plain; });
}

class ReferenceBackend : public Backend {
 public:
  std::string name() const override { return "reference"; }
  bool computes(DType) const override { return true; }

  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    const bool any_layout =
        std::holds_alternative<ReorderDesc>(desc) || std::holds_alternative<SumDesc>(desc) ||
        std::holds_alternative<TallyDesc>(desc) || std::holds_alternative<AccumulateDesc>(desc);
    PCC_CHECK(any_layout || (all_plain(site.in) && all_plain(site.out)), "'", site.name,
              "': the reference backend computes '", name_of(desc), "' in plain layouts only");
    return std::visit(
        [&](const auto& each) {
          if constexpr (std::is_same_v<decltype(each), const HostOpDesc&>)
            return make_host_op(each, site);
          else if constexpr (std::is_same_v<decltype(each), const AllReduceDesc&>)
            return make_host_all_reduce(each, site);
          else
            return dtype_of(site) == DType::f32 ? reference::make_op<float>(each, site)
                                                : reference::make_op<double>(each, site);
        },
        desc);
  }
};

}  // namespace

std::unique_ptr<const Backend> make_reference_backend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace pcc
