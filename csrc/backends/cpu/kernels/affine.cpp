// Scale and Bias layers that were not fused with a BatchNorm: the fused kernel's loops with a mean
// of 0.
#include "backends/cpu/kernels/kernel_op.h"
#include "backends/cpu/kernels/norm_geometry.h"

namespace pcc::cpu {

namespace {

// Whether x's own axes are those that the descriptor sees, so that blocked layouts have a meaning.
bool is_by_channel(const AffineDesc& desc, const OpSite& site) {
  const Shape& x = site.in[0].shape;
  return site.in.size() == 1 && x.axes() == 4 && desc.outer == x[0] && desc.dim == x[1];
}

TensorSpec seen(const AffineDesc& desc, const OpSite& site) {
  if (site.in[0].layout != Layout::plain) return site.in[0];
  return {Shape{desc.outer, desc.dim, desc.inner}, DType::f32, Layout::plain};
}

class AffineOp : public KernelOp {
 public:
  AffineOp(const AffineDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        geometry_(seen(desc, site)),
        splits_(std::min<int64_t>(pcc::threads(), geometry_.items())) {
    size_t input = 1, parameter = 0;
    if (desc.scale) scale_ = desc.scale_from_input ? input++ : parameter++;
    if (desc.bias) bias_ = desc.bias_from_input ? input++ : parameter++;
    if (!trains_) {
      needs_.in_place = 0;
      return;
    }
    if (desc.scale) {
      needs_.in = all_ins();
      if (desc.bias_from_input) needs_.in.back() = false;
    }
    needs_.overwrites_dparams = true;
    needs_.backward_scratch = (splits_ + 1) * desc.dim * static_cast<int64_t>(sizeof(Moments));
    needs_.diff_in_place = 0;
    needs_.sums_parts = true;
    needs_.max_parts = kMaxParts;
  }

  void forward(const Context&) override {
    const int64_t size = desc_.dim * geometry_.numbers_per_item();
    parallel(geometry_.items(), std::max<int64_t>(1, kElementGrain / size),
             [this](int64_t begin, int64_t end, int) {
               geometry_.for_tiles(begin, end, [this](int64_t first, int64_t last, int64_t piece) {
                 const NormLanes lanes = lanes_of(piece, bias());
                 geometry_.for_views(
                     first, last, piece, [&](const NormView& view, int64_t at, int64_t) {
                       loops_.norm.forward(view, lanes, in(0) + at, nullptr, out() + at, nullptr);
                     });
               });
             });
  }

 protected:
  // Without a wish for the input's gradient the loops write none; the sums are cheap beside reading
  // dy.
  void differentiate(const Context& context) override {
    Moments* const partial = static_cast<Moments*>(buffers_.backward_scratch);
    Moments* const total = partial + splits_ * desc_.dim;
    std::fill_n(partial, (splits_ + 1) * desc_.dim, Moments{});
    parallel(splits_, 1, [=, this](int64_t begin, int64_t end, int) {
      for (int64_t split = begin; split < end; ++split)
        geometry_.for_tiles(geometry_.items() * split / splits_,
                            geometry_.items() * (split + 1) / splits_,
                            [=, this](int64_t first, int64_t last, int64_t piece) {
                              differentiate(first, last, piece, partial + split * desc_.dim);
                            });
    });
    for (int64_t split = 0; split < splits_; ++split)
      for (int64_t d = 0; d < desc_.dim; ++d) {
        total[d].a += partial[split * desc_.dim + d].a;
        total[d].b += partial[split * desc_.dim + d].b;
      }
    const auto give_all = [&, this](bool is_input, size_t place, double Moments::* sum) {
      if (!(is_input ? din(place) : dparam(place))) return;
      for (int64_t d = 0; d < desc_.dim; ++d)
        if (is_input)
          din(place)[d] = static_cast<float>(total[d].*sum);
        else
          give(context, place, d, total[d].*sum);
    };
    if (desc_.scale) give_all(desc_.scale_from_input, scale_, &Moments::b);
    if (desc_.bias) give_all(desc_.bias_from_input, bias_, &Moments::a);
  }

 private:
  const float* scale() const {
    return !desc_.scale ? nullptr : desc_.scale_from_input ? in(scale_) : param(scale_);
  }
  const float* bias() const {
    return !desc_.bias ? nullptr : desc_.bias_from_input ? in(bias_) : param(bias_);
  }
  NormLanes lanes_of(int64_t piece, const float* shift) const {
    NormLanes lanes{};
    geometry_.to_lanes(scale(), piece, 1, lanes.gain);
    geometry_.to_lanes(shift, piece, 0, lanes.shift);
    return lanes;
  }

  void differentiate(int64_t first, int64_t last, int64_t piece, Moments* to) {
    const NormLanes lanes = lanes_of(piece, nullptr);
    const float zero[16] = {};
    double sums[16] = {}, products[16] = {};
    geometry_.for_views(first, last, piece, [&](const NormView& view, int64_t at, int64_t) {
      const float* dy[kMaxParts];
      const int parts = dout_parts(0, at, dy);
      float* const dx = din(0) ? din(0) + at : nullptr;
      // A bias alone does not keep x, and needs no product with it.
      const float* const x = desc_.scale ? in(0) + at : dy[0];
      float* const summed = dx && parts > 1 ? dx : nullptr;
      loops_.norm.backward_sums(view, lanes, Passed::all, x, nullptr, dy, parts, summed, sums,
                                products);
      if (!dx) return;
      const float* const g = summed ? summed : dy[0];
      loops_.norm.backward_data(view, lanes, Passed::all, desc_.scale ? x : g, nullptr, g,
                                lanes.gain, zero, zero, dx);
    });
    geometry_.from_lanes(sums, products, piece, to);
  }

  AffineDesc desc_;
  NormGeometry geometry_;
  int64_t splits_;
  size_t scale_ = 0, bias_ = 0;  // places among the inputs or the parameters
};

}  // namespace

std::unique_ptr<Op> make_affine(const AffineDesc& desc, const OpSite& site) {
  if (site.in[0].layout != site.out[0].layout) return nullptr;
  if (site.in[0].layout != Layout::plain && !is_by_channel(desc, site)) return nullptr;
  return std::make_unique<AffineOp>(desc, site);
}

LayoutChoice vote_affine(const AffineDesc& desc, const OpSite& site) {
  return is_by_channel(desc, site) ? vote_follow(site) : vote_plain(site);
}

}  // namespace pcc::cpu
