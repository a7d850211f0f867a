// Forward and data gradient on the tensor cores: positions of a box (rows of A) from all channels
// and taps (depth) for the maps (columns of B).
#include "backends/cuda/tensor_store.cuh"

namespace pcc::cuda {

namespace {

constexpr int kThreads = 128;     // of a block; a warp takes 32 positions and all of its maps
constexpr int kWordsOfStep = 8;   // of the depth, in one product of mma.cuh
constexpr int64_t kBlocks = 528;  // that run at once on a large GPU

int steps_of(int channels, int per_word) {
  return (channels + kWordsOfStep * per_word - 1) / (kWordsOfStep * per_word);
}
// Columns of 8 maps that a block makes at a time.
int tiles_for(int maps) { return maps <= 16 ? 2 : maps <= 32 ? 4 : 8; }
int blocks_of_maps(int maps) {
  const int together = 8 * tiles_for(maps);
  return (maps + together - 1) / together;
}

// Weights as the products take them, zeros behind the last map and channel: (block of maps, step,
// tap, pair of tiles, lane, 4 words). flipped: for the data gradient, whose maps are w's channels.
template <typename Number>
struct Fragments {
  int maps, channels, taps, tiles, steps;
  bool flipped;

  Fragments(const Direction& d, int side, bool flipped)
      : maps(d.maps),
        channels(d.channels),
        taps(side * side),
        tiles(tiles_for(d.maps)),
        steps(steps_of(d.channels, Number::kPerWord)),
        flipped(flipped) {}
  int64_t words() const {
    return int64_t{blocks_of_maps(maps)} * steps * taps * (tiles / 2) * kWarp * 4;
  }
  __device__ uint32_t word(const float* w, int64_t i) const {
    const int part = static_cast<int>(i % 4), lane = static_cast<int>(i / 4 % kWarp);
    const Quotient pair = divide(i / (4 * kWarp), tiles / 2), tap = divide(pair.whole, taps);
    const Quotient step = divide(tap.whole, steps);
    const int tile = static_cast<int>(step.whole) * tiles + static_cast<int>(pair.rest) * 2;
    const int map = (tile + part / 2) * 8 + lane / 4, t = static_cast<int>(tap.rest);
    const int in_depth = static_cast<int>(step.rest) * kWordsOfStep + lane % 4 + part % 2 * 4;
    float numbers[Number::kPerWord];
    PCC_UNROLL
    for (int k = 0; k < Number::kPerWord; ++k) {
      const int channel = in_depth * Number::kPerWord + k;
      numbers[k] = map >= maps || channel >= channels ? 0.0f
                   : flipped ? w[(channel * maps + map) * taps + taps - 1 - t]
                             : w[(map * channels + channel) * taps + t];
    }
    return Number::pack(numbers);
  }
};

// Those of the one direction, then those of the other.
template <typename Number>
struct Prepare {
  Fragments<Number> forward, data;
  int64_t forward_words;
  const float* w;
  uint32_t* to;
  __device__ void operator()(int64_t i) const {
    to[i] = i < forward_words ? forward.word(w, i) : data.word(w, i - forward_words);
  }
};

// A block goes over the boxes blockIdx.x, + gridDim.x ... of the group blockIdx.y, for the maps
// blockIdx.z, channels in chunks of 2^chunk_bits steps. While one patch is multiplied the next one
// is on its way.
template <typename Number, int kSide, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles == 8 ? 3 : 4)
    convolve(Boxes boxes, Image x, const uint4* weights, int steps, int chunk_bits, int buffer,
             const float* bias, Image y) {
  PCC_DYNAMIC_SHARED(uint32_t, room);
  using T = typename Number::Stored;
  constexpr int kTaps = kSide * kSide, kHigh = 2;
  constexpr int kGroups = kTiles * 2 / Number::kPerWord;  // of 16 bytes, of a position's maps
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int first_map = static_cast<int>(blockIdx.z) * kTiles * 8;
  const uint4* const fragments =
      weights + static_cast<int64_t>(blockIdx.z) * steps * kTaps * (kTiles / 2) * kWarp + lane;
  const int line = line_of(kWordsOfStep << chunk_bits);
  const int chunks = (steps + (1 << chunk_bits) - 1) >> chunk_bits;
  const int boxes_here =
      (boxes.of_group() - static_cast<int>(blockIdx.x) + static_cast<int>(gridDim.x) - 1) /
      static_cast<int>(gridDim.x);

  Copies copies;
  const auto box_of = [&](int number) {
    return Box(boxes, blockIdx.y, blockIdx.x + static_cast<uint32_t>(number) * gridDim.x);
  };
  const auto fetch = [&](int stage) {
    const Quotient at = divide(stage, chunks);
    box_of(static_cast<int>(at.whole))
        .template load<Number>(
            boxes, x, static_cast<int>(at.rest << chunk_bits) * kWordsOfStep * Number::kPerWord,
            chunk_bits + 1, line, room + (stage & 1) * buffer, copies);
  };

  int sees[kHigh];  // where this lane's row of A begins
  PCC_UNROLL
  for (int i = 0; i < kHigh; ++i)
    sees[i] = Box::in_patch(boxes, (warp * kHigh + i) * 16 + lane % 16) * line + lane / 16 * 4;
  float sum[kHigh][kTiles][4] = {};

  if (boxes_here > 0) fetch(0);
  copies.end_group();
  int chunk = 0, number = 0;
  for (int stage = 0; number < boxes_here; ++stage) {
    if (stage + 1 < boxes_here * chunks) fetch(stage + 1);
    copies.end_group();
    copies.template wait<1>();
    __syncthreads();
    uint32_t* const patch = room + (stage & 1) * buffer;
    const int first = chunk << chunk_bits, end = min(first + (1 << chunk_bits), steps);
    for (int step = first; step < end; ++step) {
      const uint4* const of_step = fragments + step * kTaps * (kTiles / 2) * kWarp;
      PCC_UNROLL_BY(3)
      for (int tap = 0; tap < kTaps; ++tap) {
        const int shift = tap_shift<kSide>(boxes, tap) * line + (step - first) * kWordsOfStep;
        uint32_t a[kHigh][4];
        PCC_UNROLL
        for (int i = 0; i < kHigh; ++i) {
          load_matrices(a[i], patch + sees[i] + shift);
          Number::round(a[i]);
        }
        PCC_UNROLL
        for (int pair = 0; pair < kTiles / 2; ++pair) {
          const uint4 words = of_step[(tap * (kTiles / 2) + pair) * kWarp];
          const uint32_t b[2][2] = {{words.x, words.y}, {words.z, words.w}};
          PCC_UNROLL
          for (int j = 0; j < 2; ++j) PCC_UNROLL
          for (int i = 0; i < kHigh; ++i) Number::multiply(a[i], b[j], sum[i][pair * 2 + j]);
        }
      }
    }
    __syncthreads();
    if (++chunk < chunks) continue;

    // The box is done. Through shared memory, where the patch was, to lines of maps.
    PCC_UNROLL
    for (int i = 0; i < kHigh; ++i) PCC_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      const int map = first_map + j * 8 + 2 * t;
      const float add[2] = {bias && map < y.channels ? bias[map] : 0.0f,
                            bias && map + 1 < y.channels ? bias[map + 1] : 0.0f};
      PCC_UNROLL
      for (int half = 0; half < 2; ++half) {
        float* const two = sum[i][j] + 2 * half;
        const float values[2] = {two[0] + add[0], two[1] + add[1]};
        uint32_t* const to =
            patch + ((warp * kHigh + i) * 16 + half * 8 + g) * line_of(kGroups * 4);
        if constexpr (Number::kPerWord == 2) {
          to[j * 4 + t] = Number::pack(values);
        } else {
          to[j * 8 + 2 * t] = __float_as_uint(values[0]);
          to[j * 8 + 2 * t + 1] = __float_as_uint(values[1]);
        }
        two[0] = two[1] = 0;
      }
    }
    __syncthreads();
    const Box box = box_of(number);
    if (y.vectors)
      store_vectors<T, kGroups, kThreads>(boxes, box, patch, first_map, y);
    else
      store_numbers<T, kGroups, kThreads>(boxes, box, patch, first_map, y);
    __syncthreads();
    chunk = 0;
    ++number;
  }
}

