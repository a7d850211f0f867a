// pool.cu's op where channels are last, over float32 or bf16, a pack of channels at a time.
#include <cfloat>

#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"
#include "backends/cuda/pool.cuh"

namespace pcc::cuda {

namespace {

struct Places {
  Axis rows, columns;
  int packs;
  Divisor by_packs, by_width, by_height, by_windows, by_window_rows;
};

// winners: null, or for each number of y the place of its maximum in the plane, or -1.
template <typename P>
struct Forward {
  Places places;
  bool max;
  Packs<P> x, y;
  int32_t* winners;
  __device__ void operator()(int64_t i) const {
    constexpr int kCount = P::kCount;
    const auto [position, pack] = places.by_packs(static_cast<uint32_t>(i));
    const auto [line, q] = places.by_windows(position);
    const auto [sample, p] = places.by_window_rows(line);
    const Window rows = places.rows.window(p), columns = places.columns.window(q);
    P result;
    int winner[kCount];
    PCC_UNROLL
    for (int k = 0; k < kCount; ++k) {
      result.x[k] = max ? -FLT_MAX : 0.0f;
      winner[k] = -1;
    }
    for (int64_t h = rows.begin; h < rows.end; ++h)
      for (int64_t w = columns.begin; w < columns.end; ++w) {
        const int64_t at = h * places.columns.size + w;
        const int64_t pixel = sample * (places.rows.size * places.columns.size) + at;
        const P numbers = x(pixel * places.packs + pack, pixel);
        PCC_UNROLL
        for (int k = 0; k < kCount; ++k) {
          if (!max) {
            result.x[k] += numbers.x[k];
          } else if (numbers.x[k] > result.x[k]) {
            result.x[k] = numbers.x[k];
            winner[k] = static_cast<int>(at);
          }
        }
      }
    if (!max) {
      const auto size = static_cast<float>(rows.width * columns.width);
      PCC_UNROLL
      for (int k = 0; k < kCount; ++k) result.x[k] /= size;
    }
    y.put(result, i, position);
    if (!winners) return;
    PCC_UNROLL
    for (int k = 0; k < kCount; ++k) winners[i * kCount + k] = winner[k];
  }
};

// winners: null for averages.
template <typename P>
struct Backward {
  Places places;
  Packs<P> dy;
  const int32_t* winners;
  Packs<P> dx;
  __device__ void operator()(int64_t i) const {
    constexpr int kCount = P::kCount;
    const auto [pixel, pack] = places.by_packs(static_cast<uint32_t>(i));
    const auto [line, w] = places.by_width(pixel);
    const auto [sample, h] = places.by_height(line);
    const Axis &rows = places.rows, &columns = places.columns;
    const auto in_plane = static_cast<int>(h * columns.size + w);
    const int64_t p_end = rows.end(h), q_end = columns.end(w);
    P sum{};
    for (int64_t p = rows.first(h); p < p_end; ++p)
      for (int64_t q = columns.first(w); q < q_end; ++q) {
        const int64_t window = (sample * rows.windows + p) * columns.windows + q;
        const int64_t at = window * places.packs + pack;
        const P g = dy(at, window);
        const auto size = static_cast<float>(rows.window(p).width * columns.window(q).width);
        PCC_UNROLL
        for (int k = 0; k < kCount; ++k)
          if (!winners)
            sum.x[k] += g.x[k] / size;
          else if (winners[at * kCount + k] == in_plane)
            sum.x[k] += g.x[k];
      }
    dx.put(sum, i, pixel);
  }
};

template <typename P>
class PoolLinesOp : public CudaOpOf<NumberOf<P>> {
  static constexpr int kCount = P::kCount;

 public:
  PoolLinesOp(const PoolDesc& desc, const OpSite& site)
      : CudaOpOf<NumberOf<P>>(site), max_(desc.method == PoolDesc::Method::max) {
    places_.rows = Axis(desc, site, 0);
    places_.columns = Axis(desc, site, 1);
    places_.packs = static_cast<int>(site.in[0].shape[1]) / kCount;
    places_.by_packs = Divisor(places_.packs);
    places_.by_width = Divisor(places_.columns.size);
    places_.by_height = Divisor(places_.rows.size);
    places_.by_windows = Divisor(places_.columns.windows);
    places_.by_window_rows = Divisor(places_.rows.windows);
  }

  std::string implementation() const override { return "cuda nhwc"; }

  void forward(const Context&) override {
    for_each(this->out_count() / kCount, Forward<P>{places_, max_, Packs<P>(this->buffers_.in[0]),
                                                    Packs<P>(this->buffers_.out[0]),
                                                    this->trains() && max_ ? winners() : nullptr});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override { needs.channel_unit = kCount; }
  void backward_needs(OpNeeds& needs) const override {
    if (max_) needs.stash_bytes = this->out_count() * static_cast<int64_t>(sizeof(int32_t));
  }
  void differentiate(const Context&) override {
    for_each(this->in_count() / kCount,
             Backward<P>{places_, Packs<P>(this->buffers_.dout[0][0]), max_ ? winners() : nullptr,
                         Packs<P>(this->buffers_.din[0])});
  }

 private:
  int32_t* winners() const { return static_cast<int32_t*>(this->buffers_.stash); }

  bool max_;
  Places places_;
};

}  // namespace

std::unique_ptr<Op> make_pool_lines(const PoolDesc& desc, const OpSite& site) {
  return with_packs_of(site.in[0], [&](auto pack) -> std::unique_ptr<Op> {
    return std::make_unique<PoolLinesOp<decltype(pack)>>(desc, site);
  });
}

}  // namespace pcc::cuda
