#include "backends/cpu/kernels/winograd_loops.h"

namespace pcc::cpu::PCC_ISA {

namespace {

#if defined(__AVX512F__)
constexpr int kLane = 16;
#else
constexpr int kLane = 8;
#endif
typedef float V __attribute__((vector_size(kLane * 4)));
typedef float VAnywhere __attribute__((vector_size(kLane * 4), aligned(4), may_alias));

inline V get(const float* from) { return *reinterpret_cast<const VAnywhere*>(from); }
inline void put(float* to, V value) { *reinterpret_cast<VAnywhere*>(to) = value; }
inline V all(float value) {
#if defined(__AVX512F__)
  return V{value, value, value, value, value, value, value, value,
           value, value, value, value, value, value, value, value};
#else
  return V{value, value, value, value, value, value, value, value};
#endif
}

constexpr int kPair = 2 * kLane;  // outputs that the inner products keep in registers

// U lies as 16 planes of [pair of blocks of outputs][input][output in the pair]; the last pair may
// be a single block.
inline int64_t u_offset(const WinogradShape& s, int64_t plane, int64_t output) {
  return plane * s.inputs * s.outputs + output / kPair * kPair * s.inputs;
}
inline int64_t pair_width(const WinogradShape& s, int64_t output) {
  const int64_t rest = s.outputs - output / kPair * kPair;
  return rest < kPair ? rest : kPair;
}

// G g G^T of one 3x3 kernel.
inline void transform_kernel(const float (&g)[3][3], float (&u)[4][4]) {
  float half[4][3];
  for (int j = 0; j < 3; ++j) {
    const float ends = 0.5f * (g[0][j] + g[2][j]), middle = 0.5f * g[1][j];
    half[0][j] = g[0][j];
    half[1][j] = ends + middle;
    half[2][j] = ends - middle;
    half[3][j] = g[2][j];
  }
  for (int i = 0; i < 4; ++i) {
    const float ends = 0.5f * (half[i][0] + half[i][2]), middle = 0.5f * half[i][1];
    u[i][0] = half[i][0];
    u[i][1] = ends + middle;
    u[i][2] = ends - middle;
    u[i][3] = half[i][2];
  }
}

void pack(const WinogradShape& s, bool turned, int64_t begin, int64_t end, const float* w,
          float* u) {
  for (int64_t o = begin; o < end; ++o) {
    const int64_t width = pair_width(s, o), place = o % kPair;
    for (int64_t c = 0; c < s.inputs; ++c) {
      float g[3][3], four[4][4];
      const float* from = w + (turned ? c * s.outputs + o : o * s.inputs + c) * 9;
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) g[i][j] = turned ? from[8 - i * 3 - j] : from[i * 3 + j];
      transform_kernel(g, four);
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) u[u_offset(s, i * 4 + j, o) + c * width + place] = four[i][j];
    }
  }
}

void unpack(const WinogradShape& s, int64_t begin, int64_t end, const float* du, int64_t parts,
            int64_t stride, bool add, float* dw) {
  const int64_t plane = s.inputs * s.outputs;
  for (int64_t o = begin; o < end; ++o)
    for (int64_t c = 0; c < s.inputs; ++c) {
      float m[4][4];
      for (int k = 0; k < 16; ++k) {
        const float* from = du + k * plane + c * s.outputs + o;
        float sum = 0;
        for (int64_t part = 0; part < parts; ++part) sum += from[part * stride];
        m[k / 4][k % 4] = sum;
      }
      // G^T m G
      float half[3][4];
      for (int j = 0; j < 4; ++j) {
        const float sum = 0.5f * (m[1][j] + m[2][j]);
        half[0][j] = m[0][j] + sum;
        half[1][j] = 0.5f * (m[1][j] - m[2][j]);
        half[2][j] = m[3][j] + sum;
      }
      float* to = dw + (o * s.inputs + c) * 9;
      for (int i = 0; i < 3; ++i) {
        const float sum = 0.5f * (half[i][1] + half[i][2]);
        const float row[3] = {half[i][0] + sum, 0.5f * (half[i][1] - half[i][2]), half[i][3] + sum};
        for (int j = 0; j < 3; ++j) to[i * 3 + j] = add ? to[i * 3 + j] + row[j] : row[j];
      }
    }
}

