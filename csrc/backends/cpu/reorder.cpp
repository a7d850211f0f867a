// A change of layout between two ops that disagree.
#include "backends/cpu/kernels/kernel_op.h"

namespace pcc::cpu {

namespace {

// Tiles of a sample that stay in the first cache while both sides walk over them.
constexpr int64_t kTileChannels = 16, kTilePixels = 64;

// Where the values of one sample lie in a layout.
struct Walk {
  int64_t block, step;  // channels side by side; floats from a pixel to the next

  Walk(Layout layout, int64_t channels)
      : block(layout == Layout::nhwc ? channels : block_of(layout)), step(block) {}
  int64_t first(int64_t channel, int64_t area) const {
    return channel / block * block * area + channel % block;
  }
};

class ReorderOp : public KernelOp {
 public:
  explicit ReorderOp(const OpSite& site)
      : KernelOp(site),
        samples_(site.in[0].shape[0]),
        channels_(site.in[0].shape[1]),
        area_(site.in[0].shape.count(2)),
        from_(site.in[0].layout, channels_),
        to_(site.out[0].layout, channels_) {}

  void forward(const Context&) override { copy(from_, in(0), to_, out()); }

 protected:
  void differentiate(const Context&) override {
    if (din(0)) copy(to_, dout(), from_, din(0));
  }

 private:
  void copy(const Walk& from, const float* x, const Walk& to, float* y) const {
    const int64_t bands = (channels_ + kTileChannels - 1) / kTileChannels;
    for_pieces(samples_ * bands, kTileChannels * area_, [=, this](int64_t piece) {
      const int64_t sample = piece / bands * channels_ * area_;
      const int64_t begin = piece % bands * kTileChannels;
      const int64_t end = std::min(begin + kTileChannels, channels_);
      for (int64_t pixel = 0; pixel < area_; pixel += kTilePixels)
        for (int64_t c = begin; c < end; ++c) {
          const float* const source = x + sample + from.first(c, area_) + pixel * from.step;
          float* const target = y + sample + to.first(c, area_) + pixel * to.step;
          const int64_t count = std::min(kTilePixels, area_ - pixel);
          for (int64_t i = 0; i < count; ++i) target[i * to.step] = source[i * from.step];
        }
    });
  }

  int64_t samples_, channels_, area_;
  Walk from_, to_;
};

}  // namespace

std::unique_ptr<Op> make_reorder(const ReorderDesc&, const OpSite& site) {
  if (site.in[0].shape.axes() < 2) return nullptr;
  return std::make_unique<ReorderOp>(site);
}

}  // namespace pcc::cpu
