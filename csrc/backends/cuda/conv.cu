// Convolution and its transpose as implicit matrix products: the columns that im2col would write
// are looked up where they lie. Source: base_conv_layer.cpp, im2col.cpp.
#include <optional>

#include "backends/cuda/divisor.cuh"
#include "backends/cuda/makers.h"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/tensor_conv.h"
#include "ops/columns.h"

namespace pcc::cuda {

namespace {

constexpr int kMaxAxes = 3;

// One spatial axis.
struct Axis {
  int size = 1, map_size = 1, stride = 1, pad = 0, dilation = 1;
  uint32_t image_step = 0, map_step = 0;  // elements from one place to the next
  Divisor by_size, by_map_size, by_kernel, by_stride;
};

// The convolution that takes an image (samples, channels, size..) to a map (samples, maps,
// map_size..). A batch of its matrix products is its groups. Elements are counted in 31 bits.
struct Geometry {
  Axis axes[kMaxAxes];  // the last ones are there; before them all sizes are 1
  int first_axis;
  uint32_t samples, channels, maps, group_channels, group_maps, area, map_area, taps, groups;
  Divisor by_area, by_map_area, by_taps;

  explicit Geometry(const ConvGeometry& g)
      : first_axis(kMaxAxes - g.axes()),
        samples(static_cast<uint32_t>(g.samples)),
        channels(static_cast<uint32_t>(g.channels)),
        maps(static_cast<uint32_t>(g.maps)),
        group_channels(static_cast<uint32_t>(g.group_channels())),
        group_maps(static_cast<uint32_t>(g.group_maps())),
        area(static_cast<uint32_t>(g.area)),
        map_area(static_cast<uint32_t>(g.map_area)),
        taps(static_cast<uint32_t>(g.taps)),
        groups(static_cast<uint32_t>(g.group)),
        by_area(g.area),
        by_map_area(g.map_area),
        by_taps(g.taps) {
    uint32_t image_step = 1, map_step = 1;
    for (int i = g.axes() - 1; i >= 0; --i) {
      const auto k = static_cast<size_t>(i);
      Axis& axis = axes[first_axis + i];
      axis.size = static_cast<int>(g.size[k]);
      axis.map_size = static_cast<int>(g.map_size[k]);
      axis.stride = static_cast<int>(g.stride[k]);
      axis.pad = static_cast<int>(g.pad[k]);
      axis.dilation = static_cast<int>(g.dilation[k]);
      axis.image_step = image_step;
      axis.map_step = map_step;
      axis.by_size = Divisor(g.size[k]);
      axis.by_map_size = Divisor(g.map_size[k]);
      axis.by_kernel = Divisor(g.kernel[k]);
      axis.by_stride = Divisor(g.stride[k]);
      image_step *= static_cast<uint32_t>(axis.size);
      map_step *= static_cast<uint32_t>(axis.map_size);
    }
  }

  // The place in the image that this position of the map sees under that tap; -1: in the padding.
  __device__ int image_place(uint32_t position, uint32_t tap) const {
    int place = 0;
    for (int i = kMaxAxes - 1; i >= 0; --i) {
      if (i < first_axis) break;
      const Axis& axis = axes[i];
      const Quotient at = axis.by_map_size(position), under = axis.by_kernel(tap);
      const int x = static_cast<int>(at.rest) * axis.stride - axis.pad +
                    static_cast<int>(under.rest) * axis.dilation;
      if (x < 0 || x >= axis.size) return -1;
      place += x * static_cast<int>(axis.image_step);
      position = at.whole;
      tap = under.whole;
    }
    return place;
  }
  // The position of the map that sees this place of the image under that tap; -1: none does.
  __device__ int map_position(uint32_t place, uint32_t tap) const {
    int position = 0;
    for (int i = kMaxAxes - 1; i >= 0; --i) {
      if (i < first_axis) break;
      const Axis& axis = axes[i];
      const Quotient at = axis.by_size(place), under = axis.by_kernel(tap);
      const int x =
          static_cast<int>(at.rest) + axis.pad - static_cast<int>(under.rest) * axis.dilation;
      if (x < 0) return -1;
      const Quotient from = axis.by_stride(static_cast<uint32_t>(x));
      if (from.rest != 0 || static_cast<int>(from.whole) >= axis.map_size) return -1;
      position += static_cast<int>(from.whole * axis.map_step);
      place = at.whole;
      tap = under.whole;
    }
    return position;
  }

