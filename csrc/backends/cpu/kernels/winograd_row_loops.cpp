#include "backends/cpu/kernels/winograd_row_loops.h"

#include "backends/cpu/kernels/vec.h"

namespace pcc::cpu::PCC_ISA {

namespace {

constexpr int kTaps = RowShape::kTaps, kPoints = RowShape::kPoints, kTile = RowShape::kTile;
constexpr int kBlock = RowShape::kBlock;

// The transforms by Toom and Cook for the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity, the lanes
// of each vector. kOfInput[j]: what x[j] adds to V. kOfWeight[k]: what tap k adds to U.
// kOfResult[i]: what y[i] takes from the products, and so what dy[i] adds to D.
constexpr F8 kOfInput[kPoints] = {
    {-1, 0, 0, 0, 0, 0, 0, 0},
    {0, 1, -1, 0.5f, -0.5f, 2, -2, -1},
    {5.25f, 1, 1, 0.25f, 0.25f, 4, 4, 0},
    {0, -4.25f, 4.25f, -2.5f, 2.5f, -2.5f, 2.5f, 5.25f},
    {-5.25f, -4.25f, -4.25f, -1.25f, -1.25f, -5, -5, 0},
    {0, 1, -1, 2, -2, 0.5f, -0.5f, -5.25f},
    {1, 1, 1, 1, 1, 1, 1, 0},
    {0, 0, 0, 0, 0, 0, 0, 1},
};
constexpr float k9 = 2.0f / 9, k90 = 1.0f / 90;
constexpr F8 kOfWeight[kTaps] = {
    {-1, -k9, -k9, k90, k90, 64 * k90, 64 * k90, 0},
    {0, -k9, k9, 2 * k90, -2 * k90, 32 * k90, -32 * k90, 0},
    {0, -k9, -k9, 4 * k90, 4 * k90, 16 * k90, 16 * k90, 0},
    {0, -k9, k9, 8 * k90, -8 * k90, 8 * k90, -8 * k90, 0},
    {0, -k9, -k9, 16 * k90, 16 * k90, 4 * k90, 4 * k90, 1},
};
constexpr F8 kOfResult[kTile] = {
    {1, 1, 1, 1, 1, 1, 1, 0},
    {0, 1, -1, 2, -2, 0.5f, -0.5f, 0},
    {0, 1, 1, 4, 4, 0.25f, 0.25f, 0},
    {0, 1, -1, 8, -8, 0.125f, -0.125f, 1},
};

// Row `point` of a transform whose columns lie in `matrix`, for two tiles: the inverse transforms
// compute four lanes of either tile.
inline F8 row_of(const F8 (&matrix)[kTile], int point) {
  return F8{matrix[0][point], matrix[1][point], matrix[2][point], matrix[3][point],
            matrix[0][point], matrix[1][point], matrix[2][point], matrix[3][point]};
}

// The results of two neighbouring tiles from their products.
inline F8 results_of(F8 left, F8 right) {
  const F8 low = pick<0, 1, 2, 3, 8, 9, 10, 11>(left, right);
  const F8 high = pick<4, 5, 6, 7, 12, 13, 14, 15>(left, right);
  F8 sum = pick<0, 0, 0, 0, 4, 4, 4, 4>(low, low) * row_of(kOfResult, 0);
  sum += pick<1, 1, 1, 1, 5, 5, 5, 5>(low, low) * row_of(kOfResult, 1);
  sum += pick<2, 2, 2, 2, 6, 6, 6, 6>(low, low) * row_of(kOfResult, 2);
  sum += pick<3, 3, 3, 3, 7, 7, 7, 7>(low, low) * row_of(kOfResult, 3);
  sum += pick<0, 0, 0, 0, 4, 4, 4, 4>(high, high) * row_of(kOfResult, 4);
  sum += pick<1, 1, 1, 1, 5, 5, 5, 5>(high, high) * row_of(kOfResult, 5);
  sum += pick<2, 2, 2, 2, 6, 6, 6, 6>(high, high) * row_of(kOfResult, 6);
  sum += pick<3, 3, 3, 3, 7, 7, 7, 7>(high, high) * row_of(kOfResult, 7);
  return sum;
}

void pack(const RowShape& s, bool for_forward, const float* w, float* u) {
  const int64_t outer = for_forward ? s.outputs : s.inputs;
  const int64_t inner = for_forward ? s.inputs : s.outputs;
  const int64_t outer_step = (for_forward ? s.inputs : 1) * kTaps * kTaps;
  const int64_t inner_step = (for_forward ? 1 : s.inputs) * kTaps * kTaps;
  for (int64_t first = 0; first < outer; first += kBlock) {
    const int64_t end = first + kBlock < outer ? first + kBlock : outer;
    for (int64_t i = 0; i < inner; ++i)
      for (int64_t row = 0; row < kTaps; ++row)
        for (int64_t o = first; o < end; ++o, u += kPoints) {
          const float* taps = w + o * outer_step + i * inner_step + row * kTaps;
          F8 sum = {};
          for (int k = 0; k < kTaps; ++k) sum += same(taps[k]) * kOfWeight[k];
          store(u, sum);
        }
  }
}

void transform_input(const RowShape& s, const float* x, float* v) {
  const int64_t rows = s.inputs * s.height, tiles = s.tiles();
  for (int64_t row = 0; row < rows; ++row, x += s.width)
    for (int64_t tile = 0; tile < tiles; ++tile, v += kPoints) {
      const float* from = x + tile * kTile;
      F8 even = same(from[0]) * kOfInput[0], odd = same(from[1]) * kOfInput[1];
      for (int j = 2; j < kPoints; j += 2) {
        even += same(from[j]) * kOfInput[j];
        odd += same(from[j + 1]) * kOfInput[j + 1];
      }
      store(v, even + odd);
    }
}

// Sums of products of kCount outputs x two rows x two tiles, which take 12 of the 16 registers for
// kCount = 3.
template <int kCount>
struct Sums {
  F8 of[kCount][4];

