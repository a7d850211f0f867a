// What the ops of BatchNorm share, wherever channels lie. d counts the groups' channels through; c
// is one's number within its group.
#pragma once

#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

// Of a channel in its group. inverse: 1 / sqrt(variance + eps).
struct Statistics {
  float mean, inverse;
};

// The running averages, those of group 0.
struct Running {
  float *mean, *variance, *factor;
  double eps;
  float fraction;
  int64_t dim;

  Running(const NormActDesc& desc, int64_t dim, float* mean, float* variance, float* factor)
      : mean(mean),
        variance(variance),
        factor(factor),
        eps(desc.eps),
        fraction(static_cast<float>(desc.fraction)),
        dim(dim) {}
  __device__ Statistics of(double of_mean, double of_variance) const {
    return {static_cast<float>(of_mean), static_cast<float>(1 / sqrt(of_variance + eps))};
  }
  // The statistics of a batch: written; the averages move on unless something went wrong before.
  __device__ Statistics take(int64_t d, double of_mean, double of_variance, double count,
                             Statistics* statistics, const StepReport* report) const {
    if (of_variance < 0) of_variance = 0;
    const Statistics its = statistics[d] = of(of_mean, of_variance);
    if (d >= dim || report->halt != Halt::none) return its;
    const double unbiased = count > 1 ? count / (count - 1) : 1;  // a lone number's stays as it is
    mean[d] = fraction * mean[d] + static_cast<float>(of_mean);
    variance[d] = fraction * variance[d] + static_cast<float>(unbiased * of_variance);
    if (d == 0) factor[0] = factor[0] * fraction + 1;
    return its;
  }
};

// Those that training left.
struct Global {
  Running running;
  Statistics* statistics;
  __device__ void operator()(int64_t c) const {
    const float factor = running.factor[0], scale = factor == 0 ? 0.0f : 1 / factor;
    const float variance = running.variance[c] * scale;
    statistics[c] = {running.mean[c] * scale,
                     static_cast<float>(1 / sqrt(static_cast<double>(variance) + running.eps))};
  }
};

// What stands behind the normalisation, in a channel. Rounded in the same places wherever it is
// computed, so that backward finds the sign that forward saw.
struct Scaled {
  Statistics s;
  float gain, shift;

  __device__ Scaled(const Statistics& statistics, float gain, float shift)
      : s(statistics), gain(gain), shift(shift) {}
  __device__ Scaled(const Statistics& statistics, const float* gains, const float* shifts,
                    int64_t c)
      : s(statistics), gain(gains ? gains[c] : 1), shift(shifts ? shifts[c] : 0) {}
  __device__ float normalised(float x) const { return (x - s.mean) * s.inverse; }
  __device__ float operator()(float x) const {
    return __fadd_rn(__fmul_rn(normalised(x), gain), shift);
  }
};

// Means over the group of g and of g * x^; 0 with global statistics, whose count is 0.
struct Means {
  float g = 0, product = 0;
  Means() = default;
  __device__ Means(const Sums& sums, double count) {
    if (count == 0) return;
    g = static_cast<float>(sums.a / count);
    product = static_cast<float>(sums.b / count);
  }
};

}  // namespace pcc::cuda
