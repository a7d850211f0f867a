// ROIPooling. Forward: one thread for each part of a box; backward: one for each element of x,
// which gathers from the boxes that hold it.
#include <cfloat>

#include "backends/cuda/makers.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/classes.h"

namespace pcc::cuda {

namespace {

// The parts of a box along one side of the planes, whose elements are counted in double, as far
// away as a box may lie.
struct Bins {
  double from;
  float step;

  __device__ Bins(float low, float high, float scale, int64_t bins) : from(edge(low * scale)) {
    const double length = fmax(edge(high * scale) - from + 1, 1.0);
    step = static_cast<float>(length) / static_cast<float>(bins);
  }
  __device__ int64_t begin(int64_t bin, int64_t size) const {
    return cut(floor(static_cast<double>(static_cast<float>(bin) * step)), size);
  }
  __device__ int64_t end(int64_t bin, int64_t size) const {
    return cut(ceil(static_cast<double>(static_cast<float>(bin + 1) * step)), size);
  }
  // The parts among which all are that hold element h: [first, last).
  __device__ int64_t first(int64_t h, int64_t bins) const { return bin_at(h, -2, bins); }
  __device__ int64_t last(int64_t h, int64_t bins) const { return bin_at(h + 1, 2, bins); }

 private:
  __device__ static double edge(float at) {
    return fmax(-1e9, fmin(1e9, round(static_cast<double>(at))));
  }
  __device__ int64_t cut(double at, int64_t size) const {
    const auto place = static_cast<int64_t>(at + from);
    return place < 0 ? 0 : place < size ? place : size;
  }
  __device__ int64_t bin_at(int64_t h, int64_t more, int64_t bins) const {
    const double bin = (static_cast<double>(h) - from) / static_cast<double>(step);
    const auto limit = static_cast<double>(bins);
    const int64_t near = static_cast<int64_t>(fmax(0.0, fmin(limit, bin))) + more;
    return near < 0 ? 0 : near < bins ? near : bins;
  }
};

struct RoiPool {
  int64_t channels, height, width, rows, columns;
  Labels<float> samples;
  float scale;
  const float* boxes;

  __device__ Bins down(const float* box) const { return {box[2], box[4], scale, rows}; }
  __device__ Bins across(const float* box) const { return {box[1], box[3], scale, columns}; }
};

// winners: null, or for each element of y the place of its maximum in the plane, or -1.
struct Forward {
  RoiPool pool;
  const float* x;
  float* y;
  int32_t* winners;
  __device__ void operator()(int64_t i) const {
    const Quotient line = divide(i, pool.columns), plane = divide(line.whole, pool.rows);
    const Quotient roi = divide(plane.whole, pool.channels);
    const float* const box = pool.boxes + int64_t{5} * roi.whole;
    float best = 0;
    int64_t winner = -1;
    if (!pool.samples.skips(box[0])) {
      const int64_t sample = static_cast<int64_t>(box[0]);
      const float* const from = x + (sample * pool.channels + roi.rest) * pool.height * pool.width;
      const Bins down = pool.down(box), across = pool.across(box);
      const int64_t top = down.begin(plane.rest, pool.height);
      const int64_t bottom = down.end(plane.rest, pool.height);
      const int64_t left = across.begin(line.rest, pool.width);
      const int64_t right = across.end(line.rest, pool.width);
      if (top < bottom && left < right) best = -FLT_MAX;
      for (int64_t h = top; h < bottom; ++h)
        for (int64_t w = left; w < right; ++w)
          if (from[h * pool.width + w] > best) best = from[winner = h * pool.width + w];
    }
    y[i] = best;
    if (winners) winners[i] = static_cast<int32_t>(winner);
  }
};

struct Backward {
  RoiPool pool;
  int64_t rois;
  const float* dy;
  const int32_t* winners;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const Quotient line = divide(i, pool.width), plane = divide(line.whole, pool.height);
    const Quotient sample = divide(plane.whole, pool.channels);
    const int64_t h = plane.rest, w = line.rest, place = h * pool.width + w;
    float sum = 0;
    for (int64_t roi = 0; roi < rois; ++roi) {
      const float* const box = pool.boxes + 5 * roi;
      if (pool.samples.skips(box[0]) || static_cast<uint32_t>(box[0]) != sample.whole) continue;
      const Bins down = pool.down(box), across = pool.across(box);
      const int64_t bottom = down.last(h, pool.rows), right = across.last(w, pool.columns);
      const int64_t left = across.first(w, pool.columns);
      const int64_t first = (roi * pool.channels + sample.rest) * pool.rows * pool.columns;
      for (int64_t p = down.first(h, pool.rows); p < bottom; ++p)
        for (int64_t q = left; q < right; ++q) {
          const int64_t at = first + p * pool.columns + q;
          if (winners[at] == place) sum += dy[at];
        }
    }
    dx[i] = sum;
  }
};

class RoiPoolOp : public CudaOp {
 public:
  RoiPoolOp(const RoiPoolDesc& desc, const OpSite& site)
      : CudaOp(site),
        pool_{in_shape(0)[1],
              in_shape(0)[2],
              in_shape(0)[3],
              out_shape()[2],
              out_shape()[3],
              Labels<float>(false, 0, in_shape(0)[0]),
              static_cast<float>(desc.spatial_scale),
              nullptr} {}

  void forward(const Context& context) override {
    check_numbers(context, site_.number, in(1), rois(), in_shape(0)[0], 5);
    for_each(out_count(), Forward{pool(), in(0), out(), trains() ? winners() : nullptr});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {false, true};
    needs.stash_bytes = out_count() * static_cast<int64_t>(sizeof(int32_t));
  }
  void differentiate(const Context&) override {
    if (din(0)) for_each(in_count(), Backward{pool(), rois(), dout(), winners(), din(0)});
  }

 private:
  int64_t rois() const { return out_shape()[0]; }
  RoiPool pool() const {
    RoiPool pool = pool_;
    pool.boxes = in(1);
    return pool;
  }
  int32_t* winners() const { return static_cast<int32_t*>(buffers_.stash); }

  RoiPool pool_;
};

}  // namespace

std::unique_ptr<Op> make_roi_pool(const RoiPoolDesc& desc, const OpSite& site) {
  return std::make_unique<RoiPoolOp>(desc, site);
}

}  // namespace pcc::cuda
