// ReLU, Sigmoid, PReLU and dropout.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

template <typename P>
struct Relu {
  Packs<P> x;
  float slope;
  Packs<P> y;
  __device__ void operator()(int64_t i) const {
    P numbers = x(i);
    PCC_UNROLL
    for (float& number : numbers.x) number = leaky(number, slope);
    y.put(numbers, i);
  }
};
// sign: x, or y where its sign is that of x.
template <typename P>
struct ReluBackward {
  Packs<P> sign;
  PackParts<P> dy;
  float slope;
  Packs<P> dx;
  __device__ void operator()(int64_t i) const {
    P g = dy(i);
    const P numbers = sign(i);
    PCC_UNROLL
    for (int n = 0; n < P::kCount; ++n) g.x[n] = numbers.x[n] > 0 ? g.x[n] : slope * g.x[n];
    dx.put(g, i);
  }
};

// In place where the slope is not negative: then the sign of y tells that of x, and x need not be
// kept.
class ReluOp : public CudaOp {
 public:
  ReluOp(const PointwiseDesc& desc, const OpSite& site)
      : CudaOp(site), slope_(static_cast<float>(desc.a)), from_y_(desc.a >= 0) {}

  void forward(const Context&) override {
    in_packs([&](auto pack) {
      using P = decltype(pack);
      for_each(out_count() / P::kCount,
               Relu<P>{Packs<P>(buffers_.in[0]), slope_, Packs<P>(buffers_.out[0])});
    });
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (from_y_ || !trains()) needs.in_place = 0;
    if (site_.in[0].layout == Layout::nhwc) needs.channel_unit = pack_of_channels(site_.in[0]);
  }
  void backward_needs(OpNeeds& needs) const override {
    (from_y_ ? needs.out : needs.in) = {true};
    needs.diff_in_place = 0;
    Parts::taken(needs);
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    in_packs([&](auto pack) {
      using P = decltype(pack);
      for_each(out_count() / P::kCount,
               ReluBackward<P>{Packs<P>(from_y_ ? buffers_.out[0] : buffers_.in[0]),
                               PackParts<P>(buffers_.dout[0]), slope_, Packs<P>(buffers_.din[0])});
    });
  }

 private:
  // Each within one pixel, where something lies between these.
  template <typename Body>
  void in_packs(const Body& body) const {
    const auto apart = [](const Tensor& tensor) { return tensor.pitch > 0; };
    const bool any = apart(buffers_.in[0]) || apart(buffers_.out[0]) || apart(buffers_.din[0]) ||
                     std::any_of(buffers_.dout[0].begin(), buffers_.dout[0].end(), apart);
    with_packs(site_.in[0].dtype, any ? site_.in[0].shape[1] : out_count(), body);
  }
  float slope_;
  bool from_y_;
};

template <typename P>
struct Sigmoid {
  const void* x;
  void* y;
  __device__ void operator()(int64_t i) const {
    P numbers = pack_of<P>(x, i);
    PCC_UNROLL
    for (float& number : numbers.x) number = 1.0f / (1.0f + expf(-number));
    put_pack(y, i, numbers);
  }
};
template <typename P>
struct SigmoidBackward {
  const void *y, *dy;
  void* dx;
  __device__ void operator()(int64_t i) const {
    P g = pack_of<P>(dy, i);
    const P numbers = pack_of<P>(y, i);
    PCC_UNROLL
    for (int n = 0; n < P::kCount; ++n) g.x[n] = g.x[n] * numbers.x[n] * (1 - numbers.x[n]);
    put_pack(dx, i, g);
  }
};

class SigmoidOp : public CudaOp {
 public:
  using CudaOp::CudaOp;

  void forward(const Context&) override {
    with_packs(site_.in[0].dtype, out_count(), [&](auto pack) {
      using P = decltype(pack);
      for_each(out_count() / P::kCount, Sigmoid<P>{in(0), out()});
    });
  }

 protected:
  void forward_needs(OpNeeds& needs) const override { needs.in_place = 0; }
  void backward_needs(OpNeeds& needs) const override {
    needs.out = {true};
    needs.diff_in_place = 0;
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    with_packs(site_.in[0].dtype, out_count(), [&](auto pack) {
      using P = decltype(pack);
      for_each(out_count() / P::kCount, SigmoidBackward<P>{out(), dout(), din(0)});
    });
  }
};

struct Prelu {
  const float *x, *slope;
  float* y;
  __device__ void operator()(int64_t, int64_t c, int64_t first, int64_t end, int64_t step) const {
    const float slope_of_row = slope[c];
    for (int64_t i = first; i < end; i += step) y[i] = leaky(x[i], slope_of_row);
  }
};
// Writes dx where it is wanted, and gives what the element adds to its slope's gradient.
struct PreluBackward {
  const float *x, *slope;
  Parts dy;
  float* dx;
  __device__ Sums operator()(int64_t c, int64_t i) const {
    const bool passes = x[i] > 0;
    const float g = dy(i), product = passes ? 0.0f : g * x[i];
    if (dx) dx[i] = passes ? g : slope[c] * g;
    return {static_cast<double>(product), 0};
  }
};

class PreluOp : public CudaOp {
 public:
  explicit PreluOp(const OpSite& site) : CudaOp(site) {
    const Shape& x = site.in[0].shape;
    seen_.dim = site.params[0].shape.count();
    seen_.outer = seen_.dim == 1 ? 1 : x[0];
    seen_.inner = x.count() / seen_.dim / seen_.outer;
  }

