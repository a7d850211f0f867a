// Interp: planes of another size, by linear interpolation between the corners.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// Between which two elements of x one of y lies, and how near to the second.
struct Between {
  int64_t from, to;
  float share;
};
// One axis of the planes.
struct Side {
  int64_t size, out, pad_begin, seen;
  float step;

  Side(const InterpDesc& desc, int64_t size, int64_t out)
      : size(size),
        out(out),
        pad_begin(desc.pad_begin),
        seen(size + desc.pad_begin + desc.pad_end),
        step(out > 1 ? static_cast<float>(seen - 1) / static_cast<float>(out - 1) : 0.0f) {}
  __device__ Between at(int64_t i) const {
    const float place = step * static_cast<float>(i);
    const auto from = static_cast<int64_t>(place);
    const int64_t to = from + 1 < seen ? from + 1 : seen - 1;
    return {from - pad_begin, to - pad_begin, place - static_cast<float>(from)};
  }
  // Those of y among which all are that lie next to element h of x: [first, end).
  __device__ int64_t first(int64_t h) const {
    if (!(step > 0)) return 0;
    const float place = static_cast<float>(h + pad_begin - 1) / step - 1;
    return place > 0 ? static_cast<int64_t>(place) : 0;
  }
  __device__ int64_t end(int64_t h) const {
    if (!(step > 0)) return out;
    const auto last = static_cast<int64_t>(static_cast<float>(h + pad_begin + 1) / step) + 2;
    return last < out ? last : out;
  }
  // How much element i of y takes of element h of x.
  __device__ float weight(int64_t i, int64_t h) const {
    const Between between = at(i);
    return (between.from == h ? 1 - between.share : 0.0f) +
           (between.to == h ? between.share : 0.0f);
  }
};

struct Mix {
  Side rows, columns;
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const {
    const Quotient line = divide(i, columns.out), plane = divide(line.whole, rows.out);
    const Between r = rows.at(plane.rest), c = columns.at(line.rest);
    const float* const upper = x + (plane.whole * rows.size + r.from) * columns.size;
    const float* const lower = x + (plane.whole * rows.size + r.to) * columns.size;
    const float above = (1 - c.share) * upper[c.from] + c.share * upper[c.to];
    const float below = (1 - c.share) * lower[c.from] + c.share * lower[c.to];
    y[i] = (1 - r.share) * above + r.share * below;
  }
};
struct MixBackward {
  Side rows, columns;
  const float* dy;
  float* dx;
  __device__ void operator()(int64_t i) const {
    const Quotient line = divide(i, columns.size), plane = divide(line.whole, rows.size);
    const int64_t h = plane.rest, w = line.rest;
    float sum = 0;
    for (int64_t p = rows.first(h); p < rows.end(h); ++p) {
      const float high = rows.weight(p, h);
      if (high == 0) continue;
      const float* const from = dy + (plane.whole * rows.out + p) * columns.out;
      for (int64_t q = columns.first(w); q < columns.end(w); ++q)
        sum += high * columns.weight(q, w) * from[q];
    }
    dx[i] = sum;
  }
};

class InterpOp : public CudaOp {
 public:
  InterpOp(const InterpDesc& desc, const OpSite& site)
      : CudaOp(site),
        rows_(desc, in_shape(0)[2], out_shape()[2]),
        columns_(desc, in_shape(0)[3], out_shape()[3]) {}

  void forward(const Context&) override {
    for_each(out_count(), Mix{rows_, columns_, in(0), out()});
  }

 protected:
  void differentiate(const Context&) override {
    if (din(0)) for_each(in_count(), MixBackward{rows_, columns_, dout(), din(0)});
  }

 private:
  Side rows_, columns_;
};

}  // namespace

std::unique_ptr<Op> make_interp(const InterpDesc& desc, const OpSite& site) {
  return std::make_unique<InterpOp>(desc, site);
}

}  // namespace pcc::cuda
