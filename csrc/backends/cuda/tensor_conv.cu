// Forward and data gradient on the tensor cores: maps (rows of A) from all channels and taps
// (depth) at the positions of a box (columns of B).
#include "backends/cuda/patch.cuh"

namespace pcc::cuda {

namespace {

constexpr int kWordsOfStep = 8;  // of the depth, in one product of mma.cuh

int steps_of(int channels, int per_word) {
  return (channels + kWordsOfStep * per_word - 1) / (kWordsOfStep * per_word);
}
int tiles_of(int maps) { return (maps + 15) / 16; }

// Weights as the products take them: (tile of 16 maps, step, tap, lane, 4 words), zeros behind the
// last map and channel. flipped: for the data gradient, whose maps are w's channels.
template <typename Number>
struct Prepare {
  const float* w;
  int maps, channels, taps, steps;  // of the products
  bool flipped;
  uint32_t* to;
  __device__ void operator()(int64_t i) const {
    const int part = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % 32);
    const Quotient line = divide(i / 128, taps), tile = divide(line.whole, steps);
    const int tap = static_cast<int>(line.rest);
    const int map = static_cast<int>(tile.whole) * 16 + lane / 4 + part % 2 * 8;
    const int word = static_cast<int>(tile.rest) * kWordsOfStep + lane % 4 + part / 2 * 4;
    float numbers[Number::kPerWord];
    for (int k = 0; k < Number::kPerWord; ++k) {
      const int channel = word * Number::kPerWord + k;
      numbers[k] = map >= maps || channel >= channels ? 0.0f
                   : flipped ? w[(channel * maps + map) * taps + taps - 1 - tap]
                             : w[(map * channels + channel) * taps + tap];
    }
    to[i] = Number::pack(numbers);
  }
};

// One block for a box and 16 * kTiles maps, channels in chunks of some steps. A warp takes 32
// positions and all of the maps.
template <typename Number, int kSide, int kTiles>
__global__ void __launch_bounds__(kBoxThreads, kTiles == 4 ? 2 : 4)
    convolve(Boxes boxes, int steps, int chunk, const float* x, const uint32_t* weights,
             const float* bias, float* y) {
  PCC_DYNAMIC_SHARED(uint32_t, patch);
  constexpr int kTaps = kSide * kSide, kWide = 4;
  const Box box(boxes, blockIdx.x);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int first_tile = static_cast<int>(blockIdx.y) * kTiles;
  const auto* const fragments = reinterpret_cast<const uint4*>(weights) + lane;

  int sees[kWide];  // from the plane of channel t on
  PCC_UNROLL
  for (int j = 0; j < kWide; ++j)
    sees[j] =
        t * boxes.plane + Box::in_patch(boxes, Box::position(boxes, (warp * kWide + j) * 8 + g));
  float sum[kTiles][kWide][4] = {};
  for (int first = 0; first < steps; first += chunk) {
    const int end = min(first + chunk, steps);
    box.load<Number>(boxes, x, first * kWordsOfStep * Number::kPerWord,
                     (end - first) * kWordsOfStep, patch);
    __syncthreads();
    for (int step = first; step < end; ++step) {
      const uint32_t* const planes = patch + (step - first) * kWordsOfStep * boxes.plane;
      for (int tap = 0; tap < kTaps; ++tap) {
        const int shift = tap_shift<kSide>(boxes, tap);
        uint32_t a[kTiles][4];
        PCC_UNROLL
        for (int i = 0; i < kTiles; ++i) {
          const uint4 words = fragments[(((first_tile + i) * steps + step) * kTaps + tap) * kWarp];
          a[i][0] = words.x, a[i][1] = words.y, a[i][2] = words.z, a[i][3] = words.w;
        }
        PCC_UNROLL
        for (int j = 0; j < kWide; ++j) {
          const uint32_t b[2] = {planes[sees[j] + shift],
                                 planes[sees[j] + shift + 4 * boxes.plane]};
          PCC_UNROLL
          for (int i = 0; i < kTiles; ++i) Number::multiply(a[i], b, sum[i][j]);
        }
      }
    }
    __syncthreads();
  }

  const Direction& d = boxes.d;
  const int area = d.out_rows * d.out_columns;
  PCC_UNROLL
  for (int j = 0; j < kWide; ++j) {
    const Place at = box.plus(Box::position(boxes, (warp * kWide + j) * 8 + 2 * t));
    if (at.sample >= d.samples || at.row >= d.out_rows) continue;
    PCC_UNROLL
    for (int i = 0; i < kTiles; ++i) PCC_UNROLL
    for (int part = 0; part < 4; ++part) {
      const int map = (first_tile + i) * 16 + g + part / 2 * 8, column = at.column + part % 2;
      if (map >= d.maps || column >= d.out_columns) continue;
      y[(at.sample * d.maps + map) * area + at.row * d.out_columns + column] =
          bias ? sum[i][j][part] + bias[map] : sum[i][j][part];
    }
  }
}

template <typename Number>
int64_t fragments_bytes(const Direction& d, int taps) {
  return int64_t{tiles_of(d.maps)} * steps_of(d.channels, Number::kPerWord) * taps * kWarp * 16;
}

template <typename Number>
void prepare_for(const Direction& d, int taps, bool flipped, const float* w, void* to) {
  const Prepare<Number> prepare = {w,
                                   d.maps,
                                   d.channels,
                                   taps,
                                   steps_of(d.channels, Number::kPerWord),
                                   flipped,
                                   static_cast<uint32_t*>(to)};
  for_each(fragments_bytes<Number>(d, taps) / 4, prepare);
}

template <typename Number>
void convolve_for(const Direction& d, int side, const float* x, const void* weights,
                  const float* bias, float* y) {
  const Boxes boxes(d, side, 8);
  const int steps = steps_of(d.channels, Number::kPerWord), tiles = tiles_of(d.maps);
  constexpr int64_t kRoom = 32 << 10;  // of shared memory, so that several blocks share a processor
  const int64_t step_bytes = int64_t{kWordsOfStep} * boxes.plane * 4;
  const int chunk =
      static_cast<int>(std::clamp<int64_t>(kRoom / step_bytes, 1, std::min(steps, 4)));
  const int high = tiles % 4 == 0 ? 4 : tiles % 2 == 0 ? 2 : 1;
  const auto kernel = side == 1 ? (high == 4   ? convolve<Number, 1, 4>
                                   : high == 2 ? convolve<Number, 1, 2>
                                               : convolve<Number, 1, 1>)
                                : (high == 4   ? convolve<Number, 3, 4>
                                   : high == 2 ? convolve<Number, 3, 2>
                                               : convolve<Number, 3, 1>);
  launch(kernel, {boxes.count(), tiles / high}, kBoxThreads, chunk * step_bytes, boxes, steps,
         chunk, x, static_cast<const uint32_t*>(weights), bias, y);
}

}  // namespace

