// Reduction, ArgMax and MVN: numbers taken from rows.
#include <limits>

#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/classes.h"

namespace pcc::cuda {

namespace {

// Threads of a block that takes a row.
int64_t threads_for(int64_t size) {
  return std::min<int64_t>((size + kWarp - 1) / kWarp * kWarp, kBlock);
}
int64_t room_for(int64_t size) { return threads_for(size) * static_cast<int64_t>(sizeof(Sums)); }

using Operation = ReductionDesc::Operation;

struct Part {
  Operation operation;
  const float* x;
  __device__ Sums operator()(int64_t, int64_t i) const {
    const float number = operation == Operation::sum          ? x[i]
                         : operation == Operation::magnitudes ? fabsf(x[i])
                                                              : x[i] * x[i];
    return {static_cast<double>(number), 0};
  }
};
struct Total {
  ChannelSums sums;
  double coeff;
  float* y;
  __device__ void operator()(int64_t row) const {
    y[row] = static_cast<float>(coeff * sums(row).a);
  }
};
struct ReductionBackward {
  Operation operation;
  int64_t size;
  float coeff;
  const float *x, *dy;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const float g = coeff * dy[divide(i, size).whole];
    switch (operation) {
      case Operation::sum:
        dx[i] = g;
        break;
      case Operation::magnitudes:
        dx[i] = x[i] > 0 ? g : x[i] < 0 ? -g : 0.0f * g;
        break;
      case Operation::squares:
        dx[i] = 2 * g * x[i];
        break;
    }
  }
};

// The rows are the channels of sum_channels.
class ReductionOp : public CudaOp {
 public:
  ReductionOp(const ReductionDesc& desc, const OpSite& site)
      : CudaOp(site),
        desc_(desc),
        seen_{1, in_shape(0).count(0, desc.axis), in_shape(0).count(desc.axis)} {}

  void forward(const Context&) override {
    const ChannelSums sums = sum_channels(seen_, Part{desc_.operation, in(0)}, buffers_.scratch);
    for_each(seen_.dim, Total{sums, desc_.coeff, out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = seen_.scratch_bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {desc_.operation != Operation::sum};
  }
  void differentiate(const Context&) override {
    if (din(0))
      for_each(in_count(),
               ReductionBackward{desc_.operation, seen_.inner, static_cast<float>(desc_.coeff),
                                 in(0), dout(), din(0)});
  }

 private:
  ReductionDesc desc_;
  Channels seen_;
};

// A number and its place; the better one is larger, or of ties the later.
struct Ranked {
  float value = 0;
  int32_t place = -1;  // none
  __device__ bool beats(const Ranked& other) const {
    if (place < 0 || other.place < 0) return other.place < 0 && place >= 0;
    return value > other.value || (value == other.value && place > other.place);
  }
};
inline __device__ Ranked shuffle_xor(const Ranked& ranked, int lanes) {
  return {cuda::shuffle_xor(ranked.value, lanes), cuda::shuffle_xor(ranked.place, lanes)};
}
struct Better {
  __device__ Ranked operator()(const Ranked& a, const Ranked& b) const {
    return b.beats(a) ? b : a;
  }
};

// `lanes` threads for each column go over it once for each of the top_k. pairs: places, then
// values; else the one or the other. What is no number is never among them, and place 0 stands for
// those that then lack.
__global__ void __launch_bounds__(kBlock)
    arg_max(Columns columns, int lanes, int64_t top_k, bool pairs, bool values, const float* x,
            float* y) {
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int64_t inner = columns.inner;
  for (int64_t column = first_element() / lanes; column < columns.count();
       column += element_stride() / lanes) {
    const float* const from = x + columns.first(column);
    float* const to = y + column / inner * (pairs ? 2 : 1) * top_k * inner + column % inner;
    Ranked last;
    for (int64_t k = 0; k < top_k; ++k) {
      Ranked best;
      for (int64_t c = lane; c < columns.classes; c += lanes) {
        const Ranked one = {from[c * inner], static_cast<int32_t>(c)};
        if (one.value == one.value && (k == 0 || last.beats(one)) && one.beats(best)) best = one;
      }
      best = warp_fold(best, Better{}, lanes);
      if (best.place < 0) best = {from[0], 0};
      last = best;
      if (lane != 0) continue;
      to[k * inner] = values && !pairs ? best.value : static_cast<float>(best.place);
      if (pairs) to[(top_k + k) * inner] = best.value;
    }
  }
}

class ArgMaxOp : public CudaOp {
 public:
  ArgMaxOp(const ArgMaxDesc& desc, const OpSite& site)
      : CudaOp(site),
        desc_(desc),
        columns_(desc.axis >= 0 ? Columns(in_shape(0), desc.axis)
                                : Columns(Shape{in_shape(0)[0], in_shape(0).count(1)}, 1)),
        lanes_(columns_.inner == 1 && columns_.classes > kWarp ? kWarp : 1) {}

  void forward(const Context&) override {
    launch(arg_max, grid_for(columns_.count() * lanes_), kBlock, 0, columns_, lanes_, desc_.top_k,
           desc_.axis < 0 && desc_.values, desc_.values, in(0), out());
  }

 private:
  ArgMaxDesc desc_;
  Columns columns_;
  int lanes_;
};

// A block for each row: its mean, the deviation from that, then y. divisors: null, or where
// backward finds what each row was divided by.
__global__ void __launch_bounds__(kBlock)
    mvn(int64_t size, bool variance, double eps, const float* x, float* y, float* divisors) {
  PCC_DYNAMIC_SHARED(double, room);
  const auto n = static_cast<double>(size);
  const int64_t first = blockIdx.x * size, end = first + size;
  double sum = 0;
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) sum += static_cast<double>(x[i]);
  const auto mean = static_cast<float>(block_sum(sum, room) / n);
  float divisor = 1;
  if (variance) {
    double squares = 0;
    for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x)
      squares += static_cast<double>((x[i] - mean) * (x[i] - mean));
    divisor = static_cast<float>(sqrt(block_sum(squares, room) / n) + eps);
  }
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x) y[i] = (x[i] - mean) / divisor;
  if (threadIdx.x == 0 && divisors) divisors[blockIdx.x] = divisor;
}

