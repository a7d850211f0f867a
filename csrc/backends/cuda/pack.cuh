// Numbers as values hold them, float32 or bf16, and sixteen bytes of them at a time.
#pragma once

#include <type_traits>

#include "backends/cuda/mma.cuh"
#include "core/tensor.h"

namespace pcc::cuda {

__device__ __forceinline__ float number(float x) { return x; }
__device__ __forceinline__ float number(BFloat16 x) {
  return __uint_as_float(uint32_t{x.bits} << 16);
}
// Rounded to what is stored.
template <typename T>
__device__ __forceinline__ T stored(float x);
template <>
__device__ __forceinline__ float stored<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ BFloat16 stored<BFloat16>(float x) {
  const float both[2] = {x, 0};
  BFloat16 rounded;
  rounded.bits = static_cast<uint16_t>(Bf16::pack(both));
  return rounded;
}

// Neighbours in memory, as many as 16 bytes hold, or four; where they lie is aligned to their size.
template <typename T, int kNumbers = 16 / static_cast<int>(sizeof(T))>
struct Pack {
  using Number = T;
  static constexpr int kCount = kNumbers, kWords = kCount * static_cast<int>(sizeof(T)) / 4;
  using Words = std::conditional_t<kWords == 4, uint4, uint2>;
  float x[kCount];

  Pack() = default;
  __device__ __forceinline__ explicit Pack(const T* from) {
    unpack(*reinterpret_cast<const Words*>(from));
  }
  __device__ __forceinline__ void store(T* to) const {
    uint32_t word[kWords];
    PCC_UNROLL
    for (int i = 0; i < kWords; ++i) {
      if constexpr (sizeof(T) == 4) {
        word[i] = __float_as_uint(x[i]);
      } else {
        const float both[2] = {x[2 * i], x[2 * i + 1]};
        word[i] = Bf16::pack(both);
      }
    }
    auto& all = *reinterpret_cast<Words*>(to);
    if constexpr (kWords == 4)
      all = {word[0], word[1], word[2], word[3]};
    else
      all = {word[0], word[1]};
  }

 private:
  __device__ __forceinline__ void unpack(const uint4& words) {
    const uint32_t word[4] = {words.x, words.y, words.z, words.w};
    unpack(word);
  }
  __device__ __forceinline__ void unpack(const uint2& words) {
    const uint32_t word[2] = {words.x, words.y};
    unpack(word);
  }
  __device__ __forceinline__ void unpack(const uint32_t (&word)[kWords]) {
    PCC_UNROLL
    for (int i = 0; i < kWords; ++i) {
      if constexpr (sizeof(T) == 4) {
        x[i] = __uint_as_float(word[i]);
      } else {
        x[2 * i] = __uint_as_float(word[i] << 16);
        x[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
      }
    }
  }
};
using HalfPack = Pack<BFloat16, 4>;

// A number by itself, where they do not come in sixteen bytes.
struct Single {
  using Number = float;
  static constexpr int kCount = 1;
  float x[1];

  Single() = default;
  __device__ __forceinline__ explicit Single(const float* from) : x{*from} {}
  __device__ __forceinline__ void store(float* to) const { *to = x[0]; }
};

template <typename P>
using NumberOf = typename P::Number;

// The i-th pack of an array.
template <typename P>
__device__ __forceinline__ P pack_of(const void* array, int64_t i) {
  return P(static_cast<const typename P::Number*>(array) + i * P::kCount);
}
template <typename P>
__device__ __forceinline__ void put_pack(void* array, int64_t i, const P& pack) {
  pack.store(static_cast<typename P::Number*>(array) + i * P::kCount);
}

// body(P()) with the packs of a value whose channels are last.
template <typename Body>
auto with_packs_of(const TensorSpec& spec, const Body& body) {
  if (spec.dtype != DType::bf16) return body(Pack<float>());
  return spec.shape[1] % Pack<BFloat16>::kCount == 0 ? body(Pack<BFloat16>()) : body(HalfPack());
}
// Channels of each of them.
inline int pack_of_channels(const TensorSpec& spec) {
  return with_packs_of(spec, [](auto pack) { return decltype(pack)::kCount; });
}
// body(P()) with the packs in which so many numbers are best taken; those of bf16 divide by 4.
template <typename Body>
void with_packs(DType dtype, int64_t count, const Body& body) {
  if (dtype == DType::bf16 && count % Pack<BFloat16>::kCount == 0)
    body(Pack<BFloat16>());
  else if (dtype == DType::bf16)
    body(HalfPack());
  else if (count % Pack<float>::kCount == 0)
    body(Pack<float>());
  else
    body(Single());
}

}  // namespace pcc::cuda