// Consecutive tiles of one row of tiles.
struct Segment {
  int64_t sample, row, column, count;
};
inline Segment segment_at(const WinogradShape& s, int64_t tile, int64_t end) {
  const int64_t across = s.tiles_across(), row = tile / across;
  Segment segment = {row / s.tiles_down(), row % s.tiles_down(), tile % across, 0};
  const int64_t rest = across - segment.column;
  segment.count = end - tile < rest ? end - tile : rest;
  return segment;
}

struct Column {
  V value[4];
};

// B^T applied to one column of four input places; rows outside of the picture point to zeros.
inline Column column_of(const float* const (&rows)[4], int64_t j, int64_t width) {
  Column c;
  if (j < 0 || j >= width) {
    for (V& each : c.value) each = V{};
    return c;
  }
  V d[4];
  for (int i = 0; i < 4; ++i) d[i] = get(rows[i] + j * kLane);
  c.value[0] = d[0] - d[2];
  c.value[1] = d[1] + d[2];
  c.value[2] = d[2] - d[1];
  c.value[3] = d[1] - d[3];
  return c;
}

// V of the tiles [begin, end): v[plane][tile][channel].
void transform_inputs(const WinogradShape& s, int64_t plane, int64_t begin, int64_t end,
                      const float* x, const float* zeros, float* v) {
  const int64_t channels = s.inputs, row_size = s.width * kLane;
  for (int64_t tile = begin; tile < end;) {
    const Segment part = segment_at(s, tile, end);
    for (int64_t block = 0; block < channels / kLane; ++block) {
      const float* from = x + (part.sample * channels / kLane + block) * s.height * row_size;
      const float* rows[4];
      for (int i = 0; i < 4; ++i) {
        const int64_t row = 2 * part.row - 1 + i;
        rows[i] = row < 0 || row >= s.height ? zeros : from + row * row_size;
      }
      // The rows that the next row of tiles adds, or those of the next sample: too short for the
      // processor to foresee.
      const bool within = part.row + 1 < s.tiles_down();
      const float* const ahead = within ? from + (2 * part.row + 3) * row_size
                                        : from + channels / kLane * s.height * row_size;
      float* to = v + (tile - begin) * channels + block * kLane;
      Column a = column_of(rows, 2 * part.column - 1, s.width),
             b = column_of(rows, 2 * part.column, s.width);
      for (int64_t t = 0; t < part.count; ++t, to += channels) {
        const int64_t j = 2 * (part.column + t);
        __builtin_prefetch(ahead + j * kLane);
        __builtin_prefetch(ahead + row_size + j * kLane);
        if (kLane == 16) {
          __builtin_prefetch(ahead + (j + 1) * kLane);
          __builtin_prefetch(ahead + row_size + (j + 1) * kLane);
        }
        const Column c = column_of(rows, j + 1, s.width), d = column_of(rows, j + 2, s.width);
        for (int i = 0; i < 4; ++i) {
          put(to + (4 * i) * plane, a.value[i] - c.value[i]);
          put(to + (4 * i + 1) * plane, b.value[i] + c.value[i]);
          put(to + (4 * i + 2) * plane, c.value[i] - b.value[i]);
          put(to + (4 * i + 3) * plane, b.value[i] - d.value[i]);
        }
        a = c;
        b = d;
      }
    }
    tile += part.count;
  }
}

