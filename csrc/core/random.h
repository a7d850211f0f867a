// Counter-based random numbers (Philox 4x32-10; Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", 2011). A number depends only on (seed, net, stream, pass, element), so masks, flips and
// fillers are the same on every backend, for any number of threads, and after a resume.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace pcc {

constexpr std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter,
                                         std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// One stream of random numbers: what a layer draws in one pass. Element i is addressable directly.
struct RandomStream {
  uint64_t seed = 0;   // the run's random_seed
  uint32_t net = 0;    // 0: train net (and fillers); 1 + i: test net i
  uint32_t layer = 0;  // op_stream: the layer, and which of its ops
  uint64_t pass = 0;   // number of the forward pass of that net; fillers use the parameter's index
  uint64_t first = 0;  // so many elements come before element 0, and are drawn elsewhere

  // Four numbers for the elements 4 * block .. 4 * block + 3 (below 2^34).
  constexpr std::array<uint32_t, 4> block(uint64_t index) const {
    const uint64_t at = first / 4 + index;
    std::array<uint32_t, 4> four = draw(at);
    if (first % 4 == 0) return four;
    // Those that are skipped move out, and the first of the next block in: by fixed places, which
    // registers have as well.
    std::array<uint32_t, 4> next = draw(at + 1);
    for (uint64_t skipped = 0; skipped < first % 4; ++skipped) {
      four = {four[1], four[2], four[3], next[0]};
      next = {next[1], next[2], next[3], 0};
    }
    return four;
  }
  constexpr uint32_t bits(uint64_t element) const {
    return draw((first + element) / 4)[(first + element) % 4];
  }
  // Uniform in [0, 1), 24 bits.
  constexpr double uniform(uint64_t element) const { return (bits(element) >> 8) * 0x1.0p-24; }
  // Standard normal by Box and Muller; elements 2k and 2k + 1 share a pair of numbers.
  double normal(uint64_t element) const {
    const std::array<uint32_t, 4> four = draw(element / 2);
    const double radius = std::sqrt(-2.0 * std::log(((four[0] >> 8) + 1) * 0x1.0p-24));
    const double angle = 6.283185307179586476925 * ((four[1] >> 8) * 0x1.0p-24);
    return radius * (element % 2 ? std::sin(angle) : std::cos(angle));
  }

 private:
  constexpr std::array<uint32_t, 4> draw(uint64_t index) const {
    return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(pass),
                   static_cast<uint32_t>(pass >> 32) ^ (net << 16), layer},
                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
};

// FNV-1a, the key of a layer's stream: stable across builds, unlike std::hash.
inline uint32_t hash_name(const char* text) {
  uint32_t hash = 2166136261u;
  for (; *text; ++text) hash = (hash ^ static_cast<unsigned char>(*text)) * 16777619u;
  return hash;
}

// RandomStream::layer of a layer's ops, numbered from 0: each draws numbers of its own.
inline uint32_t op_stream(const char* layer, uint32_t number) {
  return hash_name(layer) ^ (number * 0x9E3779B9u);
}

}  // namespace pcc
