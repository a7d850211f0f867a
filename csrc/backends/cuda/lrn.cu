// Local response normalisation, across channels and within one: y = x * s^-beta; s is kept for
// backward. One thread for each element: its neighbours find their windows in the same cache. Where
// channels are last they are windows of neighbours, over float32 or bf16.
#include "backends/cuda/makers.h"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"
#include "ops/window.h"

namespace pcc::cuda {

namespace {

// A value, seen as (samples, channels, area) or (planes, rows, columns), and what is kept of it.
template <typename T>
struct Values {
  const T* x;
  float* scale;  // null where nobody will ask
  T* y;
};
template <typename T>
struct Gradients {
  const T *x, *y, *dy;
  const float* scale;
  T* dx;
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
  template <typename T>
  __device__ void forward(int64_t i, const Values<T>& v) const {
    const Range near = range(i, before, after);
    float sum = 0;
    for (int64_t d = near.first; d <= near.last; ++d) {
      const float x = number(v.x[i + d * area]);
      sum += x * x;
    }
    const float s = k + share * sum;
    if (v.scale) v.scale[i] = s;
    v.y[i] = stored<T>(number(v.x[i]) * powf(s, -beta));
  }
  // dx = dy * s^-beta - 2 * share * beta * x * sum over the windows that hold x of dy * y / s.
  template <typename T>
  __device__ void backward(int64_t i, const Gradients<T>& g) const {
    const Range near = range(i, after, before);
    float sum = 0;
    for (int64_t d = near.first; d <= near.last; ++d) {
      const int64_t at = i + d * area;
      sum += number(g.dy[at]) * number(g.y[at]) / g.scale[at];
    }
    g.dx[i] = stored<T>(number(g.dy[i]) * powf(g.scale[i], -beta) -
                        2 * share * beta * number(g.x[i]) * sum);
  }
};

// s = 1 + alpha * the average of x^2 over a square of pixels, which is clipped.
struct Within {
  int64_t rows, columns, size, pad;
  float alpha, beta;

  __device__ Window window(int64_t at, int64_t length) const { return {at, size, 1, pad, length}; }
  template <typename T>
  __device__ void forward(int64_t i, const Values<T>& v) const {
    const auto [line, q] = divide(i, columns);
    const auto [plane, p] = divide(line, rows);
    const T* const x = v.x + plane * rows * columns;
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
  template <typename T>
  __device__ void backward(int64_t i, const Gradients<T>& g) const {
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

template <typename Region, typename T>
struct Forward {
  Region region;
  Values<T> values;
  __device__ void operator()(int64_t i) const { region.forward(i, values); }
};
template <typename Region, typename T>
struct Backward {
  Region region;
  Gradients<T> gradients;
  __device__ void operator()(int64_t i) const { region.backward(i, gradients); }
};

template <typename Region, typename T>
class LrnOp : public CudaOpOf<T> {
 public:
  LrnOp(const Region& region, const OpSite& site) : CudaOpOf<T>(site), region_(region) {}

  void forward(const Context&) override {
    const Values<T> values = {this->in(0), this->trains() ? scale() : nullptr, this->out()};
    for_each(this->out_count(), Forward<Region, T>{region_, values});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = this->all_ins();
    needs.out = this->all_outs();
    needs.stash_bytes = this->in_count() * static_cast<int64_t>(sizeof(float));
  }
  void differentiate(const Context&) override {
    if (!this->din(0)) return;
    const Gradients<T> gradients = {this->in(0), this->out(), this->dout(), scale(), this->din(0)};
    for_each(this->out_count(), Backward<Region, T>{region_, gradients});
  }

 private:
  float* scale() const { return static_cast<float*>(this->buffers_.stash); }
  Region region_;
};

}  // namespace

std::unique_ptr<Op> make_lrn(const LrnDesc& desc, const OpSite& site) {
  const Shape& x = site.in[0].shape;
  const auto alpha = static_cast<float>(desc.alpha), beta = static_cast<float>(desc.beta);
  if (!desc.across)
    return std::make_unique<LrnOp<Within, float>>(
        Within{x[2], x[3], desc.size, (desc.size - 1) / 2, alpha, beta}, site);
  const bool last = site.in[0].layout == Layout::nhwc;
  const int64_t before = (desc.size - 1) / 2;
  const auto share = static_cast<float>(desc.alpha / static_cast<double>(desc.size));
  const Across region = {x[1],
                         last ? 1 : x.count(2),
                         before,
                         desc.size - 1 - before,
                         static_cast<float>(desc.k),
                         share,
                         beta};
  if (site.in[0].dtype == DType::bf16)
    return std::make_unique<LrnOp<Across, BFloat16>>(region, site);
  return std::make_unique<LrnOp<Across, float>>(region, site);
}

}  // namespace pcc::cuda
