// Eltwise: sums, products and maxima of several values, element by element.
#include "backends/cuda/makers.h"
#include "backends/cuda/pack.cuh"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// Values that one kernel is told of by its arguments.
constexpr size_t kMaxTerms = 64;

struct Terms {
  int count = 0;
  const void* x[kMaxTerms] = {};
};
// Null: not wanted.
struct Targets {
  void* dx[kMaxTerms] = {};
};
struct Factors {
  float of[kMaxTerms] = {};
};

// All of them take a pack P at a time.
template <typename P>
struct SumForward {
  Terms terms;
  Factors factors;
  void* y;
  __device__ void operator()(int64_t i) const {
    P sum{};
    PCC_UNROLL_BY(1)
    for (int k = 0; k < terms.count; ++k) {
      const P x = pack_of<P>(terms.x[k], i);
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) sum.x[n] += factors.of[k] * x.x[n];
    }
    put_pack(y, i, sum);
  }
};
template <typename P>
struct SumBackward {
  int count;
  const void* dy;
  Factors factors;
  Targets to;
  __device__ void operator()(int64_t i) const {
    const P g = pack_of<P>(dy, i);
    for (int k = 0; k < count; ++k) {
      if (!to.dx[k]) continue;
      P dx;
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) dx.x[n] = factors.of[k] * g.x[n];
      put_pack(to.dx[k], i, dx);
    }
  }
};

template <typename P>
__device__ P product_without(const Terms& terms, int without, int64_t i) {
  P product;
  PCC_UNROLL
  for (int n = 0; n < P::kCount; ++n) product.x[n] = 1;
  for (int k = 0; k < terms.count; ++k) {
    if (k == without) continue;
    const P x = pack_of<P>(terms.x[k], i);
    PCC_UNROLL
    for (int n = 0; n < P::kCount; ++n) product.x[n] *= x.x[n];
  }
  return product;
}
template <typename P>
struct ProductForward {
  Terms terms;
  void* y;
  __device__ void operator()(int64_t i) const { put_pack(y, i, product_without<P>(terms, -1, i)); }
};
// y: null for the stable gradient, the product of the others.
template <typename P>
struct ProductBackward {
  Terms terms;
  const void *y, *dy;
  Targets to;
  __device__ void operator()(int64_t i) const {
    for (int k = 0; k < terms.count; ++k) {
      if (!to.dx[k]) continue;
      P slope;
      if (y) {
        const P x = pack_of<P>(terms.x[k], i), all = pack_of<P>(y, i);
        PCC_UNROLL
        for (int n = 0; n < P::kCount; ++n) slope.x[n] = all.x[n] / x.x[n];
      } else {
        slope = product_without<P>(terms, k, i);
      }
      const P g = pack_of<P>(dy, i);
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) slope.x[n] *= g.x[n];
      put_pack(to.dx[k], i, slope);
    }
  }
};

// Between the first two a tie goes to the second, as in eltwise_layer.cpp. winner: null, or which
// input it was.
template <typename P>
struct MaxForward {
  Terms terms;
  uint8_t* winner;
  void* y;
  __device__ void operator()(int64_t i) const {
    const P first = pack_of<P>(terms.x[0], i);
    P largest = pack_of<P>(terms.x[1], i);
    int best[P::kCount];
    PCC_UNROLL
    for (int n = 0; n < P::kCount; ++n) {
      best[n] = first.x[n] > largest.x[n] ? 0 : 1;
      if (best[n] == 0) largest.x[n] = first.x[n];
    }
    for (int k = 2; k < terms.count; ++k) {
      const P x = pack_of<P>(terms.x[k], i);
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) {
        if (!(x.x[n] > largest.x[n])) continue;
        best[n] = k;
        largest.x[n] = x.x[n];
      }
    }
    put_pack(y, i, largest);
    if (!winner) return;
    PCC_UNROLL
    for (int n = 0; n < P::kCount; ++n) winner[i * P::kCount + n] = static_cast<uint8_t>(best[n]);
  }
};
template <typename P>
struct MaxBackward {
  int count;
  const uint8_t* winner;
  const void* dy;
  Targets to;
  __device__ void operator()(int64_t i) const {
    const P g = pack_of<P>(dy, i);
    for (int k = 0; k < count; ++k) {
      if (!to.dx[k]) continue;
      P dx;
      PCC_UNROLL
      for (int n = 0; n < P::kCount; ++n) dx.x[n] = winner[i * P::kCount + n] == k ? g.x[n] : 0.0f;
      put_pack(to.dx[k], i, dx);
    }
  }
};

