// Local response normalisation, within a channel and across channels, in any layout.
#include "backends/cpu/kernels/kernel_op.h"

namespace pcc::cpu {

namespace {

// Work is cut into planes of channels that lie side by side (within), or into tiles of pixels of
// one sample (across). Each thread has scratch memory of its own. s, the sum that a value is
// divided by a power of, is kept for backward.
class LrnOp : public KernelOp {
 public:
  LrnOp(const LrnDesc& desc, const OpSite& site) : KernelOp(site), across_(desc.across) {
    const Shape& shape = site.in[0].shape;
    const Layout layout = site.in[0].layout;
    samples_ = shape[0];
    channels_ = shape[1];
    rows_ = shape[2];
    columns_ = shape[3];
    lanes_ = layout == Layout::nhwc ? channels_ : block_of(layout);
    const double window = static_cast<double>(across_ ? desc.size : desc.size * desc.size);
    rates_.size = desc.size;
    rates_.k = across_ ? static_cast<float>(desc.k) : 1;
    rates_.rate = static_cast<float>(desc.alpha / window);
    rates_.beta = static_cast<float>(desc.beta);
    rates_.back = static_cast<float>(2 * desc.alpha * desc.beta / window);

    const int64_t area = rows_ * columns_;
    blocks_ = {channels_, lanes_, area * lanes_};
    plain_ = layout == Layout::plain;
    tile_ = plain_ ? kLrnTile : lrn_blocks_tile(rates_, blocks_);
    tiles_ = (area + tile_ - 1) / tile_;
    jobs_ = across_ ? samples_ * tiles_ : samples_ * channels_ / lanes_;
    splits_ = std::min<int64_t>(pcc::threads(), jobs_);
    share_ = !across_ ? 2 * area * lanes_
             : plain_ ? channels_ * kLrnTile
                      : lrn_blocks_scratch(rates_, blocks_);
    const int64_t scratch = splits_ * share_ * static_cast<int64_t>(sizeof(float));
    if (!across_ || !plain_) needs_.forward_scratch = scratch;
    if (!trains_) return;
    needs_.in = {true};
    needs_.stash_bytes = site.in[0].bytes();
    needs_.backward_scratch = scratch;
  }

  void forward(const Context&) override {
    float* const s = trains_ ? static_cast<float*>(buffers_.stash) : nullptr;
    for_jobs([=, this](int64_t at, int64_t count, int64_t split) {
      const float* const x = in(0) + at;
      float* const kept = s ? s + at : nullptr;
      float* const own = plain_ && across_ ? nullptr : scratch(buffers_.scratch, split);
      if (!across_)
        loops_.lrn.within(rates_, rows_, columns_, lanes_, x, out() + at, kept, own);
      else if (plain_)
        loops_.lrn.across(rates_, channels_, rows_ * columns_, count, x, out() + at, kept);
      else
        loops_.lrn.across_blocks(rates_, blocks_, count, x, out() + at, kept, own);
    });
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    const float* const s = static_cast<const float*>(buffers_.stash);
    for_jobs([=, this](int64_t at, int64_t count, int64_t split) {
      float* const own = scratch(buffers_.backward_scratch, split);
      const float *const x = in(0) + at, *const dy = dout() + at;
      float* const dx = din(0) + at;
      if (!across_)
        loops_.lrn.within_backward(rates_, rows_, columns_, lanes_, x, s + at, dy, dx, own);
      else if (plain_)
        loops_.lrn.across_backward(rates_, channels_, rows_ * columns_, count, x, s + at, dy, dx,
                                   own);
      else
        loops_.lrn.across_blocks_backward(rates_, blocks_, count, x, s + at, dy, dx, own);
    });
  }

 private:
  float* scratch(void* base, int64_t split) const {
    return static_cast<float*>(base) + split * share_;
  }

  // body(first element, pixels of the tile, split), spread over threads; `split` tells concurrent
  // calls apart.
  template <typename Body>
  void for_jobs(Body&& body) const {
    const int64_t area = rows_ * columns_;
    parallel(splits_, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t split = first; split < last; ++split)
        for (int64_t job = jobs_ * split / splits_; job < jobs_ * (split + 1) / splits_; ++job) {
          if (!across_) {
            body(job * area * lanes_, area, split);
            continue;
          }
          const int64_t begin = job % tiles_ * tile_, pixel = plain_ ? 1 : lanes_;
          body(job / tiles_ * channels_ * area + begin * pixel, std::min(tile_, area - begin),
               split);
        }
    });
  }

  bool across_, plain_ = true;
  LrnRates rates_{};
  LrnBlocks blocks_{};
  int64_t samples_, channels_, rows_, columns_, lanes_, tile_, tiles_, jobs_, splits_, share_;
};

}  // namespace

std::unique_ptr<Op> make_lrn(const LrnDesc& desc, const OpSite& site) {
  const Layout layout = site.in[0].layout;
  if (site.in[0].shape.axes() != 4 || layout != site.out[0].layout) return nullptr;
  if (!desc.across && desc.size % 2 == 0) return nullptr;
  return std::make_unique<LrnOp>(desc, site);
}

}  // namespace pcc::cpu
