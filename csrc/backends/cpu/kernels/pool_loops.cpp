#include "backends/cpu/kernels/pool_loops.h"

#include "backends/cpu/kernels/vec.h"

namespace pcc::cpu::PCC_ISA {

namespace {

constexpr float kLowest = -3.402823466e+38f;  // -FLT_MAX, where Caffe starts a maximum

// kCount neighbouring floats, and as many places of maxima, as they are worked on and as they are
// kept: those of GCC's vectors with several lanes.
template <int kCount, typename Index>
struct Lanes {
  typedef float V __attribute__((vector_size(4 * kCount)));
  typedef int32_t I __attribute__((vector_size(4 * kCount)));
  typedef Index K __attribute__((vector_size(sizeof(Index) * kCount)));
  typedef float VAnywhere __attribute__((vector_size(4 * kCount), aligned(4), may_alias));
  typedef Index KAnywhere
      __attribute__((vector_size(sizeof(Index) * kCount), aligned(sizeof(Index)), may_alias));

  static V load(const float* from) { return *reinterpret_cast<const VAnywhere*>(from); }
  static void store(float* to, V value) { *reinterpret_cast<VAnywhere*>(to) = value; }
  static I load(const Index* from) {
    return __builtin_convertvector(K(*reinterpret_cast<const KAnywhere*>(from)), I);
  }
  static void store(Index* to, I places) {
    *reinterpret_cast<KAnywhere*>(to) = __builtin_convertvector(places, K);
  }
};

// One float, which loops over single planes take.
template <typename Index>
struct Lanes<1, Index> {
  using V = float;
  using I = int32_t;