class EltwiseOp : public CudaOp {
  using Operation = EltwiseDesc::Operation;

 public:
  EltwiseOp(const EltwiseDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {
    for (int k = 0; k < ins(); ++k)
      factors_.of[k] =
          desc.coeff.empty() ? 1.0f : static_cast<float>(desc.coeff[static_cast<size_t>(k)]);
  }

  void forward(const Context&) override {
    void* const y = buffers_.out[0].data;
    with_packs(site_.out[0].dtype, out_count(), [&](auto pack) {
      using P = decltype(pack);
      const int64_t count = out_count() / P::kCount;
      switch (desc_.operation) {
        case Operation::sum:
          return for_each(count, SumForward<P>{terms(), factors_, y});
        case Operation::product:
          return for_each(count, ProductForward<P>{terms(), y});
        case Operation::max:
          return for_each(count, MaxForward<P>{terms(), trains() ? winner() : nullptr, y});
      }
    });
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (is_sum()) needs.in_place = 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    switch (desc_.operation) {
      case Operation::sum:
        for (int k = 0; k < ins(); ++k) needs.passes_dout.push_back(passes(k));
        break;
      case Operation::product:
        needs.in = all_ins();
        if (!desc_.stable_product) needs.out = {true};
        break;
      case Operation::max:
        needs.stash_bytes = out_count();
    }
  }
  void differentiate(const Context&) override {
    const Targets to = targets();
    if (std::none_of(to.dx, to.dx + kMaxTerms, [](const void* dx) { return dx != nullptr; }))
      return;
    const void *const dy = dout(), *const y = desc_.stable_product ? nullptr : out();
    with_packs(site_.out[0].dtype, out_count(), [&](auto pack) {
      using P = decltype(pack);
      const int64_t count = out_count() / P::kCount;
      switch (desc_.operation) {
        case Operation::sum:
          return for_each(count, SumBackward<P>{ins(), dy, factors_, to});
        case Operation::product:
          return for_each(count, ProductBackward<P>{terms(), y, dy, to});
        case Operation::max:
          return for_each(count, MaxBackward<P>{ins(), winner(), dy, to});
      }
    });
  }

 private:
  bool is_sum() const { return desc_.operation == Operation::sum; }
  // Whether that input's gradient is the output's.
  bool passes(int k) const {
    return is_sum() && site_.want_din[static_cast<size_t>(k)] && factors_.of[k] == 1;
  }
  uint8_t* winner() const { return static_cast<uint8_t*>(buffers_.stash); }
  Terms terms() const {
    Terms terms{.count = ins()};
    for (int k = 0; k < ins(); ++k) terms.x[k] = in(k);
    return terms;
  }
  // Where there is something to write.
  Targets targets() const {
    Targets to;
    for (int k = 0; k < ins(); ++k)
      if (!passes(k)) to.dx[k] = din(k);
    return to;
  }

  EltwiseDesc desc_;
  Factors factors_;
};

}  // namespace

std::unique_ptr<Op> make_eltwise(const EltwiseDesc& desc, const OpSite& site) {
  if (site.in.size() > kMaxTerms) return nullptr;
  return std::make_unique<EltwiseOp>(desc, site);
}

}  // namespace pcc::cuda