  void forward(const Context&) override { for_each_row(seen_, Prelu{in(0), param(0), out()}); }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (!trains()) needs.in_place = 0;
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {true};
    needs.diff_in_place = 0;
    needs.overwrites_dparams = true;
    Parts::taken(needs);
    needs.backward_scratch = seen_.scratch_bytes();
  }
  void differentiate(const Context& context) override {
    const ChannelSums sums =
        sum_channels(seen_, PreluBackward{in(0), param(0), Parts(buffers_.dout[0]), din(0)},
                     buffers_.backward_scratch);
    if (dparam(0)) for_each(seen_.dim, GiveSum{sums, {dparam(0), !overwrites(context, 0)}});
  }

 private:
  Channels seen_;
};

// One thread draws the four numbers of a block and takes its four elements. mask: null, or what
// backward will go by.
__global__ void __launch_bounds__(kBlock)
    drop(const StepBlock* step, uint32_t of_site, uint32_t threshold, int64_t count, const float* x,
         float scale, uint8_t* mask, float* y) {
  const RandomStream stream = step->random(of_site, count);
  const int64_t blocks = (count + 3) / 4;
  for (int64_t block = first_element(); block < blocks; block += element_stride()) {
    const auto bits = stream.block(static_cast<uint64_t>(block));
    for (int k = 0; k < 4; ++k) {
      const int64_t i = 4 * block + k;
      if (i >= count) break;
      const bool kept = bits[static_cast<size_t>(k)] > threshold;
      y[i] = kept ? x[i] * scale : 0.0f;
      if (mask) mask[i] = kept;
    }
  }
}

// The same where channels are last, x seen as (samples, area, channels): each element by the number
// of its place among planes, and the mask as it lies.
template <typename T>
__global__ void __launch_bounds__(kBlock)
    drop_lines(const StepBlock* step, uint32_t of_site, uint32_t threshold, int64_t count,
               int64_t area, int64_t channels, const T* x, Gaps of_x, float scale, uint8_t* mask,
               T* y, Gaps of_y) {
  const RandomStream stream = step->random(of_site, count);
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const Quotient pixel = divide(i, channels), sample = divide(pixel.whole, area);
    const int64_t place = (sample.whole * channels + pixel.rest) * area + sample.rest;
    const bool kept = stream.bits(static_cast<uint64_t>(place)) > threshold;
    const float from = number(x[of_x(i, pixel.whole)]);
    y[of_y(i, pixel.whole)] = stored<T>(kept ? from * scale : 0.0f);
    if (mask) mask[i] = kept;
  }
}

template <typename T>
struct DropBackward {
  const T* dy;
  Gaps of_dy;
  const uint8_t* mask;
  float scale;
  T* dx;
  Gaps of_dx;
  __device__ void operator()(int64_t i) const {
    dx[of_dx(i)] = stored<T>(mask[i] ? number(dy[of_dy(i)]) * scale : 0.0f);
  }
};

// The mask, one byte for each element, is kept for backward.
template <typename T>
class DropoutOp : public CudaOpOf<T> {
 public:
  DropoutOp(const DropoutDesc& desc, const OpSite& site)
      : CudaOpOf<T>(site),
        threshold_(desc.threshold()),
        scale_(static_cast<float>(1.0 / (1.0 - desc.ratio))) {}

  void forward(const Context& context) override {
    const int64_t count = this->out_count();
    const Shape& x = this->in_shape(0);
    uint8_t* const kept = this->trains() ? mask() : nullptr;
    if (this->site_.in[0].layout == Layout::nhwc)
      launch(drop_lines<T>, grid_for(count), kBlock, 0, context.step, this->site_.stream,
             threshold_, count, x.count(2), x[1], this->in(0), Gaps(this->buffers_.in[0], 1),
             scale_, kept, this->out(), Gaps(this->buffers_.out[0], 1));
    else if constexpr (std::is_same_v<T, float>)
      launch(drop, grid_for(count), kBlock, 0, context.step, this->site_.stream, threshold_, count,
             this->in(0), scale_, kept, this->out());
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.in_place = 0;
    needs.channel_unit = 1;
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.stash_bytes = this->out_count();
    needs.diff_in_place = 0;
  }
  void differentiate(const Context&) override {
    if (this->din(0))
      for_each(this->out_count(),
               DropBackward<T>{this->dout(), Gaps(this->buffers_.dout[0][0], 1), mask(), scale_,
                               this->din(0), Gaps(this->buffers_.din[0], 1)});
  }

 private:
  uint8_t* mask() const { return static_cast<uint8_t*>(this->buffers_.stash); }
  uint32_t threshold_;
  float scale_;
};

}  // namespace

std::unique_ptr<Op> make_pointwise(const PointwiseDesc& desc, const OpSite& site) {
  switch (desc.function) {
    case PointwiseDesc::Function::relu:
      return std::make_unique<ReluOp>(desc, site);
    case PointwiseDesc::Function::sigmoid:
      return std::make_unique<SigmoidOp>(site);
    case PointwiseDesc::Function::prelu:
      if (site.in[0].layout == Layout::nhwc) return make_prelu_lines(site);
      return std::make_unique<PreluOp>(site);
    default:
      return make_activation(desc, site);
  }
}

std::unique_ptr<Op> make_dropout(const DropoutDesc& desc, const OpSite& site) {
  if (site.in[0].dtype == DType::bf16) return std::make_unique<DropoutOp<BFloat16>>(desc, site);
  return std::make_unique<DropoutOp<float>>(desc, site);
}

}  // namespace pcc::cuda
