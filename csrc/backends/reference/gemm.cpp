// InnerProduct: y (M, N) = x (M, K) times the transpose of w (N, K), or times w (K, N).
#include "backends/reference/matrix.h"
#include "backends/reference/reference_op.h"

namespace pcc::reference {
namespace {

template <typename T>
class Gemm : public ReferenceOp<T> {
 public:
  Gemm(const GemmDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context&) override {
    const auto [m, k, n, transpose, has_bias] = desc_;
    T* y = this->out();
    multiply_parallel<T>(m, n, k, {this->in(0), k, 1}, weights().transposed(), y, n, false);
    if (!has_bias) return;
    const T* bias = this->param(1);
    for_each_piece(m, n, [=, n = n](int64_t row) {
      for (int64_t j = 0; j < n; ++j) y[row * n + j] += bias[j];
    });
  }
  std::string implementation() const override { return "matrix product"; }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = {this->site_.want_dparam[0]}; }
  void differentiate(const Context& context) override {
    const auto [m, k, n, transpose, has_bias] = desc_;
    const T *x = this->in(0), *dy = this->dout();
    if (T* dw = this->dparam(0)) {
      const bool add = !this->overwrites(context, 0);
      if (transpose)  // (K, N)
        multiply_parallel<T>(k, n, m, {x, 1, k}, {dy, n, 1}, dw, n, add);
      else  // (N, K)
        multiply_parallel<T>(n, k, m, {dy, 1, n}, {x, k, 1}, dw, k, add);
    }
    if (has_bias && this->dparam(1))
      for_each_piece(n, m, [=, this, m = m, n = n](int64_t j) {
        this->give(context, 1, j, sum_of(m, [=](int64_t i) { return dy[i * n + j]; }));
      });
    if (T* dx = this->din(0)) multiply_parallel<T>(m, k, n, {dy, n, 1}, weights(), dx, k, false);
  }

 private:
  // As (N, K).
  MatrixView<T> weights() const {
    const T* w = this->param(0);
    return desc_.transpose ? MatrixView<T>{w, 1, desc_.n} : MatrixView<T>{w, desc_.k, 1};
  }
  GemmDesc desc_;
};

}  // namespace

PCC_REFERENCE_OP(GemmDesc, Gemm)

}  // namespace pcc::reference
