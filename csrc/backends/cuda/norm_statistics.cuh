// The statistics of a BatchNorm where channels are last, and what readers that normalise by
// themselves take of them.
#pragma once

#include "backends/cuda/channel_scale.cuh"
#include "backends/cuda/lines.cuh"
#include "backends/cuda/norm.cuh"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

// gains, shifts: null where there is none. c: the channel's number within its group.
__device__ inline ChannelScale scale_of(const Statistics& statistics, const float* gains,
                                        const float* shifts, int64_t c) {
  const Scaled its(statistics, gains, shifts, c);
  return {statistics.mean, its.gain * statistics.inverse, its.shift};
}

// For those who read x and make y themselves: written with the statistics.
struct ForReaders {
  const float *gain, *shift;  // null: there is none
  ChannelScale* to;           // null: y is written
  int64_t dim;
  __device__ void give(int64_t d, const Statistics& statistics) const {
    if (!to) return;
    to[d] = scale_of(statistics, gain, shift, divide(d, dim).rest);
  }
};

// Sums over x - pivot and its square, the pivot being the channel's first number.
template <typename P>
struct Moments {
  Packs<P> x;
  int64_t lines;  // of a group
  int packs;
  __device__ P start(int64_t group, int pack) const {
    const int64_t line = group * lines;
    return x(line * packs + pack, line);
  }
  __device__ void operator()(const P& pivot, int64_t i, int64_t line, float* a, float* b) const {
    const P numbers = x(i, line);
    PCC_UNROLL
    for (int k = 0; k < P::kCount; ++k) {
      const float above = numbers.x[k] - pivot.x[k];
      a[k] += above;
      b[k] += above * above;
    }
  }
};

template <typename P>
struct OfBatch {
  ChannelSums sums;
  Packs<P> x;
  int64_t dim, lines;  // channels; of a group
  Statistics* statistics;
  Running running;
  const StepReport* report;
  ForReaders readers;
  __device__ void operator()(int64_t d) const {
    const Quotient at = divide(d, dim);
    const int64_t line = dim + x.gaps.skip * P::kCount;
    const auto pivot = static_cast<double>(number(x.data[at.whole * lines * line + at.rest]));
    const auto count = static_cast<double>(lines);
    const Sums sum = warp_sum(sums, d);
    const double above = sum.a / count;
    if (threadIdx.x % kWarp != 0) return;
    readers.give(d, running.take(d, pivot + above, sum.b / count - above * above, count, statistics,
                                 report));
  }
};

// What a convolution found of its output, for all blocks; the first of a group's writes it down.
struct Found {
  const ChannelMoments* moments;  // null: the statistics are there
  Running running;
  double count;
  const StepReport* report;

  template <int kCount>
  __device__ void statistics(int64_t first, int width, Statistics* to,
                             Statistics (&its)[kCount]) const {
    const bool writes = blockIdx.x == 0 && static_cast<int>(threadIdx.x) < width;
    PCC_UNROLL
    for (int k = 0; k < kCount; ++k) {
      const ChannelMoments of = moments[first + k];
      const auto mean = static_cast<double>(of.mean), variance = static_cast<double>(of.variance);
      its[k] = running.of(mean, variance);
      if (writes) running.take(first + k, mean, variance, count, to, report);
    }
  }
};

// For readers alone, of what was found (by a warp together), or of what training left.
struct GiveFound {
  Found found;
  Statistics* statistics;
  ForReaders readers;
  __device__ void operator()(int64_t d) const {
    if (threadIdx.x % kWarp != 0) return;
    const ChannelMoments of = found.moments[d];
    readers.give(
        d, found.running.take(d, static_cast<double>(of.mean), static_cast<double>(of.variance),
                              found.count, statistics, found.report));
  }
};
struct GiveGlobal {
  Global global;
  ForReaders readers;
  __device__ void operator()(int64_t c) const {
    global(c);
    readers.give(c, global.statistics[c]);
  }
};

}  // namespace pcc::cuda
