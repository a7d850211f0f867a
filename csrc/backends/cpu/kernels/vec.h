// Eight floats at once, in GCC's vector types: one source becomes SSE2, AVX2 or AVX-512 code, or
// that of any other processor. Only for files that are compiled once per instruction set:
// everything here lies in the namespace of that set.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace pcc::cpu::PCC_ISA {

typedef float F8 __attribute__((vector_size(32)));
typedef int32_t I8 __attribute__((vector_size(32)));
typedef float F8Anywhere __attribute__((vector_size(32), aligned(4), may_alias));

inline constexpr I8 kLanes = {0, 1, 2, 3, 4, 5, 6, 7};

inline F8 load(const float* from) { return *reinterpret_cast<const F8Anywhere*>(from); }
// Keeps a loaded value in a register: else the compiler folds the load into each product that reads
// it, and the load units, not the multipliers, set the pace.
template <typename V>
inline V kept(V value) {
#if defined(__AVX512F__)
  asm("" : "+v"(value));
#elif defined(__AVX__)
  asm("" : "+x"(value));
#endif
  return value;
}
inline F8 load_once(const float* from) { return kept(load(from)); }
inline void store(float* to, F8 value) { *reinterpret_cast<F8Anywhere*>(to) = value; }
// Not F8{} + value: that would keep an addition, for the sake of negative zeros.
inline F8 same(float value) { return F8{value, value, value, value, value, value, value, value}; }

// The lanes of a and b with the numbers given, those of b counted on from a's last. GCC 11 does not
// know the function, and makes a shuffle of the lanes by itself.
template <int... kNumbers, typename V>
inline auto pick(V a, V b) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(a, b, kNumbers...);
#else
  constexpr int kCount = sizeof(V) / sizeof(a[0]);
  typedef decltype(a[0] + b[0]) R __attribute__((vector_size(sizeof(a[0]) * sizeof...(kNumbers))));
  return R{(kNumbers < kCount ? a[kNumbers % kCount] : b[kNumbers % kCount])...};
#endif
}

// The first `count` lanes only; the others read as zero and are not written.
inline F8 load_part(const float* from, int count) {
#if defined(__AVX2__)
  return reinterpret_cast<F8>(
      _mm256_maskload_ps(from, reinterpret_cast<__m256i>(kLanes < (I8{} + count))));
#else
  F8 value = {};
  for (int lane = 0; lane < count; ++lane) value[lane] = from[lane];
  return value;
#endif
}
inline void store_part(float* to, F8 value, int count) {
#if defined(__AVX2__)
  _mm256_maskstore_ps(to, reinterpret_cast<__m256i>(kLanes < (I8{} + count)),
                      reinterpret_cast<__m256>(value));
#else
  for (int lane = 0; lane < count; ++lane) to[lane] = value[lane];
#endif
}

// One bit per lane of a comparison's result, and back.
inline uint8_t bits_of(I8 comparison) {
#if defined(__AVX__)
  return static_cast<uint8_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(comparison)));
#else
  int bits = 0;
  for (int lane = 0; lane < 8; ++lane) bits |= (comparison[lane] & 1) << lane;
  return static_cast<uint8_t>(bits);
#endif
}
inline I8 lanes_of(uint8_t bits) {
  constexpr I8 kPlaces = {1, 2, 4, 8, 16, 32, 64, 128};
  return ((I8{} + static_cast<int32_t>(bits)) & kPlaces) != 0;
}

// Lane by lane; a NaN in `value` comes through.
inline F8 at_least_zero(F8 value) { return value < 0 ? F8{} : value; }

}  // namespace pcc::cpu::PCC_ISA
