// The oneDNN backend: its convolutions, softmax and changes of layout where kernels of our own do
// not serve; everything else is the CPU backend's.
#include "backends/onednn/makers.h"
#include "ops/backends.h"

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
  OnednnBackend() : cpu_(backend("cpu")) {}

  std::string name() const override { return "onednn"; }

  LayoutChoice layouts(const OpDesc& desc, const OpSite& site) const override {
    const ConvDesc* const conv = std::get_if<ConvDesc>(&desc);
    if (conv && cpu::has_kernels(site)) return onednn::vote_conv(*conv, site);
    return cpu_.layouts(desc, site);
  }

  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    if (cpu::has_kernels(site))
      if (std::unique_ptr<Op> made = std::visit(Maker{site}, desc)) return made;
    return cpu_.make(desc, site);
  }

 private:
  const Backend& cpu_;
};

std::unique_ptr<const Backend> make_onednn_backend() { return std::make_unique<OnednnBackend>(); }

}  // namespace

}  // namespace pcc

PCC_BACKEND_MODULE(pcc::make_onednn_backend)
