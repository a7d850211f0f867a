#include "backends/onednn/onednn.h"

#include "backends/cpu/cpu.h"
#include "backends/onednn/makers.h"

namespace pcc {

namespace {

// What oneDNN is asked first; the rest goes on to the CPU backend.
struct Maker {
  const OpSite& site;
  using Made = std::unique_ptr<Op>;

  Made operator()(const ConvDesc& d) const { return onednn::make_conv(d, site); }
  Made operator()(const SoftmaxDesc& d) const { return onednn::make_softmax(d, site); }
  Made operator()(const ReorderDesc& d) const { return onednn::make_reorder(d, site); }
  template <typename Desc>
  Made operator()(const Desc&) const {
    return nullptr;
  }
};

class OnednnBackend : public Backend {
 public:
  std::string name() const override { return "onednn"; }

  LayoutChoice layouts(const OpDesc& desc, const OpSite& site) const override {
    const ConvDesc* const conv = std::get_if<ConvDesc>(&desc);
    if (conv && cpu::has_kernels(site)) return onednn::vote_conv(*conv, site);
    return cpu_backend().layouts(desc, site);
  }

  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    if (cpu::has_kernels(site))
      if (std::unique_ptr<Op> made = std::visit(Maker{site}, desc)) return made;
    return cpu_backend().make(desc, site);
  }
};

}  // namespace

const Backend& onednn_backend() {
  static const OnednnBackend instance;
  return instance;
}

}  // namespace pcc
