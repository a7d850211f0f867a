// Concat and Slice, and what the planner inserts: reorders between layouts and sums of gradient
// parts.
#include "backends/reference/reference_op.h"
#include "ops/cut.h"

namespace pcc::reference {
namespace {

template <typename T>
void gather(const Cut& cut, int part, const T* whole, T* to) {
  const int64_t row = cut.row, begin = cut.first[static_cast<size_t>(part)],
                width = cut.size[static_cast<size_t>(part)];
  for_each_piece(cut.outer, width,
                 [=](int64_t o) { std::copy_n(whole + o * row + begin, width, to + o * width); });
}

// from null: zeros.
template <typename T>
void scatter(const Cut& cut, int part, const T* from, T* whole) {
  const int64_t row = cut.row, begin = cut.first[static_cast<size_t>(part)],
                width = cut.size[static_cast<size_t>(part)];
  for_each_piece(cut.outer, width, [=](int64_t o) {
    if (from)
      std::copy_n(from + o * width, width, whole + o * row + begin);
    else
      std::fill_n(whole + o * row + begin, width, T(0));
  });
}

template <typename T>
class Concat : public ReferenceOp<T> {
 public:
  Concat(const ConcatDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), cut_(site.out[0], site.in, desc.axis) {}

  void forward(const Context&) override {
    for (int k = 0; k < this->ins(); ++k) scatter(cut_, k, this->in(k), this->out());
  }

 protected:
  void differentiate(const Context&) override {
    for (int k = 0; k < this->ins(); ++k)
      if (this->din(k)) gather(cut_, k, this->dout(), this->din(k));
  }

 private:
  Cut cut_;
};

template <typename T>
class Slice : public ReferenceOp<T> {
 public:
  Slice(const SliceDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), cut_(site.in[0], site.out, desc.axis) {}

  void forward(const Context&) override {
    for (int k = 0; k < this->outs(); ++k) gather(cut_, k, this->in(0), this->out(k));
  }

 protected:
  void differentiate(const Context&) override {
    for (int k = 0; k < this->outs(); ++k) scatter(cut_, k, this->dout(k), this->din(0));
  }

 private:
  Cut cut_;
};

// The parts all lie in one layout, whichever it is.
template <typename T>
class Sum : public ReferenceOp<T> {
 public:
  Sum(const SumDesc&, const OpSite& site) : ReferenceOp<T>(site) {
    for (const TensorSpec& part : site.in)
      PCC_CHECK(part == site.out[0], "'", site.name, "': a sum of unlike parts");
  }
  void forward(const Context&) override {
    T* y = this->out();
    const T* first = this->in(0);
    for_each(count(), [=](int64_t i) { y[i] = first[i]; });
    for (int k = 1; k < this->ins(); ++k) {
      const T* x = this->in(k);
      for_each(count(), [=](int64_t i) { y[i] += x[i]; });
    }
  }

 protected:
  void differentiate(const Context&) override {
    const T* dy = this->dout();
    for (int k = 0; k < this->ins(); ++k)
      if (T* dx = this->din(k)) std::copy_n(dy, count(), dx);
  }

 private:
  int64_t count() const { return this->out_shape().count(); }
};

}  // namespace

PCC_REFERENCE_OP(ConcatDesc, Concat)
PCC_REFERENCE_OP(SliceDesc, Slice)
PCC_REFERENCE_OP(SumDesc, Sum)

}  // namespace pcc::reference
