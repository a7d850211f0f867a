// Inner loops of the fused BatchNorm, and of PReLU. Single-precision sums run over at most kRun
// steps, then go on in double: that keeps the statistics of a million numbers within 1e-6 at the
// speed of memory.
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/kernels/vec.h"

namespace pcc::cpu::PCC_ISA {

namespace {

constexpr int64_t kRun = 512;

// V vectors per step; Part: the last has only `part` lanes.
template <int V, bool Part>
struct Step {
  static void load_all(const float* from, int part, F8 (&to)[V]) {
    for (int v = 0; v < V; ++v)
      to[v] = Part && v == V - 1 ? load_part(from + 8 * v, part) : load(from + 8 * v);
  }
  static void store_all(float* to, int part, const F8 (&from)[V]) {
    for (int v = 0; v < V; ++v)
      if (Part && v == V - 1)
        store_part(to + 8 * v, from[v], part);
      else
        store(to + 8 * v, from[v]);
  }
};

template <int V>
void load_lanes(const float* from, F8 (&to)[V]) {
  for (int v = 0; v < V; ++v) to[v] = load(from + 8 * v);
}

// Two sums per lane, U independent ones of each so that additions need not wait for each other.
template <int U, int V>
struct Sums {
  F8 a[U][V] = {}, b[U][V] = {};

