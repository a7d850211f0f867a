// Eltwise and sums of gradient parts: element by element, so any layout does as long as it is the
// same one.
#include "backends/cpu/kernels/kernel_op.h"

namespace pcc::cpu {

namespace {

using Operation = EltwiseDesc::Operation;

// Inputs that an op keeps pointers to on the stack while it works.
constexpr size_t kMaxTerms = 64;

class EltwiseOp : public KernelOp {
 public:
  EltwiseOp(const EltwiseDesc& desc, const OpSite& site) : KernelOp(site), desc_(desc) {
    bool plain_sum = desc.operation == Operation::sum;
    for (const double factor : desc.coeff) {
      coeff_.push_back(static_cast<float>(factor));
      plain_sum = plain_sum && factor == 1;
    }
    if (plain_sum) coeff_.clear();
    if (desc.operation == Operation::sum) needs_.in_place = 0;
    if (!trains_) return;
    switch (desc.operation) {
      case Operation::sum:
        for (size_t k = 0; k < site.in.size(); ++k)
          needs_.passes_dout.push_back(site.want_din[k] && coeff(k) == 1);
        break;
      case Operation::product:
        needs_.in = all_ins();
        if (!desc.stable_product) needs_.out = {true};
        break;
      case Operation::max:
        needs_.stash_bytes = out_count();
    }
  }

  void forward(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      const float* x[kMaxTerms];
      const int terms = inputs(first, x);
      float* y = out() + first;
      switch (desc_.operation) {
        case Operation::sum:
          loops_.element.sum(count, x, coeff_.empty() ? nullptr : coeff_.data(), terms, y);
          break;
        case Operation::product:
          loops_.element.product(count, x, terms, -1, nullptr, y);
          break;
        case Operation::max:
          loops_.element.maximum(count, x, terms, y, trains_ ? winner() + first : nullptr);
      }
    });
  }

 protected:
  void differentiate(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      for (size_t k = 0; k < site_.in.size(); ++k)
        if (din(k) && !passes(k)) differentiate(k, first, count);
    });
  }

 private:
  float coeff(size_t k) const { return coeff_.empty() ? 1 : coeff_[k]; }
  bool passes(size_t k) const { return !needs_.passes_dout.empty() && needs_.passes_dout[k]; }
  uint8_t* winner() const { return static_cast<uint8_t*>(buffers_.stash); }
  int inputs(int64_t first, const float* (&x)[kMaxTerms]) const {
    for (size_t k = 0; k < site_.in.size(); ++k) x[k] = in(k) + first;
    return static_cast<int>(site_.in.size());
  }

  void differentiate(size_t k, int64_t first, int64_t count) {
    const float* dy = dout() + first;
    float* dx = din(k) + first;
    const float* x[kMaxTerms];
    const int terms = inputs(first, x);
    switch (desc_.operation) {
      case Operation::sum: {
        const float factor = coeff(k);
        loops_.element.sum(count, &dy, &factor, 1, dx);
        break;
      }
      case Operation::product:
        if (desc_.stable_product)
          loops_.element.product(count, x, terms, static_cast<int>(k), dy, dx);
        else
          loops_.element.quotient(count, out() + first, x[k], dy, dx);
        break;
      case Operation::max:
        loops_.element.maximum_backward(count, winner() + first, static_cast<int>(k), dy, dx);
    }
  }

  EltwiseDesc desc_;
  std::vector<float> coeff_;  // empty: ones
};

class SumOp : public KernelOp {
 public:
  explicit SumOp(const OpSite& site) : KernelOp(site) {}

  void forward(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      const float* x[kMaxTerms];
      for (size_t k = 0; k < site_.in.size(); ++k) x[k] = in(k) + first;
      loops_.element.sum(count, x, nullptr, static_cast<int>(site_.in.size()), out() + first);
    });
  }
};

bool one_layout(const OpSite& site) {
  for (const TensorSpec& spec : site.in)
    if (spec.layout != site.out[0].layout) return false;
  return site.in.size() <= kMaxTerms;
}

}  // namespace

std::unique_ptr<Op> make_eltwise(const EltwiseDesc& desc, const OpSite& site) {
  if (!one_layout(site)) return nullptr;
  return std::make_unique<EltwiseOp>(desc, site);
}

std::unique_ptr<Op> make_sum(const SumDesc&, const OpSite& site) {
  if (!one_layout(site)) return nullptr;
  return std::make_unique<SumOp>(site);
}

}  // namespace pcc::cpu
