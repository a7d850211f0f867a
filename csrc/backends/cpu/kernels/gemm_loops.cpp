// A panel of b is copied into the first cache, two vectors wide, and meets all rows of a, a few at
// a time: their sums stay in registers. a is read where it lies.
#include "backends/cpu/kernels/gemm_loops.h"

#include "backends/cpu/kernels/vec.h"

namespace pcc::cpu::PCC_ISA {

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRows = 12;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRows = 6;
#else
constexpr int kLanes = 4, kRows = 6;
#endif
constexpr int kPanel = 2 * kLanes;

// So many terms of a sum at once. A panel may come from the second cache, one line after the other;
// columns of a that lie across lines must stay in the first, beside it.
template <bool kAcross>
constexpr int64_t kDepth = kAcross        ? 192
                           : kLanes == 16 ? 384
                                          : 512;

typedef float V __attribute__((vector_size(4 * kLanes)));
typedef float VAnywhere __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline V load_v(const float* from) { return *reinterpret_cast<const VAnywhere*>(from); }
inline void store_v(float* to, V value) { *reinterpret_cast<VAnywhere*>(to) = value; }

// Whether c holds nothing yet, and what the sums begin with.
struct Start {
  bool fresh;
  const float* bias;
};

// kCount rows of a and a panel: sums of `depth` terms into `tile` (`row` floats between rows).
// kAcross: the rows of a are neighbours, its columns a_far apart.
template <int kCount, bool kAcross>
void rows_by_panel(const float* a, int64_t a_far, const float* panel, int64_t depth, Start start,
                   float* tile, int64_t row) {
  V sum[kCount][2];
  for (int r = 0; r < kCount; ++r)
    for (int v = 0; v < 2; ++v) {
      sum[r][v] = start.bias ? load_v(start.bias + v * kLanes) : V{};
      // c is there when the sums are.
      __builtin_prefetch(tile + r * row + v * (kPanel - 1), 1);
    }
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k, panel += kPanel) {
    const V left = kept(load_v(panel)), right = kept(load_v(panel + kLanes));
    for (int r = 0; r < kCount; ++r) {
      const V each = kept((kAcross ? a[r] : a[r * a_far]) - V{});
      sum[r][0] += each * left;
      sum[r][1] += each * right;
    }
    a += kAcross ? a_far : 1;
  }
  for (int r = 0; r < kCount; ++r)
    for (int v = 0; v < 2; ++v) {
      float* const to = tile + r * row + v * kLanes;
      store_v(to, start.fresh ? sum[r][v] : load_v(to) + sum[r][v]);
    }
}

template <int kCount, bool kAcross>
void some_rows(int64_t count, const float* a, int64_t a_far, const float* panel, int64_t depth,
               Start start, float* tile, int64_t row) {
  if (count == kCount)
    return rows_by_panel<kCount, kAcross>(a, a_far, panel, depth, start, tile, row);
  if constexpr (kCount > 1)
    some_rows<kCount - 1, kAcross>(count, a, a_far, panel, depth, start, tile, row);
}

// Eight rows of eight, `row` floats apart, turned into columns, kPanel floats apart.
void turn(const float* from, int64_t row, float* to) {
  F8 a[8], b[8];
  for (int r = 0; r < 8; ++r) a[r] = load(from + r * row);
  for (int r = 0; r < 8; r += 2) {
    b[r] = pick<0, 8, 1, 9, 4, 12, 5, 13>(a[r], a[r + 1]);
    b[r + 1] = pick<2, 10, 3, 11, 6, 14, 7, 15>(a[r], a[r + 1]);
  }
  for (int r = 0; r < 8; r += 4)
    for (int i = 0; i < 2; ++i) {
      a[r + 2 * i] = pick<0, 1, 8, 9, 4, 5, 12, 13>(b[r + i], b[r + i + 2]);
      a[r + 2 * i + 1] = pick<2, 3, 10, 11, 6, 7, 14, 15>(b[r + i], b[r + i + 2]);
    }
  for (int k = 0; k < 4; ++k) {
    store(to + k * kPanel, pick<0, 1, 2, 3, 8, 9, 10, 11>(a[k], a[k + 4]));
    store(to + (k + 4) * kPanel, pick<4, 5, 6, 7, 12, 13, 14, 15>(a[k], a[k + 4]));
  }
}

