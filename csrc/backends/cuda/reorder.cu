// Values from one form to another: channels first or last, float32 or bf16.
#include "backends/cuda/makers.h"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

template <typename From, typename To>
struct Convert {
  const From* x;
  To* y;
  __device__ void operator()(int64_t i) const { y[i] = stored<To>(number(x[i])); }
};

constexpr int kSide = 32, kHigh = kBlock / kSide;

// y (batch, columns, rows) = the transposes of x (batch, rows, columns). A block takes a tile of
// 32 x 32; blockIdx: its column, its row, the matrix.
template <typename From, typename To>
__global__ void __launch_bounds__(kBlock) transpose(int rows, int columns, const From* x, To* y) {
  __shared__ float tile[kSide][kSide + 1];
  const int across = static_cast<int>(threadIdx.x) % kSide;
  const int down = static_cast<int>(threadIdx.x) / kSide;
  const int row = static_cast<int>(blockIdx.y) * kSide;
  const int column = static_cast<int>(blockIdx.x) * kSide;
  const int64_t first = int64_t{blockIdx.z} * rows * columns;
  for (int k = down; k < kSide; k += kHigh)
    if (row + k < rows && column + across < columns)
      tile[k][across] = number(x[first + int64_t{row + k} * columns + column + across]);
  __syncthreads();
  for (int k = down; k < kSide; k += kHigh)
    if (column + k < columns && row + across < rows)
      y[first + int64_t{column + k} * rows + row + across] = stored<To>(tile[across][k]);
}

template <typename From, typename To>
void reorder(const Tensor& from, const Tensor& to) {
  const auto* const x = from.as<const From>();
  auto* const y = to.as<To>();
  const Shape& shape = from.shape();
  const bool same = from.spec.layout == to.spec.layout || shape[1] == 1 || shape.count(2) == 1;
  if (same) return for_each(from.count(), Convert<From, To>{x, y});
  // A grid has at most 65535 matrices.
  constexpr int64_t kMost = 65535;
  const int64_t channels = shape[1], area = shape.count(2), each = channels * area;
  const bool last = to.spec.layout == Layout::nhwc;
  const int64_t rows = last ? channels : area, columns = last ? area : channels;
  const auto tiles = [](int64_t size) { return (size + kSide - 1) / kSide; };
  for (int64_t n = 0; n < shape[0]; n += kMost)
    launch(transpose<From, To>, {tiles(columns), tiles(rows), std::min(kMost, shape[0] - n)},
           kBlock, 0, static_cast<int>(rows), static_cast<int>(columns), x + n * each,
           y + n * each);
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