// y of the tiles [begin, end) from m[plane][tile][channel].
void transform_outputs(const WinogradShape& s, int64_t plane, int64_t begin, int64_t end,
                       const float* m, const float* bias, float* y) {
  const int64_t row_size = s.width * kLane;
  for (int64_t tile = begin; tile < end;) {
    const Segment part = segment_at(s, tile, end);
    for (int64_t block = 0; block < s.outputs / kLane; ++block) {
      const float* from = m + (tile - begin) * s.outputs + block * kLane;
      float* to = y +
                  ((part.sample * s.outputs / kLane + block) * s.height + 2 * part.row) * row_size +
                  2 * part.column * kLane;
      const V shift = bias ? get(bias + block * kLane) : V{};
      const bool below = 2 * part.row + 1 < s.height;
      float* const ahead = part.row + 1 < s.tiles_down()
                               ? to + 2 * row_size
                               : to + (s.outputs / kLane * s.height - 2 * part.row) * row_size;
      for (int64_t t = 0; t < part.count; ++t, from += s.outputs, to += 2 * kLane) {
        __builtin_prefetch(ahead + 2 * t * kLane, 1);
        __builtin_prefetch(ahead + row_size + 2 * t * kLane, 1);
        V upper[4], lower[4];
        for (int j = 0; j < 4; ++j) {
          const V one = get(from + (4 + j) * plane), two = get(from + (8 + j) * plane);
          upper[j] = get(from + j * plane) + one + two;
          lower[j] = one - two - get(from + (12 + j) * plane);
        }
        const bool right = 2 * (part.column + t) + 1 < s.width;
        put(to, upper[0] + upper[1] + upper[2] + shift);
        if (right) put(to + kLane, upper[1] - upper[2] - upper[3] + shift);
        if (!below) continue;
        put(to + row_size, lower[0] + lower[1] + lower[2] + shift);
        if (right) put(to + row_size + kLane, lower[1] - lower[2] - lower[3] + shift);
      }
    }
    tile += part.count;
  }
}

// Y = A dy A^T of the tiles [begin, end), and the sums of dy.
void transform_gradients(const WinogradShape& s, int64_t plane, int64_t begin, int64_t end,
                         const float* dy, float* g, float* db) {
  const int64_t row_size = s.width * kLane;
  for (int64_t tile = begin; tile < end;) {
    const Segment part = segment_at(s, tile, end);
    for (int64_t block = 0; block < s.outputs / kLane; ++block) {
      const float* from =
          dy + ((part.sample * s.outputs / kLane + block) * s.height + 2 * part.row) * row_size +
          2 * part.column * kLane;
      float* to = g + (tile - begin) * s.outputs + block * kLane;
      const bool below = 2 * part.row + 1 < s.height;
      V sum = {};
      for (int64_t t = 0; t < part.count; ++t, from += 2 * kLane, to += s.outputs) {
        const bool right = 2 * (part.column + t) + 1 < s.width;
        const V a = get(from), b = right ? get(from + kLane) : V{};
        const V c = below ? get(from + row_size) : V{};
        const V d = below && right ? get(from + row_size + kLane) : V{};
        const V left[4] = {a, a + c, a - c, -c}, far[4] = {b, b + d, b - d, -d};
        sum += left[1] + far[1];
        for (int i = 0; i < 4; ++i) {
          put(to + (4 * i) * plane, left[i]);
          put(to + (4 * i + 1) * plane, left[i] + far[i]);
          put(to + (4 * i + 2) * plane, left[i] - far[i]);
          put(to + (4 * i + 3) * plane, -far[i]);
        }
      }
      if (db) put(db + block * kLane, get(db + block * kLane) + sum);
    }
    tile += part.count;
  }
}

// m[tile][kVectors * kLane outputs] = sum over inputs of v[tile][input] * u[input][output], for
// kRows tiles.
template <int kRows, int kVectors>
inline void multiply(int64_t inputs, int64_t outputs, const float* v, const float* u, float* m) {
  V sum[kRows][kVectors];  // cleared one by one: `= {}` becomes a loop through memory
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kVectors; ++k) sum[r][k] = V{};
  for (int64_t c = 0; c < inputs; ++c, u += kVectors * kLane) {
    V right[kVectors];
    for (int k = 0; k < kVectors; ++k) right[k] = get(u + k * kLane);
    for (int r = 0; r < kRows; ++r) {
      const V left = all(v[r * inputs + c]);
      for (int k = 0; k < kVectors; ++k) sum[r][k] += left * right[k];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kVectors; ++k) put(m + r * outputs + k * kLane, sum[r][k]);
}

