// Crop, Permute, Tile and im2col: elements in other places.
#include "backends/cuda/makers.h"
#include "backends/cuda/transpose.cuh"
#include "ops/columns.h"

namespace pcc::cuda {

namespace {

// Elements of x that y shows, at steps of their own: y[i0, i1, ..] = x[first + i0 * step0 + ..].
// Axes that follow each other in x as in y are one.
struct Steps {
  static constexpr int kMaxAxes = 32;  // as blobs have in Caffe

  int64_t first = 0;
  int axes = 0;
  int64_t size[kMaxAxes] = {}, step[kMaxAxes] = {};

  void add_axis(int64_t of_size, int64_t of_step) {
    if (of_size == 1) return;
    if (axes > 0 && step[axes - 1] == of_size * of_step)
      size[axes - 1] *= of_size;
    else
      size[axes++] = of_size;
    step[axes - 1] = of_step;
  }
  __device__ int64_t from(int64_t i) const {
    int64_t at = first;
    PCC_UNROLL_BY(1)
    for (int axis = axes - 1; axis > 0; --axis) {
      const Quotient place = divide(i, size[axis]);
      at += place.rest * step[axis];
      i = place.whole;
    }
    return axes > 0 ? at + i * step[0] : at;
  }
};

// x seen as (batch, rows, columns), where y is the transposes of that; columns 0: it is not.
struct Transposes {
  int64_t batch = 1, rows = 1, columns = 0;

  explicit Transposes(const Steps& steps) {
    if (steps.first != 0 || steps.axes < 2 || steps.axes > 3) return;
    const int last = steps.axes - 1;
    const int64_t of_rows = steps.size[last], of_columns = steps.size[last - 1];
    const bool turned = steps.step[last] == of_columns && steps.step[last - 1] == 1;
    if (!turned || (last == 2 && steps.step[0] != of_rows * of_columns)) return;
    batch = last == 2 ? steps.size[0] : 1;
    rows = of_rows;
    columns = of_columns;
  }
  // A grid has at most 65535 rows of tiles.
  bool fits() const { return columns > 0 && std::max(rows, columns) < 65535 * int64_t{kSide}; }
};

struct Show {
  Steps steps;
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const { y[i] = x[steps.from(i)]; }
};
struct ShowBackward {
  Steps steps;
  const float* dy;
  float* dx;
  __device__ void operator()(int64_t i) const { dx[steps.from(i)] = dy[i]; }
};

class ShownOp : public CudaOp {
 public:
  ShownOp(const Steps& steps, const OpSite& site) : CudaOp(site), steps_(steps), matrices_(steps) {}

  void forward(const Context&) override {
    if (matrices_.fits())
      return transpose(matrices_.batch, matrices_.rows, matrices_.columns, in(0), out());
    for_each(out_count(), Show{steps_, in(0), out()});
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    if (matrices_.fits())
      return transpose(matrices_.batch, matrices_.columns, matrices_.rows, dout(), din(0));
    if (in_count() > out_count()) clear(buffers_.din[0]);
    for_each(out_count(), ShowBackward{steps_, dout(), din(0)});
  }

 private:
  Steps steps_;
  Transposes matrices_;
};

// x seen as (outer, inner), y as (outer, tiles, inner).
struct TileForward {
  int64_t tiles, inner;
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const {
    const Quotient piece = divide(i, inner);
    y[i] = x[divide(piece.whole, tiles).whole * inner + piece.rest];
  }
};
struct TileBackward {
  int64_t tiles, inner;
  const float* dy;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const Quotient at = divide(i, inner);
    const float* const from = dy + at.whole * tiles * inner + at.rest;
    float sum = 0;
    for (int64_t t = 0; t < tiles; ++t) sum += from[t * inner];
    dx[i] = sum;
  }
};

class TileOp : public CudaOp {
 public:
  TileOp(const TileDesc& desc, const OpSite& site)
      : CudaOp(site), tiles_(desc.tiles), inner_(in_shape(0).count(desc.axis)) {}

  void forward(const Context&) override {
    for_each(out_count(), TileForward{tiles_, inner_, in(0), out()});
  }

 protected:
  void differentiate(const Context&) override {
    if (din(0)) for_each(in_count(), TileBackward{tiles_, inner_, dout(), din(0)});
  }

 private:
  int64_t tiles_, inner_;
};

// A plane of an image, the taps and the positions of a convolution over it.
struct Sight {
  struct Axis {
    int32_t size, positions, taps, stride, pad, dilation;
  };

  int axes;
  int64_t area, positions, taps;  // products over the axes
  Axis axis[kMaxColumnAxes];

