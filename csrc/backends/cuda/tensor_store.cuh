// What a convolution's block does with the box of the output that it has made: lines of maps in
// shared memory, kGroups times 16 bytes each, go where the output lies.
#pragma once

#include "backends/cuda/patch.cuh"

namespace pcc::cuda {

// From a box's lines of maps, kGroups times 16 bytes, in shared memory.
template <typename T, int kGroups, int kThreads>
__device__ __forceinline__ void store_vectors(const Boxes& boxes, const Box& box,
                                              const uint32_t* lines, int first_map,
                                              const Image& y) {
  const int group = static_cast<int>(threadIdx.x) % kGroups;
  const int map = first_map + group * Pack<T>::kCount;
  if (map >= y.channels) return;
  for (int p = static_cast<int>(threadIdx.x) / kGroups; p < kPositions; p += kThreads / kGroups) {
    Place at;
    if (!box.place(boxes, p, at)) continue;
    const uint4 words =
        *reinterpret_cast<const uint4*>(lines + p * line_of(kGroups * 4) + group * 4);
    T* const to = y.as<T>() + y.at(at.sample, at.row, at.column, map);
    if (!y.halves) {
      *reinterpret_cast<uint4*>(to) = words;
      continue;
    }
    constexpr int kHalf = Pack<T>::kCount / 2;
    *reinterpret_cast<uint2*>(to) = {words.x, words.y};
    if (map + kHalf < y.channels) *reinterpret_cast<uint2*>(to + kHalf) = {words.z, words.w};
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

}  // namespace pcc::cuda
