// Scale and Bias layers that were not fused with a BatchNorm. x is seen as (outer, dim, inner).
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

// scale, bias: null where there is none.
struct Affine {
  const float *x, *scale, *bias;
  float* y;
  __device__ void operator()(int64_t, int64_t c, int64_t first, int64_t end, int64_t step) const {
    const float factor = scale ? scale[c] : 1, offset = bias ? bias[c] : 0;
    for (int64_t i = first; i < end; i += step) y[i] = x[i] * factor + offset;
  }
};

// Writes dx where it is wanted, and gives what the element adds to the gradients of its bias and,
// x not being null, of its scale.
struct AffineBackward {
  const float *x, *scale;
  Parts dy;
  float* dx;
  __device__ Sums operator()(int64_t d, int64_t i) const {
    const float g = dy(i), product = x ? g * x[i] : 0.0f;
    if (dx) dx[i] = scale ? g * scale[d] : g;
    return {static_cast<double>(g), static_cast<double>(product)};
  }
};

struct GiveSums {
  ChannelSums sums;
  Gradient bias, scale;
  __device__ void operator()(int64_t d) const {
    const Sums both = sums(d);
    bias.give(d, both.a);
    scale.give(d, both.b);
  }
};

class AffineOp : public CudaOp {
 public:
  AffineOp(const AffineDesc& desc, const OpSite& site)
      : CudaOp(site), desc_(desc), seen_{desc.outer, desc.dim, desc.inner} {
    int input = 1, parameter = 0;
    if (desc.scale) scale_ = desc.scale_from_input ? input++ : parameter++;
    if (desc.bias) bias_ = desc.bias_from_input ? input++ : parameter++;
  }

  void forward(const Context&) override {
    for_each_row(seen_, Affine{in(0), scale(), bias(), out()});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (!trains()) needs.in_place = 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    if (desc_.scale) {
      needs.in = all_ins();
      if (desc_.bias_from_input) needs.in.back() = false;
    }
    needs.backward_scratch = seen_.scratch_bytes();
    needs.diff_in_place = 0;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
  }
  void differentiate(const Context& context) override {
    const ChannelSums sums = sum_channels(
        seen_,
        AffineBackward{desc_.scale ? in(0) : nullptr, scale(), Parts(buffers_.dout[0]), din(0)},
        buffers_.backward_scratch);
    for_each(seen_.dim, GiveSums{sums, gradient(context, desc_.bias, desc_.bias_from_input, bias_),
                                 gradient(context, desc_.scale, desc_.scale_from_input, scale_)});
  }

 private:
  const float* scale() const {
    return !desc_.scale ? nullptr : desc_.scale_from_input ? in(scale_) : param(scale_);
  }
  const float* bias() const {
    return !desc_.bias ? nullptr : desc_.bias_from_input ? in(bias_) : param(bias_);
  }
  Gradient gradient(const Context& context, bool there, bool from_input, int at) const {
    if (!there) return {nullptr, false};
    if (from_input) return {din(at), false};
    return {dparam(at), !overwrites(context, static_cast<size_t>(at))};
  }

  AffineDesc desc_;
  Channels seen_;
  int scale_ = 0, bias_ = 0;  // places among the inputs or the parameters
};

}  // namespace

std::unique_ptr<Op> make_affine(const AffineDesc& desc, const OpSite& site) {
  return std::make_unique<AffineOp>(desc, site);
}

}  // namespace pcc::cuda
