// ReLU, Sigmoid, PReLU and dropout.
#include "backends/cpu/kernels/kernel_op.h"
#include "backends/cpu/kernels/norm_geometry.h"
#include "core/random.h"

namespace pcc::cpu {

namespace {

// In place where the slope is not negative: then the sign of y tells that of x, and x need not be
// kept.
class ReluOp : public KernelOp {
 public:
  ReluOp(const PointwiseDesc& desc, const OpSite& site)
      : KernelOp(site), slope_(static_cast<float>(desc.a)), from_y_(desc.a >= 0) {
    if (from_y_ || !trains_) needs_.in_place = 0;
    if (!trains_) return;
    (from_y_ ? needs_.out : needs_.in) = {true};
    needs_.diff_in_place = 0;
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
  }

  void forward(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      loops_.element.relu(count, in(0) + first, slope_, out() + first);
    });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      const float* dy[kMaxParts];
      const int parts = dout_parts(0, first, dy);
      const float* sign = from_y_ ? out() : in(0);
      loops_.element.relu_backward(count, sign + first, dy, parts, slope_, din(0) + first);
    });
  }

 private:
  float slope_;
  bool from_y_;
};

class SigmoidOp : public KernelOp {
 public:
  explicit SigmoidOp(const OpSite& site) : KernelOp(site) {
    needs_.in_place = 0;
    if (!trains_) return;
    needs_.out = {true};
    needs_.diff_in_place = 0;
  }

  void forward(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      loops_.element.sigmoid(count, in(0) + first, out() + first);
    });
  }

 protected:
  void differentiate(const Context&) override {
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      loops_.element.sigmoid_backward(count, out() + first, dout() + first, din(0) + first);
    });
  }
};

// With one slope for all, a sample is one channel in whatever layout.
TensorSpec by_slope(const OpSite& site) {
  const TensorSpec& x = site.in[0];
  const int64_t samples = x.shape[0], slopes = site.params[0].shape.count();
  if (slopes > 1 && x.layout != Layout::plain) return x;
  return {Shape{samples, slopes, x.shape.count() / samples / slopes}, DType::f32, Layout::plain};
}

class PreluOp : public KernelOp {
 public:
  explicit PreluOp(const OpSite& site)
      : KernelOp(site),
        geometry_(by_slope(site)),
        splits_(std::min<int64_t>(pcc::threads(), geometry_.items())) {
    if (!trains_) {
      needs_.in_place = 0;
      return;
    }
    needs_.overwrites_dparams = true;
    needs_.in = {true};
    needs_.backward_scratch =
        splits_ * geometry_.channels() * static_cast<int64_t>(sizeof(Moments));
    needs_.diff_in_place = 0;
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
  }

  void forward(const Context&) override {
    for_splits([this](int64_t, const NormView& view, int64_t at, int64_t, const float* slope) {
      loops_.norm.prelu(view, slope, in(0) + at, out() + at);
    });
  }

 protected:
  void differentiate(const Context& context) override {
    const int64_t channels = geometry_.channels();
    Moments* const partial = static_cast<Moments*>(buffers_.backward_scratch);
    std::fill_n(partial, splits_ * channels, Moments{});
    for_splits([=, this](int64_t split, const NormView& view, int64_t at, int64_t piece,
                         const float* slope) {
      const float* dy[kMaxParts];
      const int parts = dout_parts(0, at, dy);
      double sums[16] = {};
      const double none[16] = {};
      loops_.norm.prelu_backward(view, slope, in(0) + at, dy, parts, din(0) ? din(0) + at : nullptr,
                                 sums);
      geometry_.from_lanes(sums, none, piece, partial + split * channels);
    });
    if (!dparam(0)) return;
    for (int64_t c = 0; c < channels; ++c) {
      double sum = overwrites(context, 0) ? 0 : static_cast<double>(dparam(0)[c]);
      for (int64_t split = 0; split < splits_; ++split) sum += partial[split * channels + c].a;
      dparam(0)[c] = static_cast<float>(sum);
    }
  }