  static V load(const float* from) { return *from; }
  static void store(float* to, V value) { *to = value; }
  static void store(Index* to, I place) { *to = static_cast<Index>(place); }
};

// The windows over `kCount` neighbouring floats. kIndexed: whether the places are wanted.
template <int kCount, bool kIndexed, typename Index>
void max_lanes(const PoolPlane& p, const float* x, float* y, Index* index) {
  using L = Lanes<kCount, Index>;
  for (int64_t i = 0; i < p.rows.windows; ++i)
    for (int64_t j = 0; j < p.columns.windows; ++j) {
      typename L::V best = typename L::V{} + kLowest;
      typename L::I place = {};
      const int64_t width = p.columns.end[j] - p.columns.begin[j];
      const float* line = x + (p.rows.begin[i] * p.columns.size + p.columns.begin[j]) * p.stride;
      int32_t first = static_cast<int32_t>((p.rows.begin[i] - p.rows.start[i]) * p.kernel +
                                           p.columns.begin[j] - p.columns.start[j]);
      for (int64_t row = p.rows.begin[i]; row < p.rows.end[i]; ++row) {
        const float* from = line;
        for (int64_t n = 0; n < width; ++n, from += p.stride) {
          const typename L::V value = L::load(from);
          const auto larger = value > best;  // strictly: the first of ties stays
          best = larger ? value : best;
          if constexpr (kIndexed)
            place = larger ? typename L::I{} + (first + static_cast<int32_t>(n)) : place;
        }
        line += p.columns.size * p.stride;
        first += static_cast<int32_t>(p.kernel);
      }
      const int64_t at = (i * p.columns.windows + j) * p.stride;
      L::store(y + at, best);
      if constexpr (kIndexed) L::store(index + at, place);
    }
}

template <int kCount>
void clear_lanes(const PoolPlane& p, float* dx) {
  for (int64_t place = 0; place < p.rows.size * p.columns.size; ++place)
    for (int lane = 0; lane < kCount; ++lane) dx[place * p.stride + lane] = 0;
}

template <int kCount, typename Index>
void max_backward_lanes(const PoolPlane& p, const float* dy, const Index* index, float* dx) {
  clear_lanes<kCount>(p, dx);
  for (int64_t i = 0; i < p.rows.windows; ++i)
    for (int64_t j = 0; j < p.columns.windows; ++j) {
      const int64_t at = (i * p.columns.windows + j) * p.stride;
      if constexpr (kCount == 1) {
        const int64_t place = index[at], row = place / p.kernel + p.rows.start[i],
                      column = place % p.kernel + p.columns.start[j];
        // A window of NaNs only has no maximum: place 0 stands for it, and may lie in the padding.
        if (row >= 0 && column >= 0) dx[(row * p.columns.size + column) * p.stride] += dy[at];
      } else {
        using L = Lanes<kCount, Index>;
        const typename L::I wanted = L::load(index + at);
        const typename L::V given = L::load(dy + at);
        const int64_t width = p.columns.end[j] - p.columns.begin[j];
        for (int64_t row = p.rows.begin[i]; row < p.rows.end[i]; ++row) {
          float* to = dx + (row * p.columns.size + p.columns.begin[j]) * p.stride;
          int32_t here = static_cast<int32_t>((row - p.rows.start[i]) * p.kernel +
                                              p.columns.begin[j] - p.columns.start[j]);
          for (int64_t n = 0; n < width; ++n, to += p.stride, ++here)
            L::store(to, L::load(to) + (wanted == here ? given : typename L::V{}));
        }
      }
    }
}

template <int kCount>
void average_lanes(const PoolPlane& p, const float* x, float* y) {
  for (int64_t i = 0; i < p.rows.windows; ++i)
    for (int64_t j = 0; j < p.columns.windows; ++j) {
      float sum[kCount] = {};
      for (int64_t row = p.rows.begin[i]; row < p.rows.end[i]; ++row) {
        const float* from = x + (row * p.columns.size + p.columns.begin[j]) * p.stride;
        for (int64_t n = p.columns.end[j] - p.columns.begin[j]; n > 0; --n, from += p.stride)
          for (int lane = 0; lane < kCount; ++lane) sum[lane] += from[lane];
      }
      const int64_t window = i * p.columns.windows + j;
      for (int lane = 0; lane < kCount; ++lane)
        y[window * p.stride + lane] = sum[lane] / p.divisor[window];
    }
}

template <int kCount>
void average_backward_lanes(const PoolPlane& p, const float* dy, float* dx) {
  clear_lanes<kCount>(p, dx);
  for (int64_t i = 0; i < p.rows.windows; ++i)
    for (int64_t j = 0; j < p.columns.windows; ++j) {
      const int64_t window = i * p.columns.windows + j;
      float part[kCount];
      for (int lane = 0; lane < kCount; ++lane)
        part[lane] = dy[window * p.stride + lane] / p.divisor[window];
      for (int64_t row = p.rows.begin[i]; row < p.rows.end[i]; ++row) {
        float* to = dx + (row * p.columns.size + p.columns.begin[j]) * p.stride;
        for (int64_t n = p.columns.end[j] - p.columns.begin[j]; n > 0; --n, to += p.stride)
          for (int lane = 0; lane < kCount; ++lane) to[lane] += part[lane];
      }
    }
}

// Runs body with 16, 8, 4 or 1 lanes at a time until all lanes of the plane are done.
#define PCC_ALL_LANES(call16, call8, call4, call1) \
  for (int64_t lane = 0; lane < p.lanes;) {        \
    const int64_t rest = p.lanes - lane;           \
    if (rest >= 16) {                              \
      call16;                                      \
      lane += 16;                                  \
    } else if (rest >= 8) {                        \
      call8;                                       \
      lane += 8;                                   \
    } else if (rest >= 4) {                        \
      call4;                                       \
      lane += 4;                                   \
    } else {                                       \
      call1;                                       \
      lane += 1;                                   \
    }                                              \
  }

template <typename Index>
void max_forward(const PoolPlane& p, const float* x, float* y, Index* index) {
#define PCC_CALL(n)                                                \
  (index ? max_lanes<n, true>(p, x + lane, y + lane, index + lane) \
         : max_lanes<n, false>(p, x + lane, y + lane, index))
  PCC_ALL_LANES(PCC_CALL(16), PCC_CALL(8), PCC_CALL(4), PCC_CALL(1))
#undef PCC_CALL
}

template <typename Index>
void max_backward(const PoolPlane& p, const float* dy, const Index* index, float* dx) {
#define PCC_CALL(n) (max_backward_lanes<n>(p, dy + lane, index + lane, dx + lane))
  PCC_ALL_LANES(PCC_CALL(16), PCC_CALL(8), PCC_CALL(4), PCC_CALL(1))
#undef PCC_CALL
}

void average(const PoolPlane& p, const float* x, float* y) {
#define PCC_CALL(n) (average_lanes<n>(p, x + lane, y + lane))
  PCC_ALL_LANES(PCC_CALL(16), PCC_CALL(8), PCC_CALL(4), PCC_CALL(1))
#undef PCC_CALL
}

void average_backward(const PoolPlane& p, const float* dy, float* dx) {
#define PCC_CALL(n) (average_backward_lanes<n>(p, dy + lane, dx + lane))
  PCC_ALL_LANES(PCC_CALL(16), PCC_CALL(8), PCC_CALL(4), PCC_CALL(1))
#undef PCC_CALL
}

// Four windows of 2x2 from eight columns of two rows.
typedef float F4 __attribute__((vector_size(16)));
typedef int32_t I4 __attribute__((vector_size(16)));
typedef float F4Anywhere __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint8_t B4 __attribute__((vector_size(4)));
typedef uint8_t B4Anywhere __attribute__((vector_size(4), aligned(1), may_alias));

void halve(int64_t rows, int64_t columns, const float* x, float* y, uint8_t* index) {
  const int64_t width = columns / 2;
  for (int64_t i = 0; i < rows / 2; ++i, y += width) {
    const float *upper = x + 2 * i * columns, *lower = upper + columns;
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const F8 a = load(upper + 2 * j), b = load(lower + 2 * j);
      const F4 even_a = pick<0, 2, 4, 6>(a, a), odd_a = pick<1, 3, 5, 7>(a, a);
      const F4 even_b = pick<0, 2, 4, 6>(b, b), odd_b = pick<1, 3, 5, 7>(b, b);
      F4 best = F4{} + kLowest;
      I4 place = {};
      const auto meet = [&](F4 value, int32_t here) {
        const I4 larger = value > best;
        best = larger ? value : best;
        place = larger ? I4{} + here : place;
      };
      meet(even_a, 0);
      meet(odd_a, 1);
      meet(even_b, 2);
      meet(odd_b, 3);
      *reinterpret_cast<F4Anywhere*>(y + j) = best;
      if (index) *reinterpret_cast<B4Anywhere*>(index + j) = __builtin_convertvector(place, B4);
    }
    for (; j < width; ++j) {
      const float values[4] = {upper[2 * j], upper[2 * j + 1], lower[2 * j], lower[2 * j + 1]};
      float best = kLowest;
      uint8_t place = 0;
      for (uint8_t here = 0; here < 4; ++here)
        if (values[here] > best) {
          best = values[here];
          place = here;
        }
      y[j] = best;
      if (index) index[j] = place;
    }
    if (index) index += width;
  }
}

void halve_backward(int64_t rows, int64_t columns, const float* dy, const uint8_t* index,
                    float* dx) {
  const int64_t width = columns / 2;
  for (int64_t i = 0; i < rows / 2; ++i, dy += width, index += width) {
    float *upper = dx + 2 * i * columns, *lower = upper + columns;
    int64_t j = 0;
    for (; j + 4 <= width; j += 4) {
      const F4 g = *reinterpret_cast<const F4Anywhere*>(dy + j);
      const I4 place = __builtin_convertvector(*reinterpret_cast<const B4Anywhere*>(index + j), I4);
      const F8 twice = pick<0, 0, 1, 1, 2, 2, 3, 3>(g, g);
      const I8 where = pick<0, 0, 1, 1, 2, 2, 3, 3>(place, place);
      constexpr I8 kUpper = {0, 1, 0, 1, 0, 1, 0, 1};
      store(upper + 2 * j, where == kUpper ? twice : F8{});
      store(lower + 2 * j, where == kUpper + 2 ? twice : F8{});
    }
    for (; j < width; ++j) {
      upper[2 * j] = index[j] == 0 ? dy[j] : 0.0f;
      upper[2 * j + 1] = index[j] == 1 ? dy[j] : 0.0f;
      lower[2 * j] = index[j] == 2 ? dy[j] : 0.0f;
      lower[2 * j + 1] = index[j] == 3 ? dy[j] : 0.0f;
    }
  }
}

}  // namespace

extern const PoolLoops pool_table = {{max_forward<uint8_t>, max_backward<uint8_t>},
                                     {max_forward<int32_t>, max_backward<int32_t>},
                                     halve,
                                     halve_backward,
                                     average,
                                     average_backward};

}  // namespace pcc::cpu::PCC_ISA