void forward(const WinogradShape& s, int64_t begin, int64_t end, const float* x, const float* u,
             const float* bias, float* scratch, const float* zeros, float* y) {
  constexpr int64_t kTiles = kWinogradTiles;
  const int64_t v_plane = winograd_plane(kTiles, s.inputs),
                m_plane = winograd_plane(kTiles, s.outputs);
  float *const v = scratch, *const m = scratch + 16 * v_plane;
  for (int64_t first = begin; first < end; first += kTiles) {
    const int64_t last = first + kTiles < end ? first + kTiles : end;
    transform_inputs(s, v_plane, first, last, x, zeros, v);
    for (int64_t k = 0; k < 16; ++k) {
      const float* const left = v + k * v_plane;
      float* const to = m + k * m_plane;
      for (int64_t o = 0; o < s.outputs; o += kPair) {
        const float* const right = u + u_offset(s, k, o);
        // A last chunk of fewer tiles computes on what the one before left, and nobody reads the
        // results.
        if (s.outputs - o >= kPair)
          for (int64_t t = 0; t < last - first; t += 6)
            multiply<6, 2>(s.inputs, s.outputs, left + t * s.inputs, right, to + t * s.outputs + o);
        else
          for (int64_t t = 0; t < last - first; t += 12)
            multiply<12, 1>(s.inputs, s.outputs, left + t * s.inputs, right,
                            to + t * s.outputs + o);
      }
    }
    transform_outputs(s, m_plane, first, last, m, bias, y);
  }
}

// du[kRows inputs][kVectors * kLane outputs] += sum over tiles of v[tile][input] * g[tile][output].
template <int kRows, int kVectors>
inline void accumulate(int64_t tiles, int64_t inputs, int64_t outputs, const float* v,
                       const float* g, float* du) {
  V sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kVectors; ++k) sum[r][k] = get(du + r * outputs + k * kLane);
  for (int64_t t = 0; t < tiles; ++t, v += inputs, g += outputs) {
    V right[kVectors];
    for (int k = 0; k < kVectors; ++k) right[k] = get(g + k * kLane);
    for (int r = 0; r < kRows; ++r) {
      const V left = all(v[r]);
      for (int k = 0; k < kVectors; ++k) sum[r][k] += left * right[k];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int k = 0; k < kVectors; ++k) put(du + r * outputs + k * kLane, sum[r][k]);
}

void backward_weights(const WinogradShape& s, int64_t begin, int64_t end, const float* x,
                      const float* dy, float* scratch, const float* zeros, float* du, float* db) {
  const int64_t chunk = winograd_sum_tiles(s);
  const int64_t v_plane = winograd_plane(chunk, s.inputs),
                g_plane = winograd_plane(chunk, s.outputs);
  float *const v = scratch, *const g = scratch + 16 * v_plane;
  for (int64_t first = begin; first < end; first += chunk) {
    const int64_t last = first + chunk < end ? first + chunk : end, tiles = last - first;
    transform_inputs(s, v_plane, first, last, x, zeros, v);
    transform_gradients(s, g_plane, first, last, dy, g, db);
    for (int64_t k = 0; k < 16; ++k) {
      const float* const left = v + k * v_plane;
      const float* const right = g + k * g_plane;
      float* const to = du + k * s.inputs * s.outputs;
      for (int64_t o = 0; o < s.outputs; o += kPair) {
        const bool pair = s.outputs - o >= kPair;
        // Rows of six, and one or two of four at the end: inputs are a multiple of eight.
        for (int64_t c = 0; c < s.inputs;) {
          const int64_t rest = s.inputs - c, step = rest == 4 || rest == 8 ? 4 : 6;
          float* const at = to + c * s.outputs + o;
          if (pair && step == 6)
            accumulate<6, 2>(tiles, s.inputs, s.outputs, left + c, right + o, at);
          else if (pair)
            accumulate<4, 2>(tiles, s.inputs, s.outputs, left + c, right + o, at);
          else if (step == 6)
            accumulate<6, 1>(tiles, s.inputs, s.outputs, left + c, right + o, at);
          else
            accumulate<4, 1>(tiles, s.inputs, s.outputs, left + c, right + o, at);
          c += step;
        }
      }
    }
  }
}

}  // namespace

extern const WinogradLoops winograd_table = {kLane, pack, forward, backward_weights, unpack};

}  // namespace pcc::cpu::PCC_ISA
