// Weights as the products of tensor_conv.cu take them.
#pragma once

#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

inline constexpr int kWordsOfStep = 8;  // of the depth, in one product of mma.cuh

inline __host__ __device__ int steps_of(int channels, int per_word) {
  return (channels + kWordsOfStep * per_word - 1) / (kWordsOfStep * per_word);
}
// Columns of 8 maps that a block makes at a time.
inline __host__ __device__ int tiles_for(int maps) { return maps <= 16 ? 2 : maps <= 32 ? 4 : 8; }
inline __host__ __device__ int blocks_of_maps(int maps) {
  const int together = 8 * tiles_for(maps);
  return (maps + together - 1) / together;
}

// Zeros stand behind the last map and channel: (block of maps, step, tap, pair of tiles, lane, 4
// words). flipped: for the data gradient, whose maps are w's channels.
template <typename Number>
struct Fragments {
  int maps, channels, taps, tiles, steps;
  bool flipped;

  __host__ __device__ Fragments(int maps, int channels, int side, bool flipped)
      : maps(maps),
        channels(channels),
        taps(side * side),
        tiles(tiles_for(maps)),
        steps(steps_of(channels, Number::kPerWord)),
        flipped(flipped) {}
  __host__ __device__ int64_t words() const {
    return int64_t{blocks_of_maps(maps)} * steps * taps * (tiles / 2) * kWarp * 4;
  }
  __device__ uint32_t word(const float* w, int64_t i) const {
    const int part = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % kWarp);
    const Quotient pair = divide(i / (4 * kWarp), tiles / 2), tap = divide(pair.whole, taps);
    const Quotient step = divide(tap.whole, steps);
    const int tile = static_cast<int>(step.whole) * tiles + static_cast<int>(pair.rest) * 2;
    const int map = (tile + part / 2) * 8 + lane / 4, t = static_cast<int>(tap.rest);
    const int in_depth = static_cast<int>(step.rest) * kWordsOfStep + lane % 4 + part % 2 * 4;
    float numbers[Number::kPerWord];
    PCC_UNROLL
    for (int k = 0; k < Number::kPerWord; ++k) {
      const int channel = in_depth * Number::kPerWord + k;
      numbers[k] = map >= maps || channel >= channels ? 0.0f
                   : flipped ? w[(channel * maps + map) * taps + taps - 1 - t]
                             : w[(map * channels + channel) * taps + t];
    }
    return Number::pack(numbers);
  }
};

}  // namespace pcc::cuda
