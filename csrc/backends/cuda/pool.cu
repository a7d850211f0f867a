// Maximum, average and stochastic pooling over planes. Forward: one thread for each output;
// backward: one for each pixel, which gathers from the windows that hold it.
#include <cfloat>

#include "backends/cuda/makers.h"
#include "backends/cuda/pool.cuh"

namespace pcc::cuda {

namespace {

// A window of a plane, cut to it, and where the plane's numbers begin.
struct View {
  Window rows, columns;
  int64_t first;
};

struct Planes {
  Axis rows, columns;
  Divisor by_width, by_height, by_windows, by_window_rows;

  // Of output i.
  __device__ View view(int64_t i) const {
    const auto [line, q] = by_windows(static_cast<uint32_t>(i));
    const auto [plane, p] = by_window_rows(line);
    return {rows.window(p), columns.window(q), plane * (rows.size * columns.size)};
  }
};

// Keeps the first of ties. An empty window, or one without a number above -FLT_MAX, has no winner:
// -1.
struct Maximum {
  Planes planes;
  const float* x;
  float* y;
  int32_t* winners;  // null, or where backward finds them
  float* mask;       // null, or the top that shows them
  __device__ void operator()(int64_t i) const {
    const auto [rows, columns, first] = planes.view(i);
    const int64_t width = planes.columns.size;
    const float* const from = x + first;
    float best = -FLT_MAX;
    int64_t winner = -1;
    for (int64_t h = rows.begin; h < rows.end; ++h)
      for (int64_t w = columns.begin; w < columns.end; ++w)
        if (from[h * width + w] > best) {
          winner = h * width + w;
          best = from[winner];
        }
    y[i] = best;
    if (winners) winners[i] = static_cast<int32_t>(winner);
    if (mask) mask[i] = static_cast<float>(winner);
  }
};

struct Average {
  Planes planes;
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const {
    const auto [rows, columns, first] = planes.view(i);
    const int64_t width = planes.columns.size;
    const float* const from = x + first;
    float sum = 0;
    for (int64_t h = rows.begin; h < rows.end; ++h)
      for (int64_t w = columns.begin; w < columns.end; ++w) sum += from[h * width + w];
    y[i] = sum / static_cast<float>(rows.width * columns.width);
  }
};

// With a step block one of a window's numbers: the first up to which their sum exceeds a drawn
// share of the window's, of zeros the first; without one the sum of squares over the sum.
struct Stochastic {
  Planes planes;
  const StepBlock* step;
  uint32_t stream;
  int64_t count;
  const float* x;
  float* y;
  int32_t* winners;  // null, or where backward finds them
  __device__ void operator()(int64_t i) const {
    const auto [rows, columns, first] = planes.view(i);
    const int64_t width = planes.columns.size;
    const float* const from = x + first;
    float sum = 0, squares = 0;
    for (int64_t h = rows.begin; h < rows.end; ++h)
      for (int64_t w = columns.begin; w < columns.end; ++w) {
        const float number = from[h * width + w];
        sum += number;
        squares += number * number;
      }
    int64_t winner = -1;
    if (step) {
      const double share = step->random(stream, count).uniform(static_cast<uint64_t>(i));
      const auto threshold = static_cast<float>(share * static_cast<double>(sum));
      float reached = 0;
      for (int64_t h = rows.begin; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w)
          if ((reached <= threshold && reached < sum) || winner < 0)
            reached += from[winner = h * width + w];
      y[i] = winner < 0 ? 0.0f : from[winner];
    } else {
      y[i] = sum > 0 ? squares / sum : 0.0f;
    }
    if (winners) winners[i] = static_cast<int32_t>(winner);
  }
};

// winners: null for averages.
struct Backward {
  Planes planes;
  const float* dy;
  const int32_t* winners;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const auto [line, w] = planes.by_width(static_cast<uint32_t>(i));
    const auto [plane, h] = planes.by_height(line);
    const Axis &rows = planes.rows, &columns = planes.columns;
    const int64_t in_plane = h * columns.size + w;
    const int64_t first = plane * (rows.windows * columns.windows);
    const int64_t p_end = rows.end(h), q_end = columns.end(w);
    float sum = 0;
    for (int64_t p = rows.first(h); p < p_end; ++p)
      for (int64_t q = columns.first(w); q < q_end; ++q) {
        const int64_t at = first + p * columns.windows + q;
        if (winners)
          sum += winners[at] == in_plane ? dy[at] : 0.0f;
        else
          sum += dy[at] / static_cast<float>(rows.window(p).width * columns.window(q).width);
      }
    dx[i] = sum;
  }
};

class PoolOp : public CudaOp {
  using Method = PoolDesc::Method;

 public:
  PoolOp(const PoolDesc& desc, const OpSite& site)
      : CudaOp(site), method_(desc.method), sample_(desc.sample) {
    planes_.rows = Axis(desc, site, 0);
    planes_.columns = Axis(desc, site, 1);
    planes_.by_width = Divisor(planes_.columns.size);
    planes_.by_height = Divisor(planes_.rows.size);
    planes_.by_windows = Divisor(planes_.columns.windows);
    planes_.by_window_rows = Divisor(planes_.rows.windows);
  }

  void forward(const Context& context) override {
    if (method_ == Method::stochastic)
      for_each(out_count(), Stochastic{planes_, sample_ ? context.step : nullptr, site_.stream,
                                       out_count(), in(0), out(), trains() ? winners() : nullptr});
    else if (method_ == Method::max)
      for_each(out_count(), Maximum{planes_, in(0), out(), trains() ? winners() : nullptr,
                                    outs() > 1 ? out(1) : nullptr});
    else
      for_each(out_count(), Average{planes_, in(0), out()});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    if (chooses()) needs.stash_bytes = out_count() * static_cast<int64_t>(sizeof(int32_t));
  }
  void differentiate(const Context&) override {
    if (dout())
      for_each(in_count(), Backward{planes_, dout(), chooses() ? winners() : nullptr, din(0)});
    else  // only the mask has a gradient, which means nothing
      clear(buffers_.din[0]);
  }

 private:
  int32_t* winners() const { return static_cast<int32_t*>(buffers_.stash); }

  bool chooses() const { return method_ != Method::average; }

  Method method_;
  bool sample_;
  Planes planes_;
};

}  // namespace

std::unique_ptr<Op> make_pool(const PoolDesc& desc, const OpSite& site) {
  // Elements are counted in 31 bits (Divisor).
  constexpr int64_t kMost = int64_t{1} << 31;
  if (site.in[0].shape.count() >= kMost || site.out[0].shape.count() >= kMost) return nullptr;
  if (site.in[0].layout == Layout::nhwc) return make_pool_lines(desc, site);
  return std::make_unique<PoolOp>(desc, site);
}

}  // namespace pcc::cuda
