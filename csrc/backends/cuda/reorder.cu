// Values from one form to another: channels first or last, float32 or bf16.
#include "backends/cuda/makers.h"
#include "backends/cuda/transpose.cuh"

namespace pcc::cuda {

namespace {

template <typename From, typename To>
struct Convert {
  const From* x;
  To* y;
  __device__ void operator()(int64_t i) const { y[i] = stored<To>(number(x[i])); }
};

template <typename From, typename To>
void reorder(const Tensor& from, const Tensor& to) {
  const auto* const x = from.as<const From>();
  auto* const y = to.as<To>();
  const Shape& shape = from.shape();
  const bool same = from.spec.layout == to.spec.layout || shape[1] == 1 || shape.count(2) == 1;
  if (same) return for_each(from.count(), Convert<From, To>{x, y});
  const int64_t channels = shape[1], area = shape.count(2);
  const bool last = to.spec.layout == Layout::nhwc;
  transpose(shape[0], last ? channels : area, last ? area : channels, x, y);
}

void reorder(const Tensor& from, const Tensor& to) {
  const bool to_float = to.spec.dtype == DType::f32;
  if (from.spec.dtype == DType::f32)
    to_float ? reorder<float, float>(from, to) : reorder<float, BFloat16>(from, to);
  else
    to_float ? reorder<BFloat16, float>(from, to) : reorder<BFloat16, BFloat16>(from, to);
}

class Reorder : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override { reorder(buffers_.in[0], buffers_.out[0]); }
  void differentiate(const Context&) override { reorder(buffers_.dout[0][0], buffers_.din[0]); }
};

}  // namespace

std::unique_ptr<Op> make_reorder(const ReorderDesc&, const OpSite& site) {
  return std::make_unique<Reorder>(site);
}

}  // namespace pcc::cuda
