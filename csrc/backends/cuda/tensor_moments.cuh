// The moments of what a convolution writes, found while it lies in shared memory: of each group of
// samples, in an order that is fixed by the shapes.
#pragma once

#include "backends/cuda/last_block.cuh"
#include "backends/cuda/patch.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

// Where they go: (groups, maps). shares: what each block found, as (count, pivot, sum, squares),
// the sums being over x - pivot and its square: (groups, maps, shares). Null: nobody wants them.
struct MomentsTo {
  ChannelMoments* to = nullptr;
  float4* shares = nullptr;
  uint32_t* counters = nullptr;
};

// What a thread has seen of the maps of one word of the lines, of which there are kWords.
template <typename Number, int kWords, int kThreads>
class MomentsOfMaps {
  static constexpr int kMaps = Number::kPerWord, kParts = kThreads / kWords;

 public:
  // Of a box's lines. The first of the block's is where the pivot comes from.
  __device__ __forceinline__ void add(const Boxes& boxes, const Box& box, const uint32_t* lines,
                                      bool first) {
    lines += threadIdx.x % kWords;
    if (first) Number::unpack(*lines, pivot_);
    const bool whole = box.is_whole(boxes);
    PCC_UNROLL_BY(4)
    for (int p = static_cast<int>(threadIdx.x) / kWords; p < kPositions; p += kParts) {
      Place at;
      if (!whole && !box.place(boxes, p, at)) continue;
      float x[kMaps];
      Number::unpack(lines[p * line_of(kWords)], x);
      ++count_;
      PCC_UNROLL
      for (int i = 0; i < kMaps; ++i) {
        const float above = x[i] - pivot_[i];
        sum_[i] += above;
        squares_[i] += above * above;
      }
    }
  }
  // Of all of the block's boxes, the share-th of a group's blocks. room: shared memory that nobody
  // reads or writes.
  __device__ void give(float4* room, int first_map, int maps, int share, int shares,
                       const MomentsTo& moments) const {
    constexpr int kLine = kWords * kMaps;
    const int thread = static_cast<int>(threadIdx.x), word = thread % kWords;
    PCC_UNROLL
    for (int i = 0; i < kMaps; ++i)
      room[thread / kWords * kLine + word * kMaps + i] = {static_cast<float>(count_), pivot_[i],
                                                          sum_[i], squares_[i]};
    __syncthreads();
    const int64_t first = int64_t{blockIdx.y} * maps + first_map;
    const int here = min(kLine, maps - first_map);
    if (thread < here) {
      float count = 0;
      double sum = 0, squares = 0;
      for (int part = 0; part < kParts; ++part) {
        const float4 its = room[part * kLine + thread];
        count += its.x;
        sum += static_cast<double>(its.z);
        squares += static_cast<double>(its.w);
      }
      moments.shares[(first + thread) * shares + share] = {
          count, room[thread].y, static_cast<float>(sum), static_cast<float>(squares)};
    }
    if (!is_last_of(shares, moments.counters + blockIdx.y * gridDim.z + blockIdx.z)) return;
    for (int map = thread / kWarp; map < here; map += kThreads / kWarp)
      join(moments.shares + (first + map) * shares, shares, moments.to + first + map);
  }

 private:
  // By a warp together.
  __device__ static void join(const float4* its, int shares, ChannelMoments* to) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    Sums total;  // of counts, and of numbers
    for (int share = lane; share < shares; share += kWarp) {
      const float4 part = its[share];
      const auto count = static_cast<double>(part.x);
      total =
          total + Sums{count, count * static_cast<double>(part.y) + static_cast<double>(part.z)};
    }
    total = warp_fold(total, Add{});
    const double mean = total.b / total.a;
    double squares = 0;  // of distances from the mean
    for (int share = lane; share < shares; share += kWarp) {
      const float4 part = its[share];
      const double off = static_cast<double>(part.y) - mean;
      squares += static_cast<double>(part.w) + 2 * off * static_cast<double>(part.z) +
                 off * off * static_cast<double>(part.x);
    }
    squares = warp_fold(squares, Add{});
    if (lane == 0)
      *to = {static_cast<float>(mean), static_cast<float>(max(squares, 0.0) / total.a)};
  }

  int count_ = 0;
  float pivot_[kMaps] = {}, sum_[kMaps] = {}, squares_[kMaps] = {};
};

}  // namespace pcc::cuda