 private:
  // body(split, view, offset of its first element, piece, slope of each lane), splits over threads.
  template <typename Body>
  void for_splits(Body&& body) {
    parallel(splits_, 1, [&, this](int64_t first_split, int64_t last_split, int) {
      for (int64_t split = first_split; split < last_split; ++split)
        geometry_.for_tiles(geometry_.items() * split / splits_,
                            geometry_.items() * (split + 1) / splits_,
                            [&, this](int64_t first, int64_t last, int64_t piece) {
                              float slope[16];
                              geometry_.to_lanes(param(0), piece, 0, slope);
                              geometry_.for_views(first, last, piece,
                                                  [&](const NormView& view, int64_t at, int64_t) {
                                                    body(split, view, at, piece, slope);
                                                  });
                            });
    });
  }

  NormGeometry geometry_;
  int64_t splits_;
};

// The mask, one byte per element in the order of the layout, is kept for backward. It is drawn in
// the order of the plain layout, so that the layout does not change what is dropped.
class DropoutOp : public KernelOp {
 public:
  DropoutOp(const DropoutDesc& desc, const OpSite& site)
      : KernelOp(site), desc_(desc), scale_(static_cast<float>(1.0 / (1.0 - desc.ratio))) {
    const Shape& shape = site.in[0].shape;
    blocked_ = site.in[0].layout != Layout::plain;
    if (blocked_) {
      channels_ = shape[1];
      area_ = shape.count(2);
      step_ = site.in[0].layout == Layout::nhwc ? channels_ : block_of(site.in[0].layout);
    }
    (trains_ ? needs_.stash_bytes : needs_.forward_scratch) = out_count();
    needs_.in_place = 0;
    if (trains_) needs_.diff_in_place = 0;
  }

  void forward(const Context& context) override {
    const RandomStream stream = context.step->random(site_.stream, out_count());
    if (blocked_)
      draw_rows(stream);
    else
      draw_all(stream);
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      loops_.element.mask(count, in(0) + first, mask() + first, scale_, out() + first);
    });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    for_elements(out_count(), [this](int64_t first, int64_t count) {
      loops_.element.mask(count, dout() + first, mask() + first, scale_, din(0) + first);
    });
  }

 private:
  uint8_t* mask() const {
    return static_cast<uint8_t*>(trains_ ? buffers_.stash : buffers_.scratch);
  }

  void draw_all(const RandomStream& stream) {
    for_pieces((out_count() + 3) / 4, 16, [&, this](int64_t block) {
      const auto bits = stream.block(static_cast<uint64_t>(block));
      const int64_t first = 4 * block, end = std::min(first + 4, out_count());
      for (int64_t i = first; i < end; ++i)
        mask()[i] = bits[static_cast<size_t>(i - first)] > desc_.threshold();
    });
  }
  // One row is a channel of a sample.
  void draw_rows(const RandomStream& stream) {
    for_pieces(out_count() / area_, 4 * area_, [&, this](int64_t row) {
      const int64_t n = row / channels_, c = row % channels_;
      uint8_t* to = mask() + (n * channels_ + c / step_ * step_) * area_ + c % step_;
      int64_t element = row * area_;
      for (int64_t p = 0; p < area_;) {
        const auto bits = stream.block(static_cast<uint64_t>(element / 4));
        do {
          to[p * step_] = bits[static_cast<size_t>(element % 4)] > desc_.threshold();
          ++p;
          ++element;
        } while (p < area_ && element % 4 != 0);
      }
    });
  }

  DropoutDesc desc_;
  float scale_;
  bool blocked_ = false;
  int64_t channels_ = 1, area_ = 1, step_ = 1;
};

}  // namespace

std::unique_ptr<Op> make_pointwise(const PointwiseDesc& desc, const OpSite& site) {
  if (site.in[0].layout != site.out[0].layout) return nullptr;
  switch (desc.function) {
    case PointwiseDesc::Function::relu:
      return std::make_unique<ReluOp>(desc, site);
    case PointwiseDesc::Function::sigmoid:
      return std::make_unique<SigmoidOp>(site);
    case PointwiseDesc::Function::prelu:
      return std::make_unique<PreluOp>(site);
    default:
      return make_activation(desc, site);
  }
}

std::unique_ptr<Op> make_dropout(const DropoutDesc& desc, const OpSite& site) {
  if (site.in[0].layout != site.out[0].layout) return nullptr;
  return std::make_unique<DropoutOp>(desc, site);
}

}  // namespace pcc::cpu
