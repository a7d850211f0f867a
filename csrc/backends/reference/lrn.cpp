// Local response normalisation, across channels and within one.
#include "backends/reference/reference_op.h"
#include "ops/window.h"

namespace pcc::reference {
namespace {

// y = x * s^-beta with s = k + alpha / size * sum of x^2 over the channels around; s is kept for
// backward: dx = dy * s^-beta - 2 * alpha * beta / size * x * sum over the windows that hold x of
// dy * y / s.
template <typename T>
class LrnAcross {
 public:
  LrnAcross(const LrnDesc& desc, const Shape& shape)
      : desc_(desc), channels_(shape[1]), area_(shape.count(2)), before_((desc.size - 1) / 2) {}

  void forward(const T* x, T* y, T* scale) const {
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t i = 0; i < area_; ++i) {
        T sum = 0;
        for (int64_t d = first(c, before_); d < last(c, desc_.size - before_); ++d)
          sum += x[d * area_ + i] * x[d * area_ + i];
        const int64_t at = c * area_ + i;
        const T s = static_cast<T>(desc_.k) +
                    static_cast<T>(desc_.alpha / static_cast<double>(desc_.size)) * sum;
        if (scale) scale[at] = s;
        y[at] = x[at] * std::pow(s, static_cast<T>(-desc_.beta));
      }
  }
  void backward(const T* x, const T* y, const T* dy, const T* scale, T* dx) const {
    const T factor = static_cast<T>(2 * desc_.alpha * desc_.beta / static_cast<double>(desc_.size));
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t i = 0; i < area_; ++i) {
        T sum = 0;  // the windows of channels d that hold c
        for (int64_t d = first(c, desc_.size - 1 - before_); d < last(c, before_ + 1); ++d)
          sum += dy[d * area_ + i] * y[d * area_ + i] / scale[d * area_ + i];
        const int64_t at = c * area_ + i;
        dx[at] = dy[at] * std::pow(scale[at], static_cast<T>(-desc_.beta)) - factor * x[at] * sum;
      }
  }

 private:
  int64_t first(int64_t c, int64_t before) const { return std::max<int64_t>(0, c - before); }
  int64_t last(int64_t c, int64_t after) const { return std::min(channels_, c + after); }
  LrnDesc desc_;
  int64_t channels_, area_, before_;
};

// The same over squares of pixels, built by Caffe from other layers: s = 1 + alpha * AVE-pooled
// x^2, windows clipped.
template <typename T>
class LrnWithin {
 public:
  LrnWithin(const LrnDesc& desc, const Shape& shape)
      : desc_(desc), channels_(shape[1]), rows_(shape[2]), columns_(shape[3]) {}

  void forward(const T* x, T* y, T* scale) const {
    for (int64_t c = 0; c < channels_; ++c)
      for (int64_t p = 0; p < rows_; ++p)
        for (int64_t q = 0; q < columns_; ++q) {
          const int64_t plane = c * rows_ * columns_, at = plane + p * columns_ + q;
          const Window rows = window(p, rows_), columns = window(q, columns_);
          T sum = 0;
          for (int64_t h = rows.begin; h < rows.end; ++h)
            for (int64_t w = columns.begin; w < columns.end; ++w)
              sum += x[plane + h * columns_ + w] * x[plane + h * columns_ + w];
          const T s = T(1) + static_cast<T>(desc_.alpha) *
                                 (sum / static_cast<T>(rows.width * columns.width));
          if (scale) scale[at] = s;
          y[at] = x[at] * std::pow(s, static_cast<T>(-desc_.beta));
        }
  }
  void backward(const T* x, const T* y, const T* dy, const T* scale, T* dx) const {
    const T factor = static_cast<T>(-2 * desc_.alpha * desc_.beta);
    for (int64_t c = 0; c < channels_; ++c) {
      const int64_t plane = c * rows_ * columns_;
      std::fill_n(dx + plane, rows_ * columns_, T(0));
      for (int64_t p = 0; p < rows_; ++p)  // what each window owes to its members
        for (int64_t q = 0; q < columns_; ++q) {
          const int64_t at = plane + p * columns_ + q;
          const Window rows = window(p, rows_), columns = window(q, columns_);
          const T share =
              factor * dy[at] * y[at] / scale[at] / static_cast<T>(rows.width * columns.width);
          for (int64_t h = rows.begin; h < rows.end; ++h)
            for (int64_t w = columns.begin; w < columns.end; ++w)
              dx[plane + h * columns_ + w] += share;
        }
      for (int64_t at = plane; at < plane + rows_ * columns_; ++at)
        dx[at] = dx[at] * x[at] + dy[at] * std::pow(scale[at], static_cast<T>(-desc_.beta));
    }
  }

 private:
  Window window(int64_t at, int64_t size) const {
    return {at, desc_.size, 1, (desc_.size - 1) / 2, size};
  }
  LrnDesc desc_;
  int64_t channels_, rows_, columns_;
};

// One sample per piece of work.
template <typename T, typename Region>
class Lrn : public ReferenceOp<T> {
 public:
  Lrn(const LrnDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), region_(desc, site.in[0].shape) {}

  void forward(const Context&) override {
    T* scale = this->site_.backward() ? static_cast<T*>(this->buffers_.stash) : nullptr;
    const int64_t size = this->in_shape(0).count(1);
    for_each_piece(this->in_shape(0)[0], size, [=, this](int64_t n) {
      region_.forward(this->in(0) + n * size, this->out() + n * size,
                      scale ? scale + n * size : nullptr);
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = this->all_ins();
    needs.out = this->all_outs();
    needs.stash_bytes = this->site_.in[0].bytes();
  }
  void differentiate(const Context&) override {
    const T* scale = static_cast<const T*>(this->buffers_.stash);
    const int64_t size = this->in_shape(0).count(1);
    for_each_piece(this->in_shape(0)[0], size, [=, this](int64_t n) {
      region_.backward(this->in(0) + n * size, this->out() + n * size, this->dout() + n * size,
                       scale + n * size, this->din(0) + n * size);
    });
  }

 private:
  Region region_;
};

}  // namespace

template <typename T>
OpPointer make_op(const LrnDesc& desc, const OpSite& site) {
  if (desc.across) return std::make_unique<Lrn<T, LrnAcross<T>>>(desc, site);
  return std::make_unique<Lrn<T, LrnWithin<T>>>(desc, site);
}
template OpPointer make_op<float>(const LrnDesc&, const OpSite&);
template OpPointer make_op<double>(const LrnDesc&, const OpSite&);

}  // namespace pcc::reference