// Columns [column, column + width) of b's rows [first, first + depth), padded with zeros.
void pack(const GemmShape& s, const float* b, int64_t column, int64_t width, int64_t first,
          int64_t depth, float* panel) {
  b += column * s.b_column + first * s.b_step;
  if (s.b_column == 1) {
    for (int64_t k = 0; k < depth; ++k, b += s.b_step, panel += kPanel) {
      if (width == kPanel) {
        store_v(panel, load_v(b));
        store_v(panel + kLanes, load_v(b + kLanes));
        continue;
      }
      for (int64_t j = 0; j < kPanel; ++j) panel[j] = j < width ? b[j] : 0.0f;
    }
    return;
  }
  int64_t turned = 0;
  if (width == kPanel && s.b_step == 1)
    for (; turned + 8 <= depth; turned += 8)
      for (int64_t j = 0; j < kPanel; j += 8)
        turn(b + j * s.b_column + turned, s.b_column, panel + turned * kPanel + j);
  for (int64_t j = 0; j < kPanel; ++j)
    for (int64_t k = turned; k < depth; ++k)
      panel[k * kPanel + j] = j < width ? b[j * s.b_column + k * s.b_step] : 0.0f;
}

// Of the depth, what is worked on at once.
template <bool kAcross>
int64_t depth_block(const GemmShape& s) {
  constexpr int64_t kMost = kDepth<kAcross>;
  const int64_t blocks = (s.depth + kMost - 1) / kMost;
  return (s.depth + blocks - 1) / blocks;
}

// Where the panel of a column begins in b packed: blocks of the depth follow each other, each with
// all panels.
int64_t packed_panel(const GemmShape& s, int64_t column, int64_t first, int64_t depth) {
  return first * ((s.n + kPanel - 1) / kPanel * kPanel) + column * depth;
}

template <bool kAcross>
void pack_any(const GemmShape& s, const float* b, float* packed, int64_t column,
              int64_t column_end) {
  const int64_t block = depth_block<kAcross>(s);
  for (int64_t first = 0; first < s.depth; first += block) {
    const int64_t depth = s.depth - first < block ? s.depth - first : block;
    for (int64_t j = column; j < column_end; j += kPanel)
      pack(s, b, j, column_end - j < kPanel ? column_end - j : kPanel, first, depth,
           packed + packed_panel(s, j, first, depth));
  }
}

template <bool kAcross>
void multiply_any(const GemmShape& s, const float* a, const float* b, const float* bias, float* c,
                  int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  constexpr int64_t kMost = kDepth<kAcross>;
  alignas(64) float panel[kMost * kPanel];
  alignas(64) float edge[kRows * kPanel];
  const int64_t a_far = kAcross ? s.a_step : s.a_row;
  const int64_t block = depth_block<kAcross>(s);
  for (int64_t first = 0; first < s.depth; first += block) {
    const int64_t depth = s.depth - first < block ? s.depth - first : block;
    const bool fresh = first == 0 && !s.add;
    for (int64_t j = column; j < column_end; j += kPanel) {
      const int64_t width = column_end - j < kPanel ? column_end - j : kPanel;
      const float* terms = panel;
      if (s.packed)
        terms = s.packed + packed_panel(s, j, first, depth);
      else
        pack(s, b, j, width, first, depth, panel);
      for (int64_t i = row; i < row_end; i += kRows) {
        const int64_t count = row_end - i < kRows ? row_end - i : kRows;
        float* const out = c + i * s.c_row + j;
        const float* const from = a + i * s.a_row + first * s.a_step;
        if (width == kPanel) {
          const Start start{fresh, bias && first == 0 ? bias + j : nullptr};
          some_rows<kRows, kAcross>(count, from, a_far, terms, depth, start, out, s.c_row);
          continue;
        }
        // At the right edge the sums go through a tile of full width.
        for (int64_t r = 0; r < count; ++r)
          for (int64_t x = 0; x < width; ++x)
            edge[r * kPanel + x] = !fresh ? out[r * s.c_row + x] : bias ? bias[j + x] : 0.0f;
        some_rows<kRows, kAcross>(count, from, a_far, terms, depth, {}, edge, kPanel);
        for (int64_t r = 0; r < count; ++r)
          for (int64_t x = 0; x < width; ++x) out[r * s.c_row + x] = edge[r * kPanel + x];
      }
    }
  }
}

