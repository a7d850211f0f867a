// Normalize: a group's numbers over their norm. A group is a sample, or one of its positions.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// x seen as (samples, channels, area); the scales of all channels may be one.
struct Groups {
  bool across_spatial, shared;
  int64_t samples, channels, area;
  double eps;
  const float* scales;

  int64_t count() const { return across_spatial ? samples : samples * area; }
  __device__ int64_t size() const { return across_spatial ? channels * area : channels; }
  __device__ int64_t step() const { return across_spatial ? 1 : area; }
  __device__ int64_t first(int64_t group) const {
    if (across_spatial) return group * channels * area;
    const Quotient at = divide(group, area);
    return at.whole * channels * area + at.rest;
  }
  // That element i belongs to.
  __device__ int64_t group(int64_t i) const {
    const Quotient sample = divide(i, channels * area);
    return across_spatial ? sample.whole : sample.whole * area + divide(sample.rest, area).rest;
  }
  __device__ float scale(int64_t i) const {
    return scales[shared ? 0 : divide(divide(i, area).whole, channels).rest];
  }
};

// The sum of value(i) over a group, on each of its threads: a block, or, of a position, a single
// one.
template <typename Value>
__device__ double sum_of_group(const Groups& groups, int64_t group, double* room,
                               const Value& value) {
  const int64_t first = groups.first(group), step = groups.step();
  const int64_t begin = groups.across_spatial ? threadIdx.x : 0;
  const int64_t stride = groups.across_spatial ? blockDim.x : 1;
  double sum = 0;
  for (int64_t k = begin; k < groups.size(); k += stride)
    sum += static_cast<double>(value(first + k * step));
  return groups.across_spatial ? block_sum(sum, room) : sum;
}

// norms: of each group.
__global__ void __launch_bounds__(kBlock)
    norms_of(Groups groups, int64_t count, const float* x, float* norms) {
  PCC_DYNAMIC_SHARED(double, room);
  const int64_t stride = groups.across_spatial ? gridDim.x : element_stride();
  for (int64_t group = groups.across_spatial ? blockIdx.x : first_element(); group < count;
       group += stride) {
    const double squares =
        sum_of_group(groups, group, room, [=](int64_t i) { return x[i] * x[i]; });
    if (!groups.across_spatial || threadIdx.x == 0)
      norms[group] = static_cast<float>(sqrt(groups.eps + squares));
  }
}

// alongs: for each group the sum of x * dy * scale.
__global__ void __launch_bounds__(kBlock)
    alongs_of(Groups groups, int64_t count, const float* x, const float* dy, float* alongs) {
  PCC_DYNAMIC_SHARED(double, room);
  const int64_t stride = groups.across_spatial ? gridDim.x : element_stride();
  for (int64_t group = groups.across_spatial ? blockIdx.x : first_element(); group < count;
       group += stride) {
    const double sum = sum_of_group(groups, group, room,
                                    [=](int64_t i) { return x[i] * dy[i] * groups.scale(i); });
    if (!groups.across_spatial || threadIdx.x == 0) alongs[group] = static_cast<float>(sum);
  }
}

struct Scale {
  Groups groups;
  const float *x, *norms;
  float* y;
  __device__ void operator()(int64_t i) const {
    y[i] = x[i] / norms[groups.group(i)] * groups.scale(i);
  }
};
struct Pull {
  Groups groups;
  const float *x, *dy, *norms, *alongs;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const int64_t group = groups.group(i);
    const float norm = norms[group];
    dx[i] = (dy[i] * groups.scale(i) - x[i] * alongs[group] / (norm * norm)) / norm;
  }
};
struct ScaleGradient {
  Groups groups;
  const float *x, *dy, *norms;
  __device__ Sums operator()(int64_t, int64_t i) const {
    return {static_cast<double>(dy[i] * x[i] / norms[groups.group(i)]), 0};
  }
};

class NormalizeOp : public CudaOp {
 public:
  NormalizeOp(const NormalizeDesc& desc, const OpSite& site)
      : CudaOp(site),
        groups_{desc.across_spatial,
                site.params[0].shape.count() == 1,
                in_shape(0)[0],
                in_shape(0)[1],
                in_shape(0).count(2),
                desc.eps,
                nullptr} {
    if (groups_.shared)
      seen_.inner = in_count();
    else
      seen_ = {groups_.samples, groups_.channels, groups_.area};
  }

  void forward(const Context&) override {
    float* const norms = static_cast<float*>(trains() ? buffers_.stash : buffers_.scratch);
    launch(norms_of, grid(), kBlock, kRoom, groups(), groups_.count(), in(0), norms);
    for_each(out_count(), Scale{groups(), in(0), norms, out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (!trains()) needs.forward_scratch = bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {true};
    needs.stash_bytes = bytes();
    needs.overwrites_dparams = true;
    needs.backward_scratch = std::max(bytes(), seen_.scratch_bytes());
  }
  void differentiate(const Context& context) override {
    const float* const norms = static_cast<const float*>(buffers_.stash);
    if (din(0)) {
      float* const alongs = static_cast<float*>(buffers_.backward_scratch);
      launch(alongs_of, grid(), kBlock, kRoom, groups(), groups_.count(), in(0), dout(), alongs);
      for_each(in_count(), Pull{groups(), in(0), dout(), norms, alongs, din(0)});
    }
    if (dparam(0)) {
      const ChannelSums sums = sum_channels(seen_, ScaleGradient{groups(), in(0), dout(), norms},
                                            buffers_.backward_scratch);
      for_each(seen_.dim, GiveSum{sums, {dparam(0), !overwrites(context, 0)}});
    }
  }

 private:
  static constexpr int64_t kRoom = kBlock * static_cast<int64_t>(sizeof(double));

  Groups groups() const {
    Groups groups = groups_;
    groups.scales = param(0);
    return groups;
  }
  int64_t grid() const {
    return groups_.across_spatial ? groups_.count() : grid_for(groups_.count());
  }
  int64_t bytes() const { return groups_.count() * static_cast<int64_t>(sizeof(float)); }

  Groups groups_;
  Channels seen_;  // x, by what shares a scale
};

}  // namespace

std::unique_ptr<Op> make_normalize(const NormalizeDesc& desc, const OpSite& site) {
  return std::make_unique<NormalizeOp>(desc, site);
}

}  // namespace pcc::cuda