  __device__ uint32_t image_at(uint32_t sample, uint32_t group, uint32_t channel) const {
    return ((sample * channels) + group * group_channels + channel) * area;
  }
  __device__ uint32_t map_at(uint32_t sample, uint32_t group, uint32_t map) const {
    return ((sample * maps) + group * group_maps + map) * map_area;
  }
  // w is (maps, channels of a group, taps).
  __device__ uint32_t weight_at(uint32_t group, uint32_t map, uint32_t channel) const {
    return ((group * group_maps + map) * group_channels + channel) * taps;
  }
};

// map = weights times what each position sees of the image [+ bias]. Rows: maps; columns: samples
// and positions; depth: channels and taps.
struct ToMap {
  static constexpr bool a_along_depth = true, b_along_depth = false;
  Geometry g;
  const float *image, *weights, *bias;
  float* map;

  MatmulShape shape() const {
    return {g.group_maps, int64_t{g.samples} * g.map_area, int64_t{g.group_channels} * g.taps,
            g.groups};
  }
  __device__ float a(uint32_t group, uint32_t row, uint32_t k) const {
    return weights[g.weight_at(group, row, 0) + k];
  }
  __device__ float b(uint32_t group, uint32_t k, uint32_t column) const {
    const Quotient of = g.by_taps(k), at = g.by_map_area(column);  // channel, tap; sample, position
    const int place = g.image_place(at.rest, of.rest);
    return place < 0 ? 0.0f : image[g.image_at(at.whole, group, of.whole) + place];
  }
  __device__ void store(uint32_t group, uint32_t row, uint32_t column, float sum) const {
    const Quotient at = g.by_map_area(column);
    map[g.map_at(at.whole, group, row) + at.rest] =
        bias ? sum + bias[group * g.group_maps + row] : sum;
  }
};

// image = the transpose of that, applied to the map [+ bias]. Rows: channels; columns: samples and
// places; depth: maps and taps.
struct ToImage {
  static constexpr bool a_along_depth = true, b_along_depth = false;
  Geometry g;
  const float *map, *weights, *bias;
  float* image;

  MatmulShape shape() const {
    return {g.group_channels, int64_t{g.samples} * g.area, int64_t{g.group_maps} * g.taps,
            g.groups};
  }
  __device__ float a(uint32_t group, uint32_t row, uint32_t k) const {
    const Quotient of = g.by_taps(k);  // map, tap
    return weights[g.weight_at(group, of.whole, row) + of.rest];
  }
  __device__ float b(uint32_t group, uint32_t k, uint32_t column) const {
    const Quotient of = g.by_taps(k), at = g.by_area(column);
    const int position = g.map_position(at.rest, of.rest);
    return position < 0 ? 0.0f : map[g.map_at(at.whole, group, of.whole) + position];
  }
  __device__ void store(uint32_t group, uint32_t row, uint32_t column, float sum) const {
    const Quotient at = g.by_area(column);
    image[g.image_at(at.whole, group, row) + at.rest] =
        bias ? sum + bias[group * g.group_channels + row] : sum;
  }
};

// dw = or += the map's gradient times what its positions see of the image. Rows: maps; columns:
// channels and taps; depth: samples and positions.
struct ToWeights {
  static constexpr bool a_along_depth = true, b_along_depth = true;
  Geometry g;
  const float *image, *map;
  Gradient weights;

  MatmulShape shape() const {
    return {g.group_maps, int64_t{g.group_channels} * g.taps, int64_t{g.samples} * g.map_area,
            g.groups};
  }
  __device__ float a(uint32_t group, uint32_t row, uint32_t k) const {
    const Quotient at = g.by_map_area(k);
    return map[g.map_at(at.whole, group, row) + at.rest];
  }
  __device__ float b(uint32_t group, uint32_t k, uint32_t column) const {
    const Quotient of = g.by_taps(column), at = g.by_map_area(k);
    const int place = g.image_place(at.rest, of.rest);
    return place < 0 ? 0.0f : image[g.image_at(at.whole, group, of.whole) + place];
  }
  __device__ void store(uint32_t group, uint32_t row, uint32_t column, float sum) const {
    weights.give(g.weight_at(group, row, 0) + column, static_cast<double>(sum));
  }
};

// Products of whole float32 numbers, or, where there is a TensorConv, of rounded ones.
class ConvOp : public CudaOp {
 public:
  ConvOp(const ConvDesc& desc, const ConvGeometry& geometry, const OpSite& site)
      : CudaOp(site), transposed_(desc.transposed), bias_(desc.bias), g_(geometry) {
    const Precision precision = site.device->precision();
    if (TensorConv::covers(desc, site, precision)) tensor_.emplace(desc, site, precision);
  }