// y: null where the rows were not divided.
__global__ void __launch_bounds__(kBlock)
    mvn_backward(int64_t size, const float* y, const float* dy, const float* divisors, float* dx) {
  PCC_DYNAMIC_SHARED(Sums, room);
  const auto n = static_cast<double>(size);
  const int64_t first = blockIdx.x * size, end = first + size;
  Sums sums;
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x)
    sums = sums + Sums{static_cast<double>(dy[i]), y ? static_cast<double>(y[i] * dy[i]) : 0.0};
  sums = block_sum(sums, room);
  const auto mean = static_cast<float>(sums.a / n), along = static_cast<float>(sums.b / n);
  const float divisor = divisors[blockIdx.x];
  for (int64_t i = first + threadIdx.x; i < end; i += blockDim.x)
    dx[i] = (dy[i] - mean - (y ? along * y[i] : 0.0f)) / divisor;
}

class MvnOp : public CudaOp {
 public:
  MvnOp(const MvnDesc& desc, const OpSite& site)
      : CudaOp(site),
        desc_(desc),
        rows_(in_shape(0).count(0, desc.axis)),
        size_(in_shape(0).count(desc.axis)) {}

  void forward(const Context&) override {
    launch(mvn, rows_, threads_for(size_), room_for(size_), size_, desc_.variance, desc_.eps, in(0),
           out(), trains() ? divisors() : nullptr);
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.out = {desc_.variance};
    needs.stash_bytes = rows_ * static_cast<int64_t>(sizeof(float));
  }
  void differentiate(const Context&) override {
    if (din(0))
      launch(mvn_backward, rows_, threads_for(size_), room_for(size_), size_,
             desc_.variance ? out() : nullptr, dout(), divisors(), din(0));
  }

 private:
  float* divisors() const { return static_cast<float*>(buffers_.stash); }

  MvnDesc desc_;
  int64_t rows_, size_;
};

}  // namespace

std::unique_ptr<Op> make_reduction(const ReductionDesc& desc, const OpSite& site) {
  return std::make_unique<ReductionOp>(desc, site);
}

std::unique_ptr<Op> make_arg_max(const ArgMaxDesc& desc, const OpSite& site) {
  if (site.in[0].shape.count() > std::numeric_limits<int32_t>::max()) return nullptr;
  return std::make_unique<ArgMaxOp>(desc, site);
}

std::unique_ptr<Op> make_mvn(const MvnDesc& desc, const OpSite& site) {
  return std::make_unique<MvnOp>(desc, site);
}

}  // namespace pcc::cuda