bool TensorConv::covers(const ConvDesc& desc, const OpSite& site, Precision precision,
                        ConvStep step) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto both = [](const std::vector<int64_t>& list, int64_t value) {
    return list.size() == 2 && list[0] == value && list[1] == value;
  };
  return precision != Precision::fp32 && !desc.transposed && desc.group == 1 &&
         (both(desc.kernel, 3) || both(desc.kernel, 1)) && both(desc.dilation, 1) &&
         (both(desc.stride, 1) || (both(desc.stride, 2) && step != ConvStep::data)) &&
         both(desc.pad, desc.pad[0]) && site.in[0].shape.count() < kMost &&
         site.out[0].shape.count() < kMost;
}

TensorConv::TensorConv(const ConvDesc& desc, const OpSite& site, Precision precision)
    : precision_(precision), side_(static_cast<int>(desc.kernel[0])) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  const auto size = [](const Shape& shape, int axis) { return static_cast<int>(shape[axis]); };
  forward_ = {size(x, 0),
              size(x, 1),
              size(x, 2),
              size(x, 3),
              size(y, 1),
              size(y, 2),
              size(y, 3),
              static_cast<int>(desc.stride[0]),
              static_cast<int>(desc.pad[0])};
  data_ = {size(y, 0), size(y, 1), size(y, 2),
           size(y, 3), size(x, 1), size(x, 2),
           size(x, 3), 1,          side_ - 1 - forward_.pad};
}

int64_t TensorConv::prepared_bytes(ConvStep step) const {
  if (step == ConvStep::weights) return 0;
  const Direction& d = step == ConvStep::forward ? forward_ : data_;
  return precision_ == Precision::bf16 ? fragments_bytes<Bf16>(d, side_ * side_)
                                       : fragments_bytes<Tf32>(d, side_ * side_);
}

void TensorConv::prepare(ConvStep step, const float* w, void* prepared) const {
  if (step == ConvStep::weights) return;
  const bool flipped = step == ConvStep::data;
  const Direction& d = flipped ? data_ : forward_;
  if (precision_ == Precision::bf16)
    prepare_for<Bf16>(d, side_ * side_, flipped, w, prepared);
  else
    prepare_for<Tf32>(d, side_ * side_, flipped, w, prepared);
}

void TensorConv::forward(const float* x, const void* prepared, const float* bias, float* y) const {
  if (precision_ == Precision::bf16)
    convolve_for<Bf16>(forward_, side_, x, prepared, bias, y);
  else
    convolve_for<Tf32>(forward_, side_, x, prepared, bias, y);
}

void TensorConv::data_gradient(const float* dy, const void* prepared, float* dx) const {
  if (precision_ == Precision::bf16)
    convolve_for<Bf16>(data_, side_, dy, prepared, nullptr, dx);
  else
    convolve_for<Tf32>(data_, side_, dy, prepared, nullptr, dx);
}

}  // namespace pcc::cuda
