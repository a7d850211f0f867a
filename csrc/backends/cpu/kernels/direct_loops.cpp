#include "backends/cpu/kernels/direct_loops.h"

#include "backends/cpu/kernels/vec.h"

namespace pcc::cpu::PCC_ISA {

namespace {

// Where vector `i` of an output plane begins in x and in y.
struct Place {
  int64_t x, y;
};
inline Place place_of(const DirectShape& s, int64_t vector) {
  const int64_t per_row = s.out_width / 8, row = vector / per_row, column = vector % per_row * 8;
  return {row * s.width + column, row * s.out_width + column};
}

void pack_forward(const DirectShape& s, int block, const float* w, float* packed) {
  const int64_t reduced = s.inputs * s.taps();
  for (int64_t first = 0; first < s.outputs; first += block)
    for (int64_t k = 0; k < reduced; ++k)
      for (int64_t o = first; o < first + block; ++o)
        *packed++ = o < s.outputs ? w[o * reduced + k] : 0.0f;
}

// kBlock outputs x 2 vectors in registers: a tap costs 2 loads and kBlock broadcasts for 2 * kBlock
// products.
template <int kBlock, int kWidth>
void forward_blocks(const DirectShape& s, const float* x, const float* w, const float* bias,
                    float* y) {
  const int64_t vectors = s.out_height * s.out_width / 8, plane = s.out_height * s.out_width;
  for (int64_t first = 0; first < s.outputs; first += kBlock, w += kBlock * s.inputs * s.taps()) {
    const int64_t rest = s.outputs - first;
    for (int64_t i = 0; i < vectors; i += 2) {
      const Place a = place_of(s, i), b = place_of(s, i + 1 < vectors ? i + 1 : i);
      F8 sum[kBlock][2];
      for (int o = 0; o < kBlock; ++o)
        sum[o][0] = sum[o][1] = same(bias && o < rest ? bias[first + o] : 0.0f);
      const float* weight = w;
      for (int64_t c = 0; c < s.inputs; ++c)
        for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
          const float* row = x + (c * s.height + kh) * s.width;
          for (int kw = 0; kw < kWidth; ++kw, weight += kBlock) {
            const F8 left = load(row + a.x + kw), right = load(row + b.x + kw);
            for (int o = 0; o < kBlock; ++o) {
              const F8 each = same(weight[o]);
              sum[o][0] += each * left;
              sum[o][1] += each * right;
            }
          }
        }
      for (int o = 0; o < kBlock && o < rest; ++o) {
        store(y + (first + o) * plane + a.y, sum[o][0]);
        store(y + (first + o) * plane + b.y, sum[o][1]);
      }
    }
  }
}

template <int kBlock>
void forward_width(const DirectShape& s, const float* x, const float* w, const float* bias,
                   float* y) {
  if (s.kernel_width == 5)
    forward_blocks<kBlock, 5>(s, x, w, bias, y);
  else
    forward_blocks<kBlock, 3>(s, x, w, bias, y);
}

void forward(const DirectShape& s, int block, const float* x, const float* w, const float* bias,
             float* y) {
  if (block == 6)
    forward_width<6>(s, x, w, bias, y);
  else if (block == 5)
    forward_width<5>(s, x, w, bias, y);
  else
    forward_width<4>(s, x, w, bias, y);
}

void pack_backward(const DirectShape& s, const float* w, float* turned) {
  const int64_t taps = s.taps();
  for (int64_t c = 0; c < s.inputs; ++c)
    for (int64_t o = 0; o < s.outputs; ++o)
      for (int64_t k = 0; k < taps; ++k) *turned++ = w[(o * s.inputs + c) * taps + k];
}

// For each column of the kernel a plane of its own (a fold) is summed in registers over outputs and
// kernel rows; the folds, each shifted by its column, then make dx. No product with a padding
// column is ever computed.
template <int kWidth>
void backward_data_of(const DirectShape& s, const float* dy, const float* w, float* folds,
                      float* dx) {
  const int64_t above = s.kernel_height - 1, side = kWidth - 1;
  const int64_t dy_plane = (s.out_height + 2 * above) * s.out_width;
  const int64_t fold_row = s.out_width + 2 * side, fold_plane = s.height * fold_row;
  for (int64_t c = 0; c < s.inputs; ++c, w += s.outputs * s.taps()) {
    for (int64_t row = 0; row < s.height; row += 2) {
      const int64_t next = row + 1 < s.height ? row + 1 : row;
      // Rows of the kernel that meet a row of dy from either row of dx.
      const int64_t low = row - s.out_height + 1 > 0 ? row - s.out_height + 1 : 0;
      const int64_t high = next < above ? next : above;
      for (int64_t column = 0; column < s.out_width; column += 8) {
        F8 sum[kWidth][2] = {};
        const float* upper = dy + (row + above) * s.out_width + column;
        const float* lower = dy + (next + above) * s.out_width + column;
        const float* weight = w;
        for (int64_t o = 0; o < s.outputs; ++o) {
          for (int64_t kh = low; kh <= high; ++kh) {
            const F8 a = load(upper - kh * s.out_width), b = load(lower - kh * s.out_width);
            for (int kw = 0; kw < kWidth; ++kw) {
              const F8 each = same(weight[kh * kWidth + kw]);
              sum[kw][0] += each * a;
              sum[kw][1] += each * b;
            }
          }
          upper += dy_plane;
          lower += dy_plane;
          weight += s.taps();
        }
        for (int kw = 0; kw < kWidth; ++kw) {
          store(folds + kw * fold_plane + row * fold_row + side + column, sum[kw][0]);
          store(folds + kw * fold_plane + next * fold_row + side + column, sum[kw][1]);
        }
      }
    }
    for (int64_t row = 0; row < s.height; ++row, dx += s.width)
      for (int64_t column = 0; column < s.width; column += 8) {
        const int64_t at =
            column + 8 <= s.width ? column : s.width - 8;  // the last vector overlaps
        const float* from = folds + row * fold_row + side + at;
        F8 sum = load(from);
        for (int kw = 1; kw < kWidth; ++kw) sum += load(from + kw * fold_plane - kw);
        store(dx + at, sum);
      }
  }
}

void backward_data(const DirectShape& s, const float* dy, const float* w, float* folds, float* dx) {
  if (s.kernel_width == 5)
    backward_data_of<5>(s, dy, w, folds, dx);
  else
    backward_data_of<3>(s, dy, w, folds, dx);
}

inline float total(F8 value) {
  typedef float F4 __attribute__((vector_size(16)));
  const F4 half = pick<0, 1, 2, 3>(value, value) + pick<4, 5, 6, 7>(value, value);
  return (half[0] + half[2]) + (half[1] + half[3]);
}

// kOutputs outputs x one row of the kernel in registers, summed over all places of all samples
// given.
template <int kOutputs, int kWidth>
void weights_of(const DirectShape& s, int64_t samples, const float* x, const float* dy, int64_t o,
                float* dw) {
  const int64_t plane = s.out_height * s.out_width;
  for (int64_t c = 0; c < s.inputs; ++c)
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      F8 sum[kOutputs][kWidth] = {};
      for (int64_t n = 0; n < samples; ++n) {
        const float* row = x + n * s.x_count() + (c * s.height + kh) * s.width;
        const float* g = dy + n * s.y_count() + o * plane;
        for (int64_t i = 0; i < s.out_height; ++i, row += s.width)
          for (int64_t j = 0; j < s.out_width; j += 8, g += 8) {
            F8 each[kOutputs];
            for (int k = 0; k < kOutputs; ++k) each[k] = load(g + k * plane);
            for (int kw = 0; kw < kWidth; ++kw) {
              const F8 value = load_once(row + j + kw);
              for (int k = 0; k < kOutputs; ++k) sum[k][kw] += each[k] * value;
            }
          }
      }
      for (int k = 0; k < kOutputs; ++k)
        for (int kw = 0; kw < kWidth; ++kw)
          dw[((o + k) * s.inputs + c) * s.taps() + kh * kWidth + kw] += total(sum[k][kw]);
    }
}