  explicit Sight(const ConvGeometry& g)
      : axes(g.axes()), area(g.area), positions(g.map_area), taps(g.taps), axis{} {
    for (int i = 0; i < axes; ++i) {
      const auto a = static_cast<size_t>(i);
      const auto number = [a](const std::vector<int64_t>& of) {
        return static_cast<int32_t>(of[a]);
      };
      axis[i] = {number(g.size),   number(g.map_size), number(g.kernel),
                 number(g.stride), number(g.pad),      number(g.dilation)};
    }
  }
};

// Element i of y: (planes, taps, positions).
struct Look {
  Sight sight;
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const {
    const Quotient row = divide(i, sight.positions), plane = divide(row.whole, sight.taps);
    uint32_t position = row.rest, tap = plane.rest;
    int64_t at = 0, scale = 1;
    bool inside = true;
    PCC_UNROLL_BY(1)
    for (int a = sight.axes - 1; a >= 0; --a) {
      const Sight::Axis& axis = sight.axis[a];
      const Quotient p = divide(position, axis.positions), t = divide(tap, axis.taps);
      const int32_t pixel = static_cast<int32_t>(p.rest) * axis.stride - axis.pad +
                            static_cast<int32_t>(t.rest) * axis.dilation;
      inside = inside && pixel >= 0 && pixel < axis.size;
      at += pixel * scale;
      scale *= axis.size;
      position = p.whole, tap = t.whole;
    }
    y[i] = inside ? x[plane.whole * sight.area + at] : 0.0f;
  }
};

// Element i of dx: the sum over the taps under which a position sees it.
struct LookBackward {
  Sight sight;
  const float* dy;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const Quotient plane = divide(i, sight.area);
    float sum = 0;
    for (int64_t tap = 0; tap < sight.taps; ++tap) {
      uint32_t pixel = plane.rest, rest = static_cast<uint32_t>(tap);
      int64_t at = 0, scale = 1;
      bool seen = true;
      PCC_UNROLL_BY(1)
      for (int a = sight.axes - 1; a >= 0; --a) {
        const Sight::Axis& axis = sight.axis[a];
        const Quotient q = divide(pixel, axis.size), t = divide(rest, axis.taps);
        const int32_t from =
            static_cast<int32_t>(q.rest) + axis.pad - static_cast<int32_t>(t.rest) * axis.dilation;
        const Quotient p = divide(from < 0 ? 0 : from, axis.stride);
        seen = seen && from >= 0 && p.rest == 0 && static_cast<int32_t>(p.whole) < axis.positions;
        at += p.whole * scale;
        scale *= axis.positions;
        pixel = q.whole, rest = t.whole;
      }
      if (seen) sum += dy[(plane.whole * sight.taps + tap) * sight.positions + at];
    }
    dx[i] = sum;
  }
};

class Im2colOp : public CudaOp {
 public:
  Im2colOp(const ConvGeometry& geometry, const OpSite& site) : CudaOp(site), sight_(geometry) {}

  void forward(const Context&) override { for_each(out_count(), Look{sight_, in(0), out()}); }

 protected:
  void differentiate(const Context&) override {
    if (din(0)) for_each(in_count(), LookBackward{sight_, dout(), din(0)});
  }

 private:
  Sight sight_;
};

}  // namespace

std::unique_ptr<Op> make_crop(const CropDesc& desc, const OpSite& site) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  if (x.axes() > Steps::kMaxAxes) return nullptr;
  Steps steps;
  for (int axis = 0; axis < x.axes(); ++axis) {
    steps.first += desc.offset[static_cast<size_t>(axis)] * x.count(axis + 1);
    steps.add_axis(y[axis], x.count(axis + 1));
  }
  return std::make_unique<ShownOp>(steps, site);
}

std::unique_ptr<Op> make_permute(const PermuteDesc& desc, const OpSite& site) {
  const Shape& x = site.in[0].shape;
  if (x.axes() > Steps::kMaxAxes) return nullptr;
  Steps steps;
  for (const int axis : desc.order) steps.add_axis(x[axis], x.count(axis + 1));
  return std::make_unique<ShownOp>(steps, site);
}

std::unique_ptr<Op> make_tile(const TileDesc& desc, const OpSite& site) {
  return std::make_unique<TileOp>(desc, site);
}

std::unique_ptr<Op> make_im2col(const Im2colDesc& desc, const OpSite& site) {
  const ConvDesc conv = {desc.kernel, desc.stride, desc.pad, desc.dilation};
  const ConvGeometry geometry(conv, site.in[0].shape, site.out[0].shape);
  if (geometry.axes() > kMaxColumnAxes) return nullptr;
  return std::make_unique<Im2colOp>(geometry, site);
}

}  // namespace pcc::cuda