template <typename Number>
void convolve_for(const Boxes& boxes, int side, const Tensor& x, const void* weights,
                  const float* bias, const Tensor& y) {
  const Direction& d = boxes.d;
  const int tiles = tiles_for(d.maps), steps = steps_of(d.channels, Number::kPerWord);
  const DType type = Number::kPerWord == 2 ? DType::bf16 : DType::f32;
  // What is stored last lies where the patch was.
  const int tile = kPositions * line_of(tiles * 8 / Number::kPerWord);
  constexpr int kRoom = 96 << 8;  // words of shared memory
  const auto buffer_for = [&](int bits) {
    return std::max(tile, boxes.patch_elements() * line_of(kWordsOfStep << bits));
  };
  int chunk_bits = 0;
  while (chunk_bits < 2 && 1 << chunk_bits < steps && 2 * buffer_for(chunk_bits + 1) <= kRoom)
    ++chunk_bits;
  const int buffer = buffer_for(chunk_bits);
  const auto kernel = side == 1 ? (tiles == 8   ? convolve<Number, 1, 8>
                                   : tiles == 4 ? convolve<Number, 1, 4>
                                                : convolve<Number, 1, 2>)
                                : (tiles == 8   ? convolve<Number, 3, 8>
                                   : tiles == 4 ? convolve<Number, 3, 4>
                                                : convolve<Number, 3, 2>);
  const int64_t others = int64_t{d.groups} * blocks_of_maps(d.maps);
  const int64_t shares = std::clamp<int64_t>(kBlocks / others, 1, boxes.of_group());
  launch(kernel, {shares, d.groups, blocks_of_maps(d.maps)}, kThreads, int64_t{8} * buffer, boxes,
         Image(x.spec, x.data, type), static_cast<const uint4*>(weights), steps, chunk_bits, buffer,
         bias, Image(y.spec, y.data, type));
}

