// Convolution and its transpose as implicit matrix products: the columns that im2col would write
// are looked up where they lie. Source: base_conv_layer.cpp, im2col.cpp.
#include "backends/cuda/conv_way.h"
#include "backends/cuda/divisor.cuh"
#include "backends/cuda/tensor_matmul.cuh"
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

class MatmulConv : public ConvWay {
 public:
  MatmulConv(const ConvDesc& desc, const ConvGeometry& geometry, ConvStep step, Precision precision)
      : transposed_(desc.transposed),
        step_(step),
        precision_(step == ConvStep::weights ? weight_precision(precision) : precision),
        g_(geometry) {}

  std::string name() const override { return precision_ == Precision::fp32 ? "plain" : "matmul"; }
  int64_t scratch_bytes() const override {
    int64_t bytes = 0;
    with_problem({}, [&](const auto& problem) { bytes = problem.shape().scratch_bytes(); });
    return bytes;
  }
  void run(const ConvTensors& t) const override {
    with_problem(
        t, [&](const auto& problem) { matmul(problem.shape(), problem, precision_, t.scratch); });
  }

 private:
  template <typename Use>
  void with_problem(const ConvTensors& t, const Use& use) const {
    if (step_ == ConvStep::weights) {
      const Gradient dw = {t.dw, t.adds};
      use(transposed_ ? ToWeights{g_, t.dy, t.x, dw} : ToWeights{g_, t.x, t.dy, dw});
      return;
    }
    const bool forward = step_ == ConvStep::forward;
    const float *const from = forward ? t.x : t.dy, *const bias = forward ? t.bias : nullptr;
    float* const to = forward ? t.y : t.dx;
    if (forward == transposed_)
      use(ToImage{g_, from, t.w, bias, to});
    else
      use(ToMap{g_, from, t.w, bias, to});
  }

  bool transposed_;
  ConvStep step_;
  Precision precision_;
  Geometry g_;
};

}  // namespace

std::unique_ptr<ConvWay> make_matmul_conv(const ConvDesc& desc, const OpSite& site, ConvStep step,
                                          Precision precision) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  const ConvGeometry geometry(desc, desc.transposed ? y : x, desc.transposed ? x : y);
  if (geometry.axes() > kMaxAxes || x.count() >= kMost || y.count() >= kMost) return nullptr;
  return std::make_unique<MatmulConv>(desc, geometry, step, precision);
}

}  // namespace pcc::cuda
