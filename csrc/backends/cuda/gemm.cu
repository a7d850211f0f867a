// InnerProduct: y (M, N) = x (M, K) times the transpose of w (N, K), or times w (K, N).
#include "backends/cuda/conv_way.h"
#include "backends/cuda/makers.h"
#include "backends/cuda/product.cuh"

namespace pcc::cuda {

namespace {

class GemmOp : public CudaOp {
 public:
  GemmOp(const GemmDesc& desc, const OpSite& site)
      : CudaOp(site),
        precision_(site.device->precision()),
        m_(static_cast<uint32_t>(desc.m)),
        k_(static_cast<uint32_t>(desc.k)),
        n_(static_cast<uint32_t>(desc.n)),
        transpose_(desc.transpose),
        bias_(desc.bias),
        forward_(m_, n_, k_),
        data_(m_, k_, n_),
        weights_(transpose_ ? MatmulShape(k_, n_, m_) : MatmulShape(n_, k_, m_)) {}

  void forward(const Context&) override {
    const View w = weights();
    multiply(forward_, {in(0), k_, 1}, {w.data, w.column, w.row}, bias_ ? param(1) : nullptr, out(),
             false, precision_, buffers_.scratch);
  }
  std::string implementation() const override {
    return precision_ == Precision::fp32 ? "cuda" : "cuda tensor";
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = forward_.scratch_bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {site_.want_dparam[0]};
    needs.overwrites_dparams = true;
    needs.backward_again = dy_again();
    needs.backward_scratch =
        std::max({data_.scratch_bytes(), weights_.scratch_bytes(), columns().scratch_bytes()});
  }
  void differentiate(const Context& context) override {
    const float* dy = dout();
    void* const scratch = buffers_.backward_scratch;
    if (dparam(0)) {
      const View x = {in(0), k_, 1}, y = {dy, n_, 1};
      const View x_transposed = {in(0), 1, k_}, y_transposed = {dy, 1, n_};
      multiply(weights_, transpose_ ? x_transposed : y_transposed, transpose_ ? y : x, nullptr,
               dparam(0), !overwrites(context, 0), weight_precision(precision_), scratch);
    }
    if (bias_ && dparam(1))
      bias_gradient(columns(), dy, {dparam(1), !overwrites(context, 1)}, scratch);
    if (din(0))
      multiply(data_, {dy, n_, 1}, weights(), nullptr, din(0), false, precision_, scratch);
  }

 private:
  // As (N, K).
  View weights() const { return transpose_ ? View{param(0), 1, n_} : View{param(0), k_, 1}; }
  Channels columns() const { return {m_, n_, 1}; }

  Precision precision_;
  uint32_t m_, k_, n_;
  bool transpose_, bias_;
  MatmulShape forward_, data_, weights_;
};

}  // namespace

std::unique_ptr<Op> make_gemm(const GemmDesc& desc, const OpSite& site) {
  return std::make_unique<GemmOp>(desc, site);
}

}  // namespace pcc::cuda