template <typename Body>
auto with_number(bool bf16, const Body& body) {
  return bf16 ? body(Bf16()) : body(Tf32());
}

}  // namespace

bool TensorConv::covers(const ConvDesc& desc, const OpSite& site, Precision precision) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto both = [](const std::vector<int64_t>& list, int64_t value) {
    return list.size() == 2 && list[0] == value && list[1] == value;
  };
  return precision != Precision::fp32 && !desc.transposed && desc.group == 1 &&
         (both(desc.kernel, 3) || both(desc.kernel, 1)) && both(desc.dilation, 1) &&
         (both(desc.stride, 1) || both(desc.stride, 2)) && both(desc.pad, desc.pad[0]) &&
         site.in[0].shape.count() < kMost && site.out[0].shape.count() < kMost;
}

TensorConv::TensorConv(const ConvDesc& desc, const OpSite& site, Precision precision)
    : bf16_(precision == Precision::bf16), side_(static_cast<int>(desc.kernel[0])) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  const auto size = [](const Shape& shape, int axis) { return static_cast<int>(shape[axis]); };
  const int stride = static_cast<int>(desc.stride[0]), pad = static_cast<int>(desc.pad[0]);
  forward_ = {.samples = size(x, 0),
              .channels = size(x, 1),
              .rows = size(x, 2),
              .columns = size(x, 3),
              .maps = size(y, 1),
              .out_rows = size(y, 2),
              .out_columns = size(y, 3),
              .stride = stride,
              .pad = pad,
              .groups = 1};
  data_ = {.samples = size(y, 0),
           .channels = size(y, 1),
           .rows = size(y, 2),
           .columns = size(y, 3),
           .maps = size(x, 1),
           .out_rows = size(x, 2),
           .out_columns = size(x, 3),
           .pad = side_ - 1 - pad,
           .spread_bits = stride - 1};
}

int64_t TensorConv::prepared_bytes(bool forward, bool data) const {
  return with_number(bf16_, [&](auto number) {
    using Number = decltype(number);
    return 4 * ((forward ? Fragments<Number>(forward_, side_, false).words() : 0) +
                (data ? Fragments<Number>(data_, side_, true).words() : 0));
  });
}

void TensorConv::prepare(const float* w, bool forward, bool data, void* prepared) const {
  with_number(bf16_, [&](auto number) {
    using Number = decltype(number);
    const Fragments<Number> of_forward(forward_, side_, false), of_data(data_, side_, true);
    const int64_t first = forward ? of_forward.words() : 0;
    for_each(first + (data ? of_data.words() : 0),
             Prepare<Number>{of_forward, of_data, first, w, static_cast<uint32_t*>(prepared)});
  });
}

void TensorConv::forward(const Tensor& x, const void* prepared, const float* bias,
                         const Tensor& y) const {
  with_number(bf16_, [&](auto number) {
    convolve_for<decltype(number)>(Boxes(forward_, side_), side_, x, prepared, bias, y);
  });
}

void TensorConv::data_gradient(const Tensor& dy, const void* prepared, const Tensor& dx) const {
  with_number(bf16_, [&](auto number) {
    using Number = decltype(number);
    const Boxes boxes(data_, side_);
    convolve_for<Number>(boxes, side_, dy, prepared, nullptr, dx);
  });
}

}  // namespace pcc::cuda
