// InnerProduct: y (M, N) = x (M, K) times the transpose of w (N, K), or times w (K, N).
#include "backends/cuda/conv_way.h"
#include "backends/cuda/makers.h"
#include "backends/cuda/tensor_matmul.cuh"

namespace pcc::cuda {

namespace {

// A matrix seen through strides, so that a transpose is a view. At most 2^32 elements.
struct View {
  const float* data;
  uint32_t row, column;  // elements from one row, one column to the next
  __device__ float at(uint32_t i, uint32_t j) const { return data[i * row + j * column]; }
};

// C = A B [+ bias, one for each column], or, with `adds`, C += A B; C lies row by row.
template <bool kAlongA, bool kAlongB>
struct Product {
  static constexpr bool a_along_depth = kAlongA, b_along_depth = kAlongB;
  View left, right;
  const float* bias;
  float* c;
  uint32_t width;
  bool adds;

  __device__ float a(uint32_t, uint32_t row, uint32_t k) const { return left.at(row, k); }
  __device__ float b(uint32_t, uint32_t k, uint32_t column) const { return right.at(k, column); }
  __device__ void store(uint32_t, uint32_t row, uint32_t column, float sum) const {
    float& to = c[row * width + column];
    to = adds ? to + sum : bias ? sum + bias[column] : sum;
  }
};

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
    const int64_t gradients = std::count(site_.want_dparam.begin(), site_.want_dparam.end(), true) +
                              (site_.want_din[0] ? 1 : 0);
    needs.backward_again = (gradients - 1) * site_.out[0].bytes();  // each reads dy
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
  static void multiply(const MatmulShape& shape, const View& a, const View& b, const float* bias,
                       float* c, bool adds, Precision precision, void* scratch) {
    const bool a_deep = a.column == 1, b_deep = b.column != 1;
    if (a_deep && b_deep)
      matmul(shape, Product<true, true>{a, b, bias, c, shape.columns, adds}, precision, scratch);
    else if (a_deep)
      matmul(shape, Product<true, false>{a, b, bias, c, shape.columns, adds}, precision, scratch);
    else
      matmul(shape, Product<false, false>{a, b, bias, c, shape.columns, adds}, precision, scratch);
  }
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
