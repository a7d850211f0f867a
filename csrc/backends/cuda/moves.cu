// Values added up: sums of diffs, the losses of a pass, sums over passes.
#include "backends/cuda/makers.h"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// Pointers to what is added up, in one launch.
constexpr int kMaxParts = 8;

// y = the sum of the parts, in order, a pack P at a time; with `more`, added to what y holds.
template <typename P>
struct AddUp {
  int count;
  bool more;
  void* y;
  const void* part[kMaxParts];
  __device__ void operator()(int64_t i) const {
    P sum{};
    if (more) sum = pack_of<P>(y, i);
    PCC_UNROLL
    for (int k = 0; k < kMaxParts; ++k) {
      if (k >= count) continue;
      const P x = pack_of<P>(part[k], i);
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) sum.x[n] = k == 0 && !more ? x.x[n] : sum.x[n] + x.x[n];
    }
    put_pack(y, i, sum);
  }
};

class Sum : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override {
    with_packs(site_.out[0].dtype, out_count(), [&](auto pack) {
      using P = decltype(pack);
      for (int first = 0; first < ins(); first += kMaxParts) {
        AddUp<P> add = {std::min(kMaxParts, ins() - first), first > 0, out(), {}};
        for (int k = 0; k < add.count; ++k) add.part[k] = in(first + k);
        for_each(out_count() / P::kCount, add);
      }
    });
  }
};

// A loss top: its elements, how many count, and its weight.
struct Loss {
  const float* values;
  int64_t count;
  double weight;
};
constexpr int kMaxLosses = 16;
struct Losses {
  Loss loss[kMaxLosses];
  int first, count;  // first: the number of the first among all losses
};

// Writes weight * sum of the elements of each loss to its term. The last launch adds up all terms
// and reports. One warp: a few numbers, in double and in a fixed order.
__global__ void tally_kernel(Losses losses, double* __restrict__ terms, bool last,
                             const StepBlock* step, StepReport* report) {
  for (int k = 0; k < losses.count; ++k) {
    const Loss& loss = losses.loss[k];
    double sum = 0;
    for (int64_t i = threadIdx.x; i < loss.count; i += kWarp)
      sum += static_cast<double>(loss.values[i]);
    sum = warp_fold(sum, Add{});
    if (threadIdx.x == 0) terms[losses.first + k] = loss.weight * sum;
  }
  if (threadIdx.x != 0 || !last || step->parts == 0) return;
  double total = 0;
  for (int k = 0; k < losses.first + losses.count; ++k) total += terms[k];
  double& loss = report->losses[step->iteration % StepReport::kLosses];
  double mean = step->part == 0 ? total : loss + total;
  const bool complete = step->part + 1 >= step->parts;
  if (complete) mean /= step->parts;
  loss = mean;
  if (!complete || isfinite(mean) || report->halt != Halt::none) return;
  report->halt = Halt::diverged;
  report->iteration = step->iteration;
}

class Tally : public CudaOp {
 public:
  Tally(const TallyDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {}

  void forward(const Context& context) override {
    double* const terms = buffers_.out[0].as<double>();
    int first = 0;
    do {
      Losses losses{{}, first, std::min(kMaxLosses, ins() - first)};
      for (int k = 0; k < losses.count; ++k) {
        const auto i = static_cast<size_t>(first + k);
        losses.loss[k] = {in(first + k), desc_.counts[i], desc_.weights[i]};
      }
      first += losses.count;
      launch(tally_kernel, 1, kWarp, 0, losses, terms, first == ins(), context.step,
             context.report);
    } while (first < ins());
  }

 private:
  TallyDesc desc_;
};

// sums[i] += values[i]. One thread per element.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    accumulate_kernel(const T* __restrict__ values, double* __restrict__ sums, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    if constexpr (std::is_same_v<T, double>)
      sums[i] += values[i];
    else
      sums[i] += static_cast<double>(number(values[i]));
  }
}

// A launch for each value: outputs of a test and its losses, which are few.
class Accumulate : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override {
    for (size_t i = 0; i < buffers_.in.size(); ++i) {
      const Tensor& in = buffers_.in[i];
      double* const sums = buffers_.out[i].as<double>();
      if (in.count() == 0) continue;
      if (in.spec.dtype == DType::f32)
        launch(accumulate_kernel<float>, grid_for(in.count()), kBlock, 0, in.as<const float>(),
               sums, in.count());
      else if (in.spec.dtype == DType::bf16)
        launch(accumulate_kernel<BFloat16>, grid_for(in.count()), kBlock, 0,
               in.as<const BFloat16>(), sums, in.count());
      else
        launch(accumulate_kernel<double>, grid_for(in.count()), kBlock, 0, in.as<const double>(),
               sums, in.count());
    }
  }
};

}  // namespace

std::unique_ptr<Op> make_sum(const SumDesc&, const OpSite& site) {
  return std::make_unique<Sum>(site);
}

std::unique_ptr<Op> make_accumulate(const AccumulateDesc&, const OpSite& site) {
  return std::make_unique<Accumulate>(site);
}

std::unique_ptr<Op> make_tally(const TallyDesc& desc, const OpSite& site) {
  return std::make_unique<Tally>(desc, site);
}

}  // namespace pcc::cuda
