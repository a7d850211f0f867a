// The words of CUDA C++ that kernels here use, for a host compiler. A thread of a block is a fiber
// (block.h) that meets the others at barriers and in warp collectives.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <type_traits>

#include "backends/cuda/host/block.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __constant__ static const
// One copy for each thread of the host: its blocks run one after the other.
#define __shared__ static thread_local

// name: a T* to the bytes of dynamic shared memory that the launch asked for.
#define PCC_DYNAMIC_SHARED(T, name) \
  T* const name = reinterpret_cast<T*>(::pcc::cuda::host::dynamic_shared())

#define threadIdx (::pcc::cuda::host::here().thread)
#define blockIdx (::pcc::cuda::host::here().block)
#define blockDim (::pcc::cuda::host::here().block_dim)
#define gridDim (::pcc::cuda::host::here().grid_dim)
#define warpSize 32

using dim3 = ::pcc::cuda::host::Dim3;
using uint3 = ::pcc::cuda::host::Dim3;
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Barriers.

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  ::pcc::cuda::host::barrier(where);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// Warp collectives. All lanes of `mask` must take part, with the same mask at the same place.

namespace pcc::cuda::host {

// What one lane brings and takes.
template <typename T>
struct Exchange {
  T value;
  int source = 0;  // lane whose value it wants
  T result{};
};

template <typename T>
T shuffle(unsigned mask, T value, int source, const std::source_location& where) {
  static_assert(std::is_arithmetic_v<T>, "shuffles move numbers");
  Exchange<T> mine{value, source};
  collective(
      mask, &mine,
      [](void* const* lanes, unsigned) {
        for (int lane = 0; lane < 32; ++lane)
          if (auto* const to = static_cast<Exchange<T>*>(lanes[lane]))
            // From a lane that does not take part the value is undefined: what breaks most.
            to->result = lanes[to->source] ? static_cast<Exchange<T>*>(lanes[to->source])->value
                                           : poison<T>();
      },
      where);
  return mine.result;
}

// fold(a, b) over the values of all lanes, in the order of the lanes.
template <typename T>
T reduce(unsigned mask, T value, T (*fold)(T, T), const std::source_location& where) {
  struct Reduction {
    T value, (*fold)(T, T), result;
  } mine{value, fold, {}};
  collective(
      mask, &mine,
      [](void* const* lanes, unsigned) {
        T all{};
        bool first = true;
        for (int lane = 0; lane < 32; ++lane)
          if (const auto* const from = static_cast<Reduction*>(lanes[lane])) {
            all = first ? from->value : from->fold(all, from->value);
            first = false;
          }
        for (int lane = 0; lane < 32; ++lane)
          if (lanes[lane]) static_cast<Reduction*>(lanes[lane])->result = all;
      },
      where);
  return mine.result;
}

}  // namespace pcc::cuda::host

inline void __syncwarp(unsigned mask = 0xffffffffu,
                       std::source_location where = std::source_location::current()) {
  int nothing = 0;
  ::pcc::cuda::host::collective(mask, &nothing, [](void* const*, unsigned) {}, where);
}

// As on the device, lanes outside of their section of `width` lanes keep their own value.
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              std::source_location where = std::source_location::current()) {
  const int lane = ::pcc::cuda::host::lane_index(), first = lane / width * width;
  return ::pcc::cuda::host::shuffle(mask, value, first + (source & (width - 1)), where);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   std::source_location where = std::source_location::current()) {
  const int lane = ::pcc::cuda::host::lane_index(), end = (lane / width + 1) * width;
  const int source = lane + static_cast<int>(delta);
  return ::pcc::cuda::host::shuffle(mask, value, source < end ? source : lane, where);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 std::source_location where = std::source_location::current()) {
  const int lane = ::pcc::cuda::host::lane_index(), first = lane / width * width;
  const int source = lane - static_cast<int>(delta);
  return ::pcc::cuda::host::shuffle(mask, value, source >= first ? source : lane, where);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32,
                  std::source_location where = std::source_location::current()) {
  const int lane = ::pcc::cuda::host::lane_index(), end = (lane / width + 1) * width;
  const int source = lane ^ lanes;
  return ::pcc::cuda::host::shuffle(mask, value, source < end ? source : lane, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              std::source_location where = std::source_location::current()) {
  const int lane = ::pcc::cuda::host::lane_index();
  return ::pcc::cuda::host::reduce<unsigned>(
      mask, predicate ? 1u << lane : 0u, [](unsigned a, unsigned b) { return a | b; }, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return __ballot_sync(mask, predicate, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      std::source_location where = std::source_location::current()) {
  return __ballot_sync(mask, predicate, where) == mask;
}
inline unsigned __activemask() = delete;  // what it says is up to the hardware

#define PCC_HOST_REDUCE(name, expression)                                                        \
  template <typename T>                                                                          \
    requires(std::is_same_v<T, int> || std::is_same_v<T, unsigned>)                              \
  T name(unsigned mask, T value, std::source_location where = std::source_location::current()) { \
    return ::pcc::cuda::host::reduce<T>(                                                         \
        mask, value, [](T a, T b) -> T { return expression; }, where);                           \
  }
PCC_HOST_REDUCE(__reduce_add_sync, a + b)
PCC_HOST_REDUCE(__reduce_min_sync, a < b ? a : b)
PCC_HOST_REDUCE(__reduce_max_sync, a > b ? a : b)
PCC_HOST_REDUCE(__reduce_and_sync, a& b)
PCC_HOST_REDUCE(__reduce_or_sync, a | b)
#undef PCC_HOST_REDUCE

// Arithmetic. Blocks and threads of one launch run on one thread of the host: atomics are plain.

template <typename T>
T atomicAdd(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = before + value;
  return before;
}
inline unsigned atomicInc(unsigned* to, unsigned last) {
  const unsigned before = *to;
  *to = before >= last ? 0 : before + 1;
  return before;
}
template <typename T>
T atomicMin(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  if (value < before) *to = value;
  return before;
}
template <typename T>
T atomicMax(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  if (value > before) *to = value;
  return before;
}
template <typename T>
T atomicExch(T* to, std::type_identity_t<T> value) {
  const T before = *to;
  *to = value;
  return before;
}
template <typename T>
T atomicCAS(T* to, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T before = *to;
  if (before == expected) *to = value;
  return before;
}

template <typename T>
T __ldg(const T* from) {
  return *from;
}

template <typename A, typename B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr std::common_type_t<A, B> min(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmin(a, b);
  return b < a ? b : a;
}
template <typename A, typename B>
  requires(std::is_arithmetic_v<A> && std::is_arithmetic_v<B>)
constexpr std::common_type_t<A, B> max(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmax(a, b);
  return a < b ? b : a;
}
using std::isfinite;
using std::isinf;
using std::isnan;
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x < 0 ? 0.0f : x > 1 ? 1.0f : x; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }

inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x ? std::countr_zero(static_cast<unsigned>(x)) + 1 : 0; }
inline unsigned __umulhi(unsigned x, unsigned y) {
  return static_cast<unsigned>((static_cast<uint64_t>(x) * y) >> 32);
}
