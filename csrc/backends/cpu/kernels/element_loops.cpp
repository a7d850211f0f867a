// Plain loops: the compiler turns them into vectors. `ivdep`: where two arrays are the same,
// element i meets element i only.
#include "backends/cpu/kernels/element_loops.h"

namespace pcc::cpu::PCC_ISA {

namespace {

constexpr int64_t kTile = 2048;  // stays in the first-level cache while several inputs pass over it

void relu(int64_t count, const float* x, float slope, float* y) {
  if (slope == 0) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) y[i] = x[i] < 0 ? 0 : x[i];
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] > 0 ? x[i] : slope * x[i];
}

void relu_backward(int64_t count, const float* sign, const float* const* dy, int parts, float slope,
                   float* dx) {
  const float* const a = dy[0];
  if (parts == 1) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) dx[i] = sign[i] > 0 ? a[i] : slope * a[i];
    return;
  }
  const float* const b = dy[1];
  if (parts == 2) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      const float g = a[i] + b[i];
      dx[i] = sign[i] > 0 ? g : slope * g;
    }
    return;
  }
  const float *const c = dy[2], *const d = dy[parts - 1];
  const float fourth = parts > 3 ? 1 : 0;
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float g = a[i] + b[i] + c[i] + fourth * d[i];
    dx[i] = sign[i] > 0 ? g : slope * g;
  }
}

// exp(x) for x <= 0, to about two units in the last place; NaN stays NaN. 2^n * exp(r) with x =
// n log 2 + r, |r| <= log(2) / 2; log 2 in two parts, whose products with n are exact or nearly so.
// Polynomial: S. Moshier, Cephes, expf.c.
inline float exp_of(float x) {
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: a sum with it has no room for fractions
  const float bounded = x < -87.0f ? -87.0f : x;
  const float shifted = bounded * 1.44269504f + kShift, n = shifted - kShift;
  const float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  float sum = 1.9875691500e-4f;
  sum = sum * r + 1.3981999507e-3f;
  sum = sum * r + 8.3334519073e-3f;
  sum = sum * r + 4.1665795894e-2f;
  sum = sum * r + 1.6666665459e-1f;
  sum = sum * r + 5.0000001201e-1f;
  sum = sum * r * r + r + 1;
  const auto power = (__builtin_bit_cast(uint32_t, shifted) - 0x4B400000u + 127) << 23;
  return sum * __builtin_bit_cast(float, power);
}

inline float sigmoid_of(float x) {
  const float e = exp_of(x > 0 ? -x : x);
  return (x > 0 ? 1 : e) / (1 + e);
}

// Near 0, where 1 - exp(-2x) would lose its digits, a polynomial: S. Moshier, Cephes, tanhf.c.
inline float tanh_of(float x) {
  const float size = x < 0 ? -x : x, e = exp_of(-2 * size);
  const float far = (1 - e) / (1 + e), z = x * x;
  float near = -5.70498872745e-3f;
  near = near * z + 2.06390887954e-2f;
  near = near * z - 5.37397155531e-2f;
  near = near * z + 1.33314422036e-1f;
  near = near * z - 3.33332819422e-1f;
  near = near * z * x + x;
  return size < 0.625f ? near : x < 0 ? -far : far;
}

void sigmoid(int64_t count, const float* x, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = sigmoid_of(x[i]);
}

void sigmoid_backward(int64_t count, const float* y, const float* dy, float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * y[i] * (1 - y[i]);
}

void tanh(int64_t count, const float* x, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = tanh_of(x[i]);
}

void tanh_backward(int64_t count, const float* y, const float* dy, float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * (1 - y[i] * y[i]);
}

void elu(int64_t count, const float* x, float alpha, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float e = exp_of(x[i] > 0 ? 0 : x[i]);
    y[i] = x[i] > 0 ? x[i] : alpha * (e - 1);
  }
}

void elu_backward(int64_t count, const float* sign, const float* y, float alpha, const float* dy,
                  float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = sign[i] > 0 ? dy[i] : dy[i] * (alpha + y[i]);
}

void swish(int64_t count, const float* x, float beta, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * sigmoid_of(beta * x[i]);
}

void swish_backward(int64_t count, const float* x, float beta, const float* dy, float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float z = beta * x[i], s = sigmoid_of(z);
    dx[i] = dy[i] * (z * s + s * (1 - z * s));
  }
}

void power(int64_t count, const float* x, float scale, float shift, bool square, float* y) {
  if (!square) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) y[i] = scale * x[i] + shift;
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) {
    const float base = scale * x[i] + shift;
    y[i] = base * base;
  }
}

void power_backward(int64_t count, const float* x, float scale, float shift, bool square,
                    const float* dy, float* dx) {
  if (!square) {
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) dx[i] = scale * dy[i];
    return;
  }
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = dy[i] * (2 * scale * (scale * x[i] + shift));
}

void lstm(int64_t hidden, const float* u, float cont, const float* before, float* c, float* h) {
  const float *f = u + hidden, *o = u + 2 * hidden, *g = u + 3 * hidden;
#pragma GCC ivdep
  for (int64_t i = 0; i < hidden; ++i) {
    c[i] = cont * sigmoid_of(f[i]) * before[i] + sigmoid_of(u[i]) * tanh_of(g[i]);
    h[i] = sigmoid_of(o[i]) * tanh_of(c[i]);
  }
}

