// InnerProduct over oneDNN's sgemm. Its inner_product primitive was no faster for LeNet's shapes,
// and sgemm takes the weights as they lie and adds straight into their gradient.
#include <algorithm>
#include <cstring>

#include "backends/onednn/engine.h"
#include "backends/onednn/makers.h"
#include "core/parallel.h"

namespace pcc::onednn {

namespace {

class GemmOp : public Op {
 public:
  GemmOp(const GemmDesc& desc, const OpSite& site) : desc_(desc), name_(site.name) {
    needs_.in = {trains(site) && site.want_dparam[0]};
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const StepState&) override {
    const auto [m, k, n, transpose, bias] = desc_;
    float* const y = buffers_.out[0].as<float>();
    if (bias) {
      const float* const b = buffers_.params[1].as<float>();
      parallel(m, std::max<int64_t>(1, 16384 / n), [=](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row)
          std::memcpy(y + row * n, b, static_cast<size_t>(n) * sizeof(float));
      });
    }
    // w lies (N, K), or (K, N) where transpose.
    multiply('N', transpose ? 'N' : 'T', m, n, k, buffers_.in[0], k, buffers_.params[0],
             transpose ? n : k, bias ? 1.0f : 0.0f, buffers_.out[0], n);
  }

  void backward(const StepState&) override {
    const auto [m, k, n, transpose, bias] = desc_;
    const bool nothing = buffers_.dout[0].empty();
    const Tensor& dx = buffers_.din[0];
    if (nothing) {
      if (dx) std::memset(dx.data, 0, static_cast<size_t>(m * k) * sizeof(float));
      return;
    }
    const Tensor& dy = buffers_.dout[0][0];
    if (dx)
      multiply('N', transpose ? 'T' : 'N', m, k, n, dy, n, buffers_.params[0], transpose ? n : k,
               0.0f, dx, k);
    const Tensor& dw = buffers_.dparams[0];
    if (dw && transpose)
      multiply('T', 'N', k, n, m, buffers_.in[0], k, dy, n, 1.0f, dw, n);
    else if (dw)
      multiply('T', 'N', n, k, m, dy, n, buffers_.in[0], k, 1.0f, dw, k);
    if (bias && buffers_.dparams[1]) add_rows(dy.as<float>(), buffers_.dparams[1].as<float>());
  }

  std::string implementation() const override { return "sgemm"; }

 private:
  void multiply(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k,
                const Tensor& a, int64_t a_stride, const Tensor& b, int64_t b_stride, float beta,
                const Tensor& c, int64_t c_stride) const {
    const dnnl_status_t status =
        dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.0f, a.as<float>(), a_stride, b.as<float>(),
                   b_stride, beta, c.as<float>(), c_stride);
    if (status != dnnl_success) fail(name_, "multiply matrices", status);
  }

  // Adds the sum over the rows of dy to db. Each thread has columns of its own: the same bits for
  // any number of threads.
  void add_rows(const float* dy, float* db) const {
    const int64_t m = desc_.m, n = desc_.n;
    parallel(n, std::max<int64_t>(16, 16384 / m), [=](int64_t begin, int64_t end, int) {
      for (int64_t row = 0; row < m; ++row)
        for (int64_t column = begin; column < end; ++column) db[column] += dy[row * n + column];
    });
  }

  GemmDesc desc_;
  std::string name_;
  OpNeeds needs_;
};

}  // namespace

std::unique_ptr<Op> make_gemm(const GemmDesc& desc, const OpSite& site) {
  if (site.in[0].layout != Layout::plain) return nullptr;
  return std::make_unique<GemmOp>(desc, site);
}

}  // namespace pcc::onednn
