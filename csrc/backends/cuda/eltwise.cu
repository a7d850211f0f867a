// Eltwise: sums, products and maxima of several values, element by element.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// Values that one kernel is told of by its arguments.
constexpr size_t kMaxTerms = 64;

struct Terms {
  int count = 0;
  const float* x[kMaxTerms] = {};
};
// Null: not wanted.
struct Targets {
  float* dx[kMaxTerms] = {};
};
struct Factors {
  float of[kMaxTerms] = {};
};

struct SumForward {
  Terms terms;
  Factors factors;
  float* y;
  __device__ void operator()(int64_t i) const {
    float sum = 0;
    for (int k = 0; k < terms.count; ++k) sum += factors.of[k] * terms.x[k][i];
    y[i] = sum;
  }
};
struct SumBackward {
  int count;
  const float* dy;
  Factors factors;
  Targets to;
  __device__ void operator()(int64_t i) const {
    const float g = dy[i];
    for (int k = 0; k < count; ++k)
      if (to.dx[k]) to.dx[k][i] = factors.of[k] * g;
  }
};

inline __device__ float product_without(const Terms& terms, int without, int64_t i) {
  float product = 1;
  for (int k = 0; k < terms.count; ++k)
    if (k != without) product *= terms.x[k][i];
  return product;
}
struct ProductForward {
  Terms terms;
  float* y;
  __device__ void operator()(int64_t i) const { y[i] = product_without(terms, -1, i); }
};
// y: null for the stable gradient, the product of the others.
struct ProductBackward {
  Terms terms;
  const float *y, *dy;
  Targets to;
  __device__ void operator()(int64_t i) const {
    for (int k = 0; k < terms.count; ++k) {
      if (!to.dx[k]) continue;
      const float slope = y ? y[i] / terms.x[k][i] : product_without(terms, k, i);
      to.dx[k][i] = slope * dy[i];
    }
  }
};

// Between the first two a tie goes to the second, as in eltwise_layer.cpp. winner: null, or which
// input it was.
struct MaxForward {
  Terms terms;
  uint8_t* winner;
  float* y;
  __device__ void operator()(int64_t i) const {
    int best = terms.x[0][i] > terms.x[1][i] ? 0 : 1;
    float largest = terms.x[best][i];
    for (int k = 2; k < terms.count; ++k) {
      if (!(terms.x[k][i] > largest)) continue;
      best = k;
      largest = terms.x[k][i];
    }
    y[i] = largest;
    if (winner) winner[i] = static_cast<uint8_t>(best);
  }
};
struct MaxBackward {
  int count;
  const uint8_t* winner;
  const float* dy;
  Targets to;
  __device__ void operator()(int64_t i) const {
    for (int k = 0; k < count; ++k)
      if (to.dx[k]) to.dx[k][i] = winner[i] == k ? dy[i] : 0.0f;
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
    switch (desc_.operation) {
      case Operation::sum:
        return for_each(out_count(), SumForward{terms(), factors_, out()});
      case Operation::product:
        return for_each(out_count(), ProductForward{terms(), out()});
      case Operation::max:
        return for_each(out_count(), MaxForward{terms(), trains() ? winner() : nullptr, out()});
    }
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
    if (std::none_of(to.dx, to.dx + kMaxTerms, [](const float* dx) { return dx != nullptr; }))
      return;
    switch (desc_.operation) {
      case Operation::sum:
        return for_each(out_count(), SumBackward{ins(), dout(), factors_, to});
      case Operation::product:
        return for_each(
            out_count(),
            ProductBackward{terms(), desc_.stable_product ? nullptr : out(), dout(), to});
      case Operation::max:
        return for_each(out_count(), MaxBackward{ins(), winner(), dout(), to});
    }
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