// One or two rows, and columns of b that lie in memory as they are: panels would cost more to make
// than they save. A sum is made of kChains vectors.
void dot_columns(const GemmShape& s, const float* a, const float* b, const float* bias, float* c,
                 int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  constexpr int kChains = 4;
  const int64_t step = kChains * kLanes, whole = s.depth / step * step;
  for (int64_t j = column; j < column_end; ++j)
    for (int64_t i = row; i < row_end; ++i) {
      const float *left = a + i * s.a_row, *right = b + j * s.b_column;
      V sums[kChains] = {};
      for (int64_t k = 0; k < whole; k += step)
        for (int v = 0; v < kChains; ++v)
          sums[v] += load_v(left + k + v * kLanes) * load_v(right + k + v * kLanes);
      const V all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      float sum = 0;
      for (int lane = 0; lane < kLanes; ++lane) sum += all[lane];
      for (int64_t k = whole; k < s.depth; ++k) sum += left[k] * right[k];
      float& to = c[i * s.c_row + j];
      to = sum + (s.add ? to : bias ? bias[j] : 0.0f);
    }
}

// Few rows, and rows of b that lie in memory as they are: b is read once, from front to back, while
// a row of c stays in the caches.
void scale_rows(const GemmShape& s, const float* a, const float* b, const float* bias, float* c,
                int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  constexpr int kTerms = 4;
  for (int64_t i = row; i < row_end && !s.add; ++i)
    for (int64_t j = column; j < column_end; ++j) c[i * s.c_row + j] = bias ? bias[j] : 0.0f;
  const int64_t whole = column + (column_end - column) / kLanes * kLanes;
  for (int64_t k = 0; k < s.depth; k += kTerms, b += kTerms * s.b_step) {
    const int terms = s.depth - k < kTerms ? static_cast<int>(s.depth - k) : kTerms;
    for (int64_t i = row; i < row_end; ++i) {
      float each[kTerms];
      const float* from[kTerms];
      for (int t = 0; t < terms; ++t) {
        each[t] = a[i * s.a_row + (k + t) * s.a_step];
        from[t] = b + t * s.b_step;
      }
      float* const to = c + i * s.c_row;
      if (terms == kTerms)
        for (int64_t j = column; j < whole; j += kLanes) {
          V sum = load_v(to + j);
          for (int t = 0; t < kTerms; ++t) sum += each[t] * load_v(from[t] + j);
          store_v(to + j, sum);
        }
      for (int64_t j = terms == kTerms ? whole : column; j < column_end; ++j)
        for (int t = 0; t < terms; ++t) to[j] += each[t] * from[t][j];
    }
  }
}

void multiply(const GemmShape& s, const float* a, const float* b, const float* bias, float* c,
              int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
  if (!s.packed && s.m <= 2 && s.a_step == 1 && s.b_step == 1)
    dot_columns(s, a, b, bias, c, row, row_end, column, column_end);
  else if (!s.packed && s.m <= 8 && s.b_column == 1)
    scale_rows(s, a, b, bias, c, row, row_end, column, column_end);
  else if (s.a_row == 1)
    multiply_any<true>(s, a, b, bias, c, row, row_end, column, column_end);
  else
    multiply_any<false>(s, a, b, bias, c, row, row_end, column, column_end);
}

void pack_for(const GemmShape& s, const float* b, float* packed, int64_t column,
              int64_t column_end) {
  if (s.a_row == 1)
    pack_any<true>(s, b, packed, column, column_end);
  else
    pack_any<false>(s, b, packed, column, column_end);
}

}  // namespace

extern const GemmLoops gemm_table = {multiply, pack_for, kPanel, kRows};

}  // namespace pcc::cpu::PCC_ISA