template <int kOutputs, int kWidth>
void all_weights(const DirectShape& s, int64_t samples, const float* x, const float* dy,
                 float* dw) {
  int64_t o = 0;
  for (; o + kOutputs <= s.outputs; o += kOutputs)
    weights_of<kOutputs, kWidth>(s, samples, x, dy, o, dw);
  for (; o < s.outputs; ++o) weights_of<1, kWidth>(s, samples, x, dy, o, dw);
}

void backward_weights(const DirectShape& s, int64_t samples, const float* x, const float* dy,
                      float* dw, float* db) {
  // So many samples at a time that what two outputs read stays in the first cache.
  const int64_t plane = s.out_height * s.out_width;
  const int64_t fit = 1024 / plane < 1 ? 1 : 1024 / plane > 16 ? 16 : 1024 / plane;
  for (int64_t first = 0; first < samples; first += fit) {
    const int64_t count = samples - first < fit ? samples - first : fit;
    const float *some_x = x + first * s.x_count(), *some_dy = dy + first * s.y_count();
    if (s.kernel_width == 5)
      all_weights<2, 5>(s, count, some_x, some_dy, dw);
    else
      all_weights<4, 3>(s, count, some_x, some_dy, dw);
    if (!db) continue;
    for (int64_t n = 0; n < count; ++n)
      for (int64_t o = 0; o < s.outputs; ++o) {
        F8 sum = {};
        for (int64_t i = 0; i < plane; i += 8)
          sum += load(some_dy + n * s.y_count() + o * plane + i);
        db[o] += total(sum);
      }
  }
}

}  // namespace

extern const DirectLoops direct_table = {forward, pack_forward, backward_data, pack_backward,
                                         backward_weights};

}  // namespace pcc::cpu::PCC_ISA