void lstm_backward(int64_t hidden, const float* u, float cont, const float* before, const float* dh,
                   float* dc, float* du) {
#pragma GCC ivdep
  for (int64_t i = 0; i < hidden; ++i) {
    const float in = sigmoid_of(u[i]), f = sigmoid_of(u[hidden + i]);
    const float o = sigmoid_of(u[2 * hidden + i]), g = tanh_of(u[3 * hidden + i]);
    const float tanh_c = tanh_of(cont * f * before[i] + in * g);
    const float dstate = dc[i] + dh[i] * o * (1 - tanh_c * tanh_c);
    du[i] = dstate * g * in * (1 - in);
    du[hidden + i] = cont * dstate * before[i] * f * (1 - f);
    du[2 * hidden + i] = dh[i] * tanh_c * o * (1 - o);
    du[3 * hidden + i] = dstate * in * (1 - g * g);
    dc[i] = dstate * cont * f;
  }
}

void sum(int64_t count, const float* const* x, const float* coeff, int terms, float* y) {
  for (int64_t first = 0; first < count; first += kTile) {
    const int64_t n = count - first < kTile ? count - first : kTile;
    const float* const a = x[0] + first;
    float* const to = y + first;
    if (terms == 1) {
      const float ca = coeff ? coeff[0] : 1;
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) to[i] = ca * a[i];
      continue;
    }
    const float* const b = x[1] + first;
    if (coeff) {
      const float ca = coeff[0], cb = coeff[1];
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) to[i] = ca * a[i] + cb * b[i];
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) to[i] = a[i] + b[i];
    }
    for (int k = 2; k < terms; ++k) {
      const float* const more = x[k] + first;
      const float ck = coeff ? coeff[k] : 1;
#pragma GCC ivdep
      for (int64_t i = 0; i < n; ++i) to[i] += ck * more[i];
    }
  }
}

void product(int64_t count, const float* const* x, int terms, int skip, const float* factor,
             float* y) {
  for (int64_t first = 0; first < count; first += kTile) {
    const int64_t n = count - first < kTile ? count - first : kTile;
    float* const to = y + first;
    bool begun = false;
    const auto take = [&](const float* from) {
      if (begun) {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) to[i] *= from[i];
      } else {
#pragma GCC ivdep
        for (int64_t i = 0; i < n; ++i) to[i] = from[i];
      }
      begun = true;
    };
    for (int k = 0; k < terms; ++k)
      if (k != skip) take(x[k] + first);
    if (factor) take(factor + first);
  }
}

void quotient(int64_t count, const float* y, const float* x, const float* dy, float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = y[i] / x[i] * dy[i];
}

void maximum(int64_t count, const float* const* x, int terms, float* y, uint8_t* winner) {
  for (int64_t i = 0; i < count; ++i) {
    int best = x[0][i] > x[1][i] ? 0 : 1;
    for (int k = 2; k < terms; ++k)
      if (x[k][i] > x[best][i]) best = k;
    y[i] = x[best][i];
    if (winner) winner[i] = static_cast<uint8_t>(best);
  }
}

void maximum_backward(int64_t count, const uint8_t* winner, int k, const float* dy, float* dx) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) dx[i] = winner[i] == k ? dy[i] : 0;
}

void mask(int64_t count, const float* x, const uint8_t* kept, float scale, float* y) {
#pragma GCC ivdep
  for (int64_t i = 0; i < count; ++i) y[i] = kept[i] ? x[i] * scale : 0;
}

double squares(int64_t count, const float* x) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int lane = 0; lane < 8; ++lane)
      lanes[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  for (; i < count; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

template <typename T>
void transform(int64_t count, const T* x, const float* mean, float flat, float scale, bool mirrored,
               float* y) {
  if (mirrored) {
    float* const last = y + count - 1;
    if (mean)
      for (int64_t i = 0; i < count; ++i) last[-i] = (static_cast<float>(x[i]) - mean[i]) * scale;
    else
      for (int64_t i = 0; i < count; ++i) last[-i] = (static_cast<float>(x[i]) - flat) * scale;
    return;
  }
  if (mean)
    for (int64_t i = 0; i < count; ++i) y[i] = (static_cast<float>(x[i]) - mean[i]) * scale;
  else
    for (int64_t i = 0; i < count; ++i) y[i] = (static_cast<float>(x[i]) - flat) * scale;
}

}  // namespace

extern const ElementLoops element_loops;
const ElementLoops element_loops = {relu,
                                    relu_backward,
                                    sigmoid,
                                    sigmoid_backward,
                                    tanh,
                                    tanh_backward,
                                    elu,
                                    elu_backward,
                                    swish,
                                    swish_backward,
                                    power,
                                    power_backward,
                                    lstm,
                                    lstm_backward,
                                    sum,
                                    product,
                                    quotient,
                                    maximum,
                                    maximum_backward,
                                    mask,
                                    squares,
                                    transform<uint8_t>,
                                    transform<float>};

}  // namespace pcc::cpu::PCC_ISA
