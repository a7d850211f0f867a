// Local response normalisation, across channels and within one: y = x * s^-beta; s is kept for
// backward. One thread for each element: its neighbours find their windows in the same cache.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/window.h"

namespace pcc::cuda {

namespace {

// A value, seen as (samples, channels, area) or (planes, rows, columns), and what is kept of it.
struct Values {
  const float* x;
  float *scale, *y;  // scale: null where nobody will ask
};
struct Gradients {
  const float *x, *y, *dy, *scale;
  float* dx;
};

// s = k + alpha / size * sum of x^2 over the channels from c - before to c + after.
struct Across {
  int64_t channels, area, before, after;
  float k, share, beta;  // share: alpha / size

  // Those channels that there are around element i, counted from its own.
  struct Range {
    int64_t first, last;
  };
  __device__ Range range(int64_t i, int64_t down, int64_t up) const {
    const int64_t c = divide(divide(i, area).whole, channels).rest;
    return {c < down ? -c : -down, channels - 1 - c < up ? channels - 1 - c : up};
  }
  __device__ void forward(int64_t i, const Values& v) const {
    const Range near = range(i, before, after);
    float sum = 0;
    for (int64_t d = near.first; d <= near.last; ++d) {
      const float x = v.x[i + d * area];
      sum += x * x;
    }
    const float s = k + share * sum;
    if (v.scale) v.scale[i] = s;
    v.y[i] = v.x[i] * powf(s, -beta);
  }
  // dx = dy * s^-beta - 2 * share * beta * x * sum over the windows that hold x of dy * y / s.
  __device__ void backward(int64_t i, const Gradients& g) const {
    const Range near = range(i, after, before);
    float sum = 0;
    for (int64_t d = near.first; d <= near.last; ++d) {
      const int64_t at = i + d * area;
      sum += g.dy[at] * g.y[at] / g.scale[at];
    }
    g.dx[i] = g.dy[i] * powf(g.scale[i], -beta) - 2 * share * beta * g.x[i] * sum;
  }
};

// s = 1 + alpha * the average of x^2 over a square of pixels, which is clipped.
struct Within {
  int64_t rows, columns, size, pad;
  float alpha, beta;

  __device__ Window window(int64_t at, int64_t length) const { return {at, size, 1, pad, length}; }
  __device__ void forward(int64_t i, const Values& v) const {
    const auto [line, q] = divide(i, columns);
    const auto [plane, p] = divide(line, rows);
    const float* const x = v.x + plane * rows * columns;
    const Window high = window(p, rows), wide = window(q, columns);
    float sum = 0;
    for (int64_t h = high.begin; h < high.end; ++h)
      for (int64_t w = wide.begin; w < wide.end; ++w)
        sum += x[h * columns + w] * x[h * columns + w];
    const float s = 1 + alpha * (sum / static_cast<float>(high.width * wide.width));
    if (v.scale) v.scale[i] = s;
    v.y[i] = v.x[i] * powf(s, -beta);
  }
  // dx = dy * s^-beta - 2 * alpha * beta * x * sum over the windows that hold x of
  // dy * y / s / their size.
  __device__ void backward(int64_t i, const Gradients& g) const {
    const auto [line, q] = divide(i, columns);
    const auto [plane, p] = divide(line, rows);
    const int64_t first = plane * rows * columns;
    // Windows around these pixels reach this one.
    const int64_t top = p + pad - size + 1, left = q + pad - size + 1;
    float sum = 0;
    for (int64_t h = top < 0 ? 0 : top; h <= p + pad && h < rows; ++h)
      for (int64_t w = left < 0 ? 0 : left; w <= q + pad && w < columns; ++w) {
        const int64_t at = first + h * columns + w;
        const int64_t width = window(h, rows).width * window(w, columns).width;
        sum += g.dy[at] * g.y[at] / g.scale[at] / static_cast<float>(width);
      }
    g.dx[i] = g.dy[i] * powf(g.scale[i], -beta) - 2 * alpha * beta * g.x[i] * sum;
  }
};

template <typename Region>
struct Forward {
  Region region;
  Values values;
  __device__ void operator()(int64_t i) const { region.forward(i, values); }
};
template <typename Region>
struct Backward {
  Region region;
  Gradients gradients;
  __device__ void operator()(int64_t i) const { region.backward(i, gradients); }
};

template <typename Region>
class LrnOp : public CudaOp {
 public:
  LrnOp(const Region& region, const OpSite& site) : CudaOp(site), region_(region) {}

  void forward(const Context&) override {
    for_each(out_count(), Forward<Region>{region_, {in(0), trains() ? scale() : nullptr, out()}});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = all_ins();
    needs.out = all_outs();
    needs.stash_bytes = site_.in[0].bytes();
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_each(out_count(), Backward<Region>{region_, {in(0), out(), dout(), scale(), din(0)}});
  }

 private:
  float* scale() const { return static_cast<float*>(buffers_.stash); }
  Region region_;
};

}  // namespace

std::unique_ptr<Op> make_lrn(const LrnDesc& desc, const OpSite& site) {
  const Shape& x = site.in[0].shape;
  const auto alpha = static_cast<float>(desc.alpha), beta = static_cast<float>(desc.beta);
  if (!desc.across)
    return std::make_unique<LrnOp<Within>>(
        Within{x[2], x[3], desc.size, (desc.size - 1) / 2, alpha, beta}, site);
  const int64_t before = (desc.size - 1) / 2;
  const auto share = static_cast<float>(desc.alpha / static_cast<double>(desc.size));
  return std::make_unique<LrnOp<Across>>(Across{x[1], x.count(2), before, desc.size - 1 - before,
                                                static_cast<float>(desc.k), share, beta},
                                         site);
}

}  // namespace pcc::cuda
