// What a convolution's block does with the box of the output that it has made: lines of maps in
// shared memory, kGroups times 16 bytes each, go where the output lies, and their moments to whom
// wants them.
#pragma once

#include "backends/cuda/patch.cuh"

namespace pcc::cuda {

// Of the maps of one thread's 16 bytes.
template <typename T>
struct Moments {
  int count = 0;
  Pack<T> pivot;
  float sum[Pack<T>::kCount] = {}, squares[Pack<T>::kCount] = {};

  __device__ void add(const Pack<T>& numbers) {
    ++count;
    PCC_UNROLL
    for (int i = 0; i < Pack<T>::kCount; ++i) {
      const float above = numbers.x[i] - pivot.x[i];
      sum[i] += above;
      squares[i] += above * above;
    }
  }
};

// From a box's lines of maps, kGroups times 16 bytes, in shared memory. seen gathers their
// moments, and starts with the first of the lines as its pivot.
template <typename T, int kGroups, int kThreads>
__device__ __forceinline__ void store_vectors(const Boxes& boxes, const Box& box,
                                              const uint32_t* lines, int first_map, const Image& y,
                                              bool starts, bool gathers, Moments<T>& seen) {
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const int map = first_map + group * Pack<T>::kCount;
  const auto pack = [&](int p) {
    return Pack<T>(reinterpret_cast<const T*>(lines + p * line_of(kGroups * 4) + group * 4));
  };
  if (starts) seen.pivot = pack(0);
  if (map >= y.channels) return;
  for (int p = static_cast<int>(threadIdx.x) / kGroups; p < kPositions; p += kThreads / kGroups) {
    Place at;
    if (!box.place(boxes, p, at)) continue;
    const Pack<T> numbers = pack(p);
    numbers.store(y.as<T>() + y.at(at.sample, at.row, at.column, map));
    if (gathers) seen.add(numbers);
  }
}
template <typename T, int kGroups, int kThreads>
__device__ __forceinline__ void store_numbers(const Boxes& boxes, const Box& box,
                                              const uint32_t* lines, int first_map,
                                              const Image& y) {
  const int maps = min(kGroups * Pack<T>::kCount, y.channels - first_map);
  for (int e = static_cast<int>(threadIdx.x); e < maps * kPositions; e += kThreads) {
    const int p = e % kPositions, map = e / kPositions;
    Place at;
    if (!box.place(boxes, p, at)) continue;
    const T* const line = reinterpret_cast<const T*>(lines + p * line_of(kGroups * 4));
    y.put(y.at(at.sample, at.row, at.column, first_map + map), number(line[map]));
  }
}

// Sums what the threads of a block have seen, and writes it. room: shared memory, free.
template <typename T, int kGroups, int kThreads>
__device__ void give_moments(const Moments<T>& seen, float* room, int first_map, int maps,
                             PartialMoments* moments) {
  constexpr int kCount = Pack<T>::kCount, kLine = 2 * kCount + 1;
  const int thread = static_cast<int>(threadIdx.x);
  float* const pivots = room + kThreads * kLine;
  float* const mine = room + thread * kLine;
  mine[2 * kCount] = static_cast<float>(seen.count);
  PCC_UNROLL
  for (int i = 0; i < kCount; ++i) {
    mine[i] = seen.sum[i];
    mine[kCount + i] = seen.squares[i];
    if (thread < kGroups) pivots[thread * kCount + i] = seen.pivot.x[i];
  }
  __syncthreads();
  const int map = first_map + thread;
  if (thread >= kGroups * kCount || map >= maps) return;
  double count = 0, sum = 0, squares = 0;
  for (int other = thread / kCount; other < kThreads; other += kGroups) {
    const float* const its = room + other * kLine;
    count += static_cast<double>(its[2 * kCount]);
    sum += static_cast<double>(its[thread % kCount]);
    squares += static_cast<double>(its[kCount + thread % kCount]);
  }
  moments[(int64_t{blockIdx.y} * gridDim.x + blockIdx.x) * maps + map] = {
      static_cast<float>(count), pivots[thread], static_cast<float>(sum),
      static_cast<float>(squares)};
}

}  // namespace pcc::cuda