  void add(const float* a, const float* b, const float* u) {
    F8 weight[kCount];
    for (int o = 0; o < kCount; ++o) weight[o] = load_once(u + o * kPoints);
    const float* const from[4] = {a, a + kPoints, b, b + kPoints};
    for (int k = 0; k < 4; ++k) {
      const F8 value = load_once(from[k]);
      for (int o = 0; o < kCount; ++o) of[o][k] += weight[o] * value;
    }
  }
};

template <int kCount>
void forward_block(const RowShape& s, const float* v, const float* u, const float* bias, float* y) {
  const int64_t row_step = s.tiles() * kPoints, v_plane = s.height * row_step;
  const int64_t y_plane = s.out_height * s.out_width;
  for (int64_t row = 0; row < s.out_height; row += 2) {
    const int64_t next = row + 1 < s.out_height ? row + 1 : row;
    for (int64_t tile = 0; tile < s.tiles(); tile += 2) {
      Sums<kCount> sums = {};
      const float* weight = u;
      const float* a = v + row * row_step + tile * kPoints;
      const float* b = v + next * row_step + tile * kPoints;
      for (int64_t c = 0; c < s.inputs; ++c, a += v_plane, b += v_plane)
      // Unrolled, the registers would not do.
#pragma GCC unroll 1
        for (int kh = 0; kh < kTaps; ++kh, weight += kCount * kPoints)
          sums.add(a + kh * row_step, b + kh * row_step, weight);
      for (int o = 0; o < kCount; ++o) {
        const F8 start = same(bias ? bias[o] : 0.0f);
        float* const to = y + o * y_plane + tile * kTile;
        store(to + row * s.out_width, results_of(sums.of[o][0], sums.of[o][1]) + start);
        store(to + next * s.out_width, results_of(sums.of[o][2], sums.of[o][3]) + start);
      }
    }
  }
}

void forward(const RowShape& s, const float* x, const float* u, const float* bias, float* v,
             float* y) {
  transform_input(s, x, v);
  const int64_t plane = s.out_height * s.out_width, u_step = s.inputs * kTaps * kPoints;
  for (int64_t o = 0; o < s.outputs; o += kBlock) {
    const float* const own_bias = bias ? bias + o : nullptr;
    if (s.outputs - o >= 3)
      forward_block<3>(s, v, u + o * u_step, own_bias, y + o * plane);
    else if (s.outputs - o == 2)
      forward_block<2>(s, v, u + o * u_step, own_bias, y + o * plane);
    else
      forward_block<1>(s, v, u + o * u_step, own_bias, y + o * plane);
  }
}

void transform_gradient(const RowShape& s, const float* dy, float* d, float* db) {
  const int64_t margin = (kTaps - 1) * s.tiles() * kPoints;
  const int64_t count = s.out_height * s.tiles();
  for (int64_t o = 0; o < s.outputs; ++o) {
    F8 all = {};
    d += margin;
    for (int64_t i = 0; i < count; ++i, dy += kTile, d += kPoints) {
      F8 sum = same(dy[0]) * kOfResult[0];
      for (int k = 1; k < kTile; ++k) sum += same(dy[k]) * kOfResult[k];
      store(d, sum);
      all += sum;
    }
    d += margin;
    if (db) db[o] += all[1];  // the point 1: the plain sum
  }
}

// Adds to V of kCount inputs what the outputs [first, end) send back.
template <int kCount>
void backward_block(const RowShape& s, int64_t first, int64_t end, const float* d, const float* u,
                    float* v) {
  const int64_t row_step = s.tiles() * kPoints, v_plane = s.height * row_step;
  const int64_t above = kTaps - 1, d_plane = (s.out_height + 2 * above) * row_step;
  for (int64_t row = 0; row < s.height; row += 2) {
    const int64_t next = row + 1 < s.height ? row + 1 : row;
    // Rows of the kernel that meet a row of dy from either row of dx.
    const int64_t low = row - s.out_height + 1 > 0 ? row - s.out_height + 1 : 0;
    const int64_t high = next < above ? next : above;
    for (int64_t tile = 0; tile < s.tiles(); tile += 2) {
      float* const to_a = v + row * row_step + tile * kPoints;
      float* const to_b = v + next * row_step + tile * kPoints;
      Sums<kCount> sums = {};
      if (first > 0)
        for (int c = 0; c < kCount; ++c)
          for (int k = 0; k < 2; ++k) {
            sums.of[c][k] = load(to_a + c * v_plane + k * kPoints);
            sums.of[c][2 + k] = load(to_b + c * v_plane + k * kPoints);
          }
      for (int64_t o = first; o < end; ++o) {
        const float* const a = d + o * d_plane + (row + above) * row_step + tile * kPoints;
        const float* const b = d + o * d_plane + (next + above) * row_step + tile * kPoints;
        const float* const weight = u + o * kTaps * kCount * kPoints;
        for (int64_t kh = low; kh <= high; ++kh)
          sums.add(a - kh * row_step, b - kh * row_step, weight + kh * kCount * kPoints);
      }
      for (int c = 0; c < kCount; ++c)
        for (int k = 0; k < 2; ++k) {
          store(to_a + c * v_plane + k * kPoints, sums.of[c][k]);
          store(to_b + c * v_plane + k * kPoints, sums.of[c][2 + k]);
        }
    }
  }
}

// The transposed transform of V: each tile adds to the eight values that it would read.
void inputs_of(const RowShape& s, const float* v, float* dx) {
  F8 row_of_input[kPoints];
  for (int p = 0; p < kPoints; ++p)
    for (int j = 0; j < kPoints; ++j) row_of_input[p][j] = kOfInput[j][p];
  const int64_t rows = s.inputs * s.height, tiles = s.tiles();
  for (int64_t row = 0; row < rows; ++row, dx += s.width) {
    store_part(dx, F8{}, kTile);
    for (int64_t tile = 0; tile < tiles; ++tile, v += kPoints) {
      F8 even = same(v[0]) * row_of_input[0], odd = same(v[1]) * row_of_input[1];
      for (int p = 2; p < kPoints; p += 2) {
        even += same(v[p]) * row_of_input[p];
        odd += same(v[p + 1]) * row_of_input[p + 1];
      }
      float* const to = dx + tile * kTile;
      store(to, load_part(to, kTile) + (even + odd));
    }
  }
}

void backward_data(const RowShape& s, const float* d, const float* u, float* v, float* dx) {
  // So many outputs at a time that what a block of inputs reads stays in the first cache.
  constexpr int64_t kOutputs = 10;
  const int64_t plane = s.height * s.tiles() * kPoints, u_step = s.outputs * kTaps * kPoints;
  for (int64_t first = 0; first < s.outputs; first += kOutputs) {
    const int64_t end = first + kOutputs < s.outputs ? first + kOutputs : s.outputs;
    for (int64_t c = 0; c < s.inputs; c += kBlock) {
      if (s.inputs - c >= 3)
        backward_block<3>(s, first, end, d, u + c * u_step, v + c * plane);
      else if (s.inputs - c == 2)
        backward_block<2>(s, first, end, d, u + c * u_step, v + c * plane);
      else
        backward_block<1>(s, first, end, d, u + c * u_step, v + c * plane);
    }
  }
  inputs_of(s, v, dx);
}

// kOutputs outputs x all rows of the kernel in registers, summed over all tiles.
template <int kOutputs>
void weights_of(const RowShape& s, const float* v, const float* d, int64_t o, float* du) {
  const int64_t row_step = s.tiles() * kPoints, v_plane = s.height * row_step;
  const int64_t d_plane = (s.out_height + 2 * (kTaps - 1)) * row_step;
  const int64_t count = s.out_height * row_step;
  const float* const gradient = d + o * d_plane + (kTaps - 1) * row_step;
  for (int64_t c = 0; c < s.inputs; ++c) {
    F8 sum[kOutputs][kTaps];
    float* const to = du + (o * s.inputs + c) * kTaps * kPoints;
    const int64_t to_step = s.inputs * kTaps * kPoints;
    for (int k = 0; k < kOutputs; ++k)
      for (int kh = 0; kh < kTaps; ++kh) sum[k][kh] = load(to + k * to_step + kh * kPoints);
    const float* const from = v + c * v_plane;
    for (int64_t i = 0; i < count; i += kPoints) {
      F8 each[kOutputs];
      for (int k = 0; k < kOutputs; ++k) each[k] = load_once(gradient + k * d_plane + i);
      for (int kh = 0; kh < kTaps; ++kh) {
        const F8 value = load_once(from + i + kh * row_step);
        for (int k = 0; k < kOutputs; ++k) sum[k][kh] += each[k] * value;
      }
    }
    for (int k = 0; k < kOutputs; ++k)
      for (int kh = 0; kh < kTaps; ++kh) store(to + k * to_step + kh * kPoints, sum[k][kh]);
  }
}

void backward_weights(const RowShape& s, const float* x, const float* d, float* v, float* du) {
  transform_input(s, x, v);
  int64_t o = 0;
  for (; o + 2 <= s.outputs; o += 2) weights_of<2>(s, v, d, o, du);
  if (o < s.outputs) weights_of<1>(s, v, d, o, du);
}

void unpack(const RowShape& s, int64_t begin, int64_t end, const float* du, int64_t parts,
            int64_t stride, bool add, float* dw) {
  const int64_t rows = s.inputs * kTaps;  // of one output
  for (int64_t row = begin * rows; row < end * rows; ++row) {
    const float* const from = du + row * kPoints;
    float* const to = dw + row * kTaps;
    F8 sum = load(from);
    for (int64_t part = 1; part < parts; ++part) sum += load(from + part * stride);
    for (int k = 0; k < kTaps; ++k) {
      const F8 each = sum * kOfWeight[k];
      const float total =
          ((each[0] + each[4]) + (each[1] + each[5])) + ((each[2] + each[6]) + (each[3] + each[7]));
      to[k] = add ? to[k] + total : total;
    }
  }
}

}  // namespace

extern const RowLoops row_table = {pack,          forward,          transform_gradient,
                                   backward_data, backward_weights, unpack};

}  // namespace pcc::cpu::PCC_ISA
