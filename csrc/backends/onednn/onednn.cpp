// The oneDNN backend: its convolutions, softmax and changes of layout where kernels of our own do
// not serve; everything else is the CPU backend's.
#include <dnnl.h>

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

// Which convolutions are oneDNN's, and in which layouts, goes by what its kernels call themselves
// (conv_vote.cpp), as measured with this version.
std::string remark_on_version() {
  const dnnl_version_t& found = *dnnl_version();
  if (found.major == 3 && found.minor == 2) return "";
  return concat("oneDNN ", found.major, ".", found.minor, ".", found.patch,
                " is loaded, and its kernels were chosen by measurements with oneDNN 3.2: numbers "
                "may differ in the last digits, and times more");
}

}  // namespace

}  // namespace pcc

PCC_BACKEND_MODULE(pcc::make_onednn_backend, pcc::remark_on_version)