  void fold(double* total_a, double* total_b) {
    for (int v = 0; v < V; ++v) {
      F8 sum_a = a[0][v], sum_b = b[0][v];
      for (int u = 1; u < U; ++u) {
        sum_a += a[u][v];
        sum_b += b[u][v];
      }
      for (int lane = 0; lane < 8; ++lane) {
        total_a[8 * v + lane] += static_cast<double>(sum_a[lane]);
        total_b[8 * v + lane] += static_cast<double>(sum_b[lane]);
      }
      for (int u = 0; u < U; ++u) a[u][v] = b[u][v] = F8{};
    }
  }
};

// Calls body(row, step, unroll index) for every step of the view, U at a time where they last, and
// fold() every kRun steps.
template <int U, typename Body, typename Fold>
inline __attribute__((always_inline)) void walk(const NormView& view, Body&& body, Fold&& fold) {
  int64_t since = 0;
  for (int64_t row = 0; row < view.rows; ++row)
    for (int64_t first = 0; first < view.steps; first += kRun) {
      const int64_t end = view.steps - first < kRun ? view.steps : first + kRun;
      int64_t i = first;
      for (; i + U <= end; i += U)
        for (int u = 0; u < U; ++u) body(row, i + u, u);
      for (; i < end; ++i) body(row, i, 0);
      since += end - first;
      if (since >= kRun / 2) {
        fold();
        since = 0;
      }
    }
  if (since > 0) fold();
}

template <int V, bool Part>
void moments_of(const NormView& view, const float* x, const float* pivot, double* sum,
                double* squares) {
  constexpr int U = 4 / V;
  Sums<U, V> sums;
  F8 center[V];
  load_lanes(pivot, center);
  const I8 inside = kLanes < (I8{} + view.part);
  walk<U>(
      view,
      [&](int64_t row, int64_t i, int u) __attribute__((always_inline)) {
        F8 value[V];
        Step<V, Part>::load_all(x + row * view.row_stride + i * view.step_stride, view.part, value);
        for (int v = 0; v < V; ++v) {
          F8 deviation = value[v] - center[v];
          if (Part && v == V - 1) deviation = inside ? deviation : F8{};
          sums.a[u][v] += deviation;
          sums.b[u][v] += deviation * deviation;
        }
      },
      [&] { sums.fold(sum, squares); });
}

template <int V, bool Part>
void forward_of(const NormView& view, const NormLanes& lanes, const float* x, const float* addend,
                float* y, uint8_t* bits) {
  F8 mean[V], gain[V], shift[V];
  load_lanes(lanes.mean, mean);
  load_lanes(lanes.gain, gain);
  load_lanes(lanes.shift, shift);
  const bool relu = lanes.relu, leaky = lanes.slope != 0;
  for (int64_t row = 0; row < view.rows; ++row)
    for (int64_t i = 0; i < view.steps; ++i) {
      const int64_t at = row * view.row_stride + i * view.step_stride;
      F8 value[V];
      Step<V, Part>::load_all(x + at, view.part, value);
      for (int v = 0; v < V; ++v) value[v] = (value[v] - mean[v]) * gain[v] + shift[v];
      if (addend) {
        F8 other[V];
        Step<V, Part>::load_all(addend + at, view.part, other);
        for (int v = 0; v < V; ++v) value[v] += other[v];
      }
      if (bits)
        for (int v = 0; v < V; ++v)
          bits[row * view.bits_row_stride + i * view.bits_step_stride + v] = bits_of(value[v] > 0);
      if (relu)
        for (int v = 0; v < V; ++v)
          value[v] =
              leaky ? (value[v] > 0 ? value[v] : lanes.slope * value[v]) : at_least_zero(value[v]);
      Step<V, Part>::store_all(y + at, view.part, value);
    }
}

// What of the gradient comes through the ReLU.
template <Passed kPassed>
inline F8 through(F8 dy, F8 deviation, F8 gain, F8 shift, float slope, const uint8_t* bits) {
  if (kPassed == Passed::all) return dy;
  const I8 open = kPassed == Passed::bits ? lanes_of(*bits) : deviation * gain + shift > 0;
  return open ? dy : slope * dy;
}

template <Passed kPassed>
inline const uint8_t* bits_at(const NormView& view, const uint8_t* bits, int64_t row, int64_t i) {
  return kPassed == Passed::bits ? bits + row * view.bits_row_stride + i * view.bits_step_stride
                                 : nullptr;
}

template <int V, bool Part, Passed kPassed>
void backward_sums_of(const NormView& view, const NormLanes& lanes, const float* x,
                      const uint8_t* bits, const float* const* dy, int parts, float* store_to,
                      double* dshift, double* dgain) {
  constexpr int U = 2 / V;
  Sums<U, V> sums;
  F8 mean[V], gain[V], shift[V];
  load_lanes(lanes.mean, mean);
  load_lanes(lanes.gain, gain);
  load_lanes(lanes.shift, shift);
  const float slope = lanes.slope;
  const float* first = dy[0];
  walk<U>(
      view,
      [&](int64_t row, int64_t i, int u) __attribute__((always_inline)) {
        const int64_t at = row * view.row_stride + i * view.step_stride;
        const uint8_t* here = bits_at<kPassed>(view, bits, row, i);
        F8 value[V], g[V];
        Step<V, Part>::load_all(x + at, view.part, value);
        Step<V, Part>::load_all(first + at, view.part, g);
        for (int part = 1; part < parts; ++part) {
          F8 more[V];
          Step<V, Part>::load_all(dy[part] + at, view.part, more);
          for (int v = 0; v < V; ++v) g[v] += more[v];
        }
        for (int v = 0; v < V; ++v) {
          const F8 deviation = value[v] - mean[v];
          g[v] = through<kPassed>(g[v], deviation, gain[v], shift[v], slope,
                                  kPassed == Passed::bits ? here + v : nullptr);
          sums.a[u][v] += g[v];
          sums.b[u][v] += g[v] * deviation;
        }
        if (store_to) Step<V, Part>::store_all(store_to + at, view.part, g);
      },
      [&] { sums.fold(dshift, dgain); });
}

template <int V, bool Part, Passed kPassed>
void backward_data_of(const NormView& view, const NormLanes& lanes, const float* x,
                      const uint8_t* bits, const float* dy, const float* scale_lanes,
                      const float* slant_lanes, const float* offset_lanes, float* dx) {
  F8 mean[V], gain[V], shift[V], scale[V], slant[V], offset[V];
  load_lanes(lanes.mean, mean);
  load_lanes(lanes.gain, gain);
  load_lanes(lanes.shift, shift);
  load_lanes(scale_lanes, scale);
  load_lanes(slant_lanes, slant);
  load_lanes(offset_lanes, offset);
  const float slope = lanes.slope;
  for (int64_t row = 0; row < view.rows; ++row)
    for (int64_t i = 0; i < view.steps; ++i) {
      const int64_t at = row * view.row_stride + i * view.step_stride;
      const uint8_t* here = bits_at<kPassed>(view, bits, row, i);
      F8 value[V], g[V];
      Step<V, Part>::load_all(x + at, view.part, value);
      Step<V, Part>::load_all(dy + at, view.part, g);
      for (int v = 0; v < V; ++v) {
        const F8 deviation = value[v] - mean[v];
        g[v] = through<kPassed>(g[v], deviation, gain[v], shift[v], slope,
                                kPassed == Passed::bits ? here + v : nullptr);
        value[v] = g[v] * scale[v] + (deviation * slant[v] + offset[v]);
      }
      Step<V, Part>::store_all(dx + at, view.part, value);
    }
}

template <int V, bool Part>
void prelu_of(const NormView& view, const float* slope_lanes, const float* x, float* y) {
  F8 slope[V];
  load_lanes(slope_lanes, slope);
  for (int64_t row = 0; row < view.rows; ++row)
    for (int64_t i = 0; i < view.steps; ++i) {
      const int64_t at = row * view.row_stride + i * view.step_stride;
      F8 value[V];
      Step<V, Part>::load_all(x + at, view.part, value);
      for (int v = 0; v < V; ++v) value[v] = value[v] > 0 ? value[v] : slope[v] * value[v];
      Step<V, Part>::store_all(y + at, view.part, value);
    }
}

template <int V, bool Part>
void prelu_backward_of(const NormView& view, const float* slope_lanes, const float* x,
                       const float* const* dy, int parts, float* dx, double* dslope) {
  constexpr int U = 2 / V;
  Sums<U, V> sums;
  double none[8 * V] = {};
  F8 slope[V];
  load_lanes(slope_lanes, slope);
  walk<U>(
      view,
      [&](int64_t row, int64_t i, int u) __attribute__((always_inline)) {
        const int64_t at = row * view.row_stride + i * view.step_stride;
        F8 value[V], g[V];
        Step<V, Part>::load_all(x + at, view.part, value);
        Step<V, Part>::load_all(dy[0] + at, view.part, g);
        for (int part = 1; part < parts; ++part) {
          F8 more[V];
          Step<V, Part>::load_all(dy[part] + at, view.part, more);
          for (int v = 0; v < V; ++v) g[v] += more[v];
        }
        for (int v = 0; v < V; ++v) {
          sums.a[u][v] += value[v] > 0 ? F8{} : g[v] * value[v];
          g[v] = value[v] > 0 ? g[v] : slope[v] * g[v];
        }
        if (dx) Step<V, Part>::store_all(dx + at, view.part, g);
      },
      [&] { sums.fold(dslope, none); });
}

// Calls body.operator()<V, Part>() for the view's kind of step.
template <typename Body>
void for_view(const NormView& view, Body&& body) {
  if (view.vectors == 1)
    view.part == 8 ? body.template operator()<1, false>() : body.template operator()<1, true>();
  else
    view.part == 8 ? body.template operator()<2, false>() : body.template operator()<2, true>();
}

void moments(const NormView& view, const float* x, const float* pivot, double* sum,
             double* squares) {
  for_view(view, [&]<int V, bool Part>() { moments_of<V, Part>(view, x, pivot, sum, squares); });
}

void forward(const NormView& view, const NormLanes& lanes, const float* x, const float* addend,
             float* y, uint8_t* bits) {
  for_view(view, [&]<int V, bool Part>() { forward_of<V, Part>(view, lanes, x, addend, y, bits); });
}

void backward_sums(const NormView& view, const NormLanes& lanes, Passed passed, const float* x,
                   const uint8_t* bits, const float* const* dy, int parts, float* store_to,
                   double* dshift, double* dgain) {
  for_view(view, [&]<int V, bool Part>() {
    const auto run = passed == Passed::all    ? backward_sums_of<V, Part, Passed::all>
                     : passed == Passed::sign ? backward_sums_of<V, Part, Passed::sign>
                                              : backward_sums_of<V, Part, Passed::bits>;
    run(view, lanes, x, bits, dy, parts, store_to, dshift, dgain);
  });
}

void backward_data(const NormView& view, const NormLanes& lanes, Passed passed, const float* x,
                   const uint8_t* bits, const float* dy, const float* scale, const float* slant,
                   const float* offset, float* dx) {
  for_view(view, [&]<int V, bool Part>() {
    const auto run = passed == Passed::all    ? backward_data_of<V, Part, Passed::all>
                     : passed == Passed::sign ? backward_data_of<V, Part, Passed::sign>
                                              : backward_data_of<V, Part, Passed::bits>;
    run(view, lanes, x, bits, dy, scale, slant, offset, dx);
  });
}

void prelu(const NormView& view, const float* slope, const float* x, float* y) {
  for_view(view, [&]<int V, bool Part>() { prelu_of<V, Part>(view, slope, x, y); });
}

void prelu_backward(const NormView& view, const float* slope, const float* x,
                    const float* const* dy, int parts, float* dx, double* dslope) {
  for_view(view, [&]<int V, bool Part>() {
    prelu_backward_of<V, Part>(view, slope, x, dy, parts, dx, dslope);
  });
}

}  // namespace

extern const NormLoops norm_loops;
const NormLoops norm_loops = {moments,       forward, backward_sums,
                              backward_data, prelu,   prelu_backward};

}  // namespace pcc::cpu::PCC_ISA
