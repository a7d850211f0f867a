// Values moved and added up: changes of layout, sums of diffs, the losses of a pass, sums over
// passes.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// Pointers to what is added up, in one launch.
constexpr int kMaxParts = 8;
struct Parts {
  const float* part[kMaxParts];
  int count;
};

// y = the sum of the parts, in order; with `more`, added to what y holds. One thread per element;
// reads each part once, writes y once.
__global__ void sum_kernel(Parts parts, float* __restrict__ y, int64_t count, bool more) {
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    float sum = more ? y[i] + parts.part[0][i] : parts.part[0][i];
    PCC_UNROLL
    for (int k = 1; k < kMaxParts; ++k)
      if (k < parts.count) sum += parts.part[k][i];
    y[i] = sum;
  }
}

class Sum : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override {
    for (int first = 0; first < ins(); first += kMaxParts) {
      Parts parts{{}, std::min(kMaxParts, ins() - first)};
      for (int k = 0; k < parts.count; ++k) parts.part[k] = in(first + k);
      launch(sum_kernel, grid_for(out_count()), kBlock, 0, parts, out(), out_count(), first > 0);
    }
  }
};

class Reorder : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override { move(out(), in(0)); }
  void differentiate(const Context&) override { move(din(0), dout()); }

 private:
  void move(float* to, const float* from) const {
    if (!rehearsed()) current_stream().copy(to, from, site_.in[0].bytes());
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
  for (int64_t i = first_element(); i < count; i += element_stride())
    sums[i] += static_cast<double>(values[i]);
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

std::unique_ptr<Op> make_reorder(const ReorderDesc&, const OpSite& site) {
  return std::make_unique<Reorder>(site);
}

std::unique_ptr<Op> make_accumulate(const AccumulateDesc&, const OpSite& site) {
  return std::make_unique<Accumulate>(site);
}

std::unique_ptr<Op> make_tally(const TallyDesc& desc, const OpSite& site) {
  return std::make_unique<Tally>(desc, site);
}

}  // namespace pcc::cuda