  void prepare(const Context&) override {
    if (tensor_) tensor_->prepare(param(0), trains(), buffers_.prepared);
  }
  void forward(const Context&) override {
    const float* bias = bias_ ? param(1) : nullptr;
    if (tensor_)
      tensor_->forward(in(0), buffers_.prepared, bias, out());
    else if (transposed_)
      run(to_image(in(0), bias, out()), buffers_.scratch);
    else
      run(to_map(in(0), bias, out()), buffers_.scratch);
  }
  std::string implementation() const override { return tensor_ ? "cuda tensor" : "cuda"; }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (tensor_)
      needs.prepared_bytes = tensor_->prepared_bytes(trains());
    else
      needs.forward_scratch = transposed_ ? image_bytes() : map_bytes();
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {site_.want_dparam[0]};
    needs.overwrites_dparams = true;
    const int64_t gradients = std::count(site_.want_dparam.begin(), site_.want_dparam.end(), true) +
                              (site_.want_din[0] ? 1 : 0);
    needs.backward_again = (gradients - 1) * site_.out[0].bytes();  // each reads dy
    needs.backward_scratch = std::max(
        {transposed_ ? map_bytes() : image_bytes(), weight_bytes(), seen().scratch_bytes()});
  }
  void differentiate(const Context& context) override {
    const float* dy = dout();
    void* const scratch = buffers_.backward_scratch;
    if (bias_ && dparam(1))
      bias_gradient(seen(), dy, {dparam(1), !overwrites(context, 1)}, scratch);
    if (dparam(0)) weight_gradient(dy, {dparam(0), !overwrites(context, 0)}, scratch);
    if (!din(0)) return;
    if (tensor_ && tensor_->covers_data())
      tensor_->data_gradient(dy, buffers_.prepared, din(0));
    else if (transposed_)
      run(to_map(dy, nullptr, din(0)), scratch);
    else
      run(to_image(dy, nullptr, din(0)), scratch);
  }

 private:
  template <typename Problem>
  static void run(const Problem& problem, void* scratch) {
    matmul(problem.shape(), problem, scratch);
  }
  ToMap to_map(const float* image, const float* bias, float* map) const {
    return {g_, image, param(0), bias, map};
  }
  ToImage to_image(const float* map, const float* bias, float* image) const {
    return {g_, map, param(0), bias, image};
  }
  void weight_gradient(const float* dy, const Gradient& dw, void* scratch) const {
    if (tensor_)
      tensor_->weight_gradient(in(0), dy, dw, scratch);
    else if (transposed_)
      run(ToWeights{g_, dy, in(0), dw}, scratch);
    else
      run(ToWeights{g_, in(0), dy, dw}, scratch);
  }
  int64_t map_bytes() const {
    return ToMap{g_, nullptr, nullptr, nullptr, nullptr}.shape().scratch_bytes();
  }
  int64_t image_bytes() const {
    return ToImage{g_, nullptr, nullptr, nullptr, nullptr}.shape().scratch_bytes();
  }
  int64_t weight_bytes() const {
    return tensor_ ? tensor_->weight_scratch_bytes()
                   : ToWeights{g_, nullptr, nullptr, {}}.shape().scratch_bytes();
  }
  Channels seen() const { return {out_shape()[0], out_shape()[1], out_shape().count(2)}; }

  bool transposed_, bias_;
  Geometry g_;
  std::optional<TensorConv> tensor_;
};

}  // namespace

std::unique_ptr<Op> make_conv(const ConvDesc& desc, const OpSite& site) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  const ConvGeometry geometry(desc, desc.transposed ? y : x, desc.transposed ? x : y);
  if (geometry.axes() > kMaxAxes || x.count() >= kMost || y.count() >= kMost) return nullptr;
  return std::make_unique<ConvOp>(desc, geometry, site);
}

}  // namespace pcc::cuda
