// Weight gradients on the tensor cores: maps (rows of A) and channels (columns of B) for each tap,
// summed over all positions (depth).
#include "backends/cuda/fragments.cuh"
#include "backends/cuda/patch.cuh"
#include "backends/cuda/weight_sums.cuh"

namespace pcc::cuda {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kTile = 16;  // maps and channels of a warp

// How a block's warps share the work: each has a tile of 16 maps and 16 channels, and takes every
// splits-th step of a box's positions.
struct Tiles {
  int map_bits, channel_bits;  // 2^bits tiles in each direction
  int line, dy_line;           // words from one element to the next: of the patch, of dy
  int dy_words;                // of a box
  int buffer;                  // words of both
  bool ahead;                  // there is room for two buffers

  template <typename Number>
  Tiles(const Boxes& boxes, Number)
      : map_bits(boxes.d.maps > kTile), channel_bits(boxes.d.channels > kTile) {
    constexpr int kRoom = 96 << 8;  // words of shared memory
    fit<Number>(boxes);
    if (2 * buffer > kRoom) {  // pixels are skipped, and a patch is large
      channel_bits = 0;
      fit<Number>(boxes);
    }
    ahead = 2 * buffer <= kRoom;
  }
  __host__ __device__ int maps() const { return kTile << map_bits; }
  __host__ __device__ int channels() const { return kTile << channel_bits; }
  __host__ __device__ int splits() const { return kWarps >> (map_bits + channel_bits); }

 private:
  template <typename Number>
  void fit(const Boxes& boxes) {
    line = line_of(channels() / Number::kPerWord);
    dy_line = line_of(maps() / Number::kPerWord);
    dy_words = kPositions * dy_line;
    buffer = dy_words + boxes.patch_elements() * line;
  }
};

// A's words at a step's positions, from dy's lines of maps; `first`: the step's first position.
__device__ __forceinline__ void load_maps(Bf16, const uint32_t* dy, int line, int first, int lane,
                                          uint32_t (&a)[4]) {
  const int matrix = lane / 8;
  load_transposed(a, dy + (first + matrix / 2 * 8 + lane % 8) * line + matrix % 2 * 4);
}
__device__ __forceinline__ void load_maps(Tf32, const uint32_t* dy, int line, int first, int lane,
                                          uint32_t (&a)[4]) {
  const uint32_t* const at = dy + (first + lane % 4) * line + lane / 4;
  a[0] = at[0], a[1] = at[8], a[2] = at[4 * line], a[3] = at[4 * line + 8];
  Tf32::round(a);
}
// Of the patch's elements a lane sees, so many.
template <typename Number>
constexpr int kSeen = Number::kPerWord == 2 ? 1 : 2;
// Which positions of a step, by their number.
__device__ __forceinline__ int seen_position(Bf16, int lane, int) {
  return lane / 8 % 2 * 8 + lane % 8;
}
__device__ __forceinline__ int seen_position(Tf32, int lane, int i) { return lane % 4 + 4 * i; }
// B's words for two columns of 8 channels, at what a tap sees from the lane's positions.
__device__ __forceinline__ void load_channels(Bf16, const uint32_t* const (&seen)[1], int shift,
                                              int lane, uint32_t (&b)[4]) {
  load_transposed(b, seen[0] + shift + lane / 16 * 4);
}
__device__ __forceinline__ void load_channels(Tf32, const uint32_t* const (&seen)[2], int shift,
                                              int lane, uint32_t (&b)[4]) {
  const int g = lane / 4;
  b[0] = seen[0][shift + g], b[1] = seen[1][shift + g];
  b[2] = seen[0][shift + g + 8], b[3] = seen[1][shift + g + 8];
  Tf32::round(b);
}

// Writes sums[split][map][channel][tap], those of the boxes split, split + splits ..., and behind
// them, where biases are wanted, the sums of dy for each map; blockIdx: the split, the maps, the
// channels. While one box is multiplied the next one is on its way.
template <typename Number, int kSide>
__global__ void __launch_bounds__(kThreads, 2)
    sum_weights(Boxes boxes, Boxes of_dy, Tiles tiles, Image x, Prologue prologue, Image dy,
                float* sums, bool with_bias) {
  PCC_DYNAMIC_SHARED(uint32_t, room);
  constexpr int kTaps = kSide * kSide, kWide = kTile / 8, kDepth = 8 * Number::kPerWord;
  constexpr Number kNumber;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int map_tile = warp & ((1 << tiles.map_bits) - 1);
  const int channel_tile = warp >> tiles.map_bits & ((1 << tiles.channel_bits) - 1);
  const int turn = warp >> (tiles.map_bits + tiles.channel_bits), turns = tiles.splits();
  const int first_map = static_cast<int>(blockIdx.y) * tiles.maps();
  const int first_channel = static_cast<int>(blockIdx.z) * tiles.channels();
  constexpr int kWordsOfTile = kTile / Number::kPerWord, kGroupBits = Number::kPerWord == 2 ? 1 : 2;

  Copies copies;
  const auto count = static_cast<uint32_t>(boxes.of_group() * boxes.d.groups);
  const auto box_of = [&](const Quotient& group) { return Box(boxes, group.whole, group.rest); };
  const auto fetch = [&](uint32_t number, int buffer) {
    if (number < count) {
      const Box box = box_of(boxes.by_group(number));
      uint32_t* const to = room + buffer * tiles.buffer;
      box.load<Number>(of_dy, dy, first_map, kGroupBits + tiles.map_bits, tiles.dy_line, to,
                       copies);
      box.load<Number>(boxes, x, first_channel, kGroupBits + tiles.channel_bits, tiles.line,
                       to + tiles.dy_words, copies);
    }
    copies.end_group();
  };

  float sum[kTaps][kWide][4] = {}, of_maps[Number::kPerWord] = {};
  const int map_words = tiles.maps() / Number::kPerWord;
  const int thread = static_cast<int>(threadIdx.x);
  const bool sums_maps = with_bias && blockIdx.z == 0;
  int now = 0;
  const uint32_t ahead = tiles.ahead ? gridDim.x : 0;
  if (tiles.ahead) fetch(blockIdx.x, 0);
  for (uint32_t number = blockIdx.x; number < count; number += gridDim.x) {
    fetch(number + ahead, tiles.ahead ? now ^ 1 : 0);
    if (tiles.ahead)
      copies.template wait<1>();
    else
      copies.template wait<0>();
    if (prologue.scales) {
      const Quotient group = boxes.by_group(number);
      box_of(group).template normalise<Number>(boxes, x, prologue, group.whole, first_channel,
                                               kGroupBits + tiles.channel_bits, tiles.line,
                                               room + now * tiles.buffer + tiles.dy_words);
    }
    __syncthreads();
    const uint32_t* const maps = room + now * tiles.buffer + map_tile * kWordsOfTile;
    const uint32_t* const patch =
        room + now * tiles.buffer + tiles.dy_words + channel_tile * kWordsOfTile;
    for (int first = turn * kDepth; first < kPositions; first += turns * kDepth) {
      uint32_t a[4];
      load_maps(kNumber, maps, tiles.dy_line, first, lane, a);
      const uint32_t* seen[kSeen<Number>];
      PCC_UNROLL
      for (int i = 0; i < kSeen<Number>; ++i)
        seen[i] =
            patch + Box::in_patch(boxes, first + seen_position(kNumber, lane, i)) * tiles.line;
      PCC_UNROLL
      for (int tap = 0; tap < kTaps; ++tap) {
        uint32_t b[4];
        load_channels(kNumber, seen, tap_shift<kSide>(boxes, tap) * tiles.line, lane, b);
        PCC_UNROLL
        for (int j = 0; j < kWide; ++j) {
          const uint32_t two[2] = {b[2 * j], b[2 * j + 1]};
          Number::multiply(a, two, sum[tap][j]);
        }
      }
    }
    if (sums_maps)
      for (int p = thread / map_words; p < kPositions; p += kThreads / map_words) {
        float its[Number::kPerWord];
        Number::unpack(room[now * tiles.buffer + p * tiles.dy_line + thread % map_words], its);
        PCC_UNROLL
        for (int i = 0; i < Number::kPerWord; ++i) of_maps[i] += its[i];
      }
    __syncthreads();
    if (tiles.ahead) now ^= 1;
  }
  copies.template wait<0>();

  // The warps of a tile add theirs to those of the one before.
  auto* const total = reinterpret_cast<float*>(room);
  for (int now_turn = 0; now_turn < turns; ++now_turn) {
    if (now_turn == turn) {
      PCC_UNROLL
      for (int tap = 0; tap < kTaps; ++tap) PCC_UNROLL
      for (int j = 0; j < kWide; ++j) PCC_UNROLL
      for (int part = 0; part < 4; ++part) {
        const int map = map_tile * kTile + g + part / 2 * 8;
        const int channel = channel_tile * kTile + j * 8 + 2 * t + part % 2;
        float& to = total[(map * tiles.channels() + channel) * kTaps + tap];
        to = now_turn == 0 ? sum[tap][j][part] : to + sum[tap][j][part];
      }
    }
    __syncthreads();
  }
  const Direction& d = boxes.d;
  const int64_t weights = int64_t{d.maps} * d.channels * kTaps;
  float* const to = sums + blockIdx.x * (weights + (with_bias ? d.maps : 0));
  const int line = tiles.channels() * kTaps;
  for (int e = static_cast<int>(threadIdx.x); e < tiles.maps() * line; e += kThreads) {
    const Quotient at = divide(e, line);
    const int map = first_map + static_cast<int>(at.whole);
    const int channel = first_channel + static_cast<int>(at.rest) / kTaps;
    if (map < d.maps && channel < d.channels)
      to[(map * d.channels + channel) * kTaps + static_cast<int>(at.rest) % kTaps] = total[e];
  }
  if (!sums_maps) return;
  __syncthreads();
  PCC_UNROLL
  for (int i = 0; i < Number::kPerWord; ++i) total[thread * Number::kPerWord + i] = of_maps[i];
  __syncthreads();
  if (thread >= tiles.maps() || first_map + thread >= d.maps) return;
  double all = 0;
  for (int e = thread; e < kThreads * Number::kPerWord; e += tiles.maps())
    all += static_cast<double>(total[e]);
  to[weights + first_map + thread] = static_cast<float>(all);
}

__global__ void __launch_bounds__(kJoinThreads) join_weights(WeightSums sums) {
  __shared__ double room[kJoinThreads];
  join_sums(sums, blockIdx.x, gridDim.x, room);
}

// How the work is dealt out.
struct Plan {
  Boxes boxes, of_dy;
  Tiles tiles;
  int64_t maps, channels;  // blocks of them
  int64_t splits, weights;

  // dy is read where the boxes' positions lie.
  static Direction dy_of(const Direction& d) {
    return {.samples = d.samples,
            .channels = d.maps,
            .rows = d.out_rows,
            .columns = d.out_columns,
            .maps = d.maps,
            .out_rows = d.out_rows,
            .out_columns = d.out_columns};
  }
  template <typename Number>
  Plan(const Direction& d, int side, Number number)
      : boxes(d, side),
        of_dy(dy_of(d), 1),
        tiles(boxes, number),
        maps((d.maps + tiles.maps() - 1) / tiles.maps()),
        channels((d.channels + tiles.channels() - 1) / tiles.channels()),
        weights(int64_t{d.maps} * d.channels * side * side) {
    constexpr int64_t kBlocks = 264;
    splits = std::clamp<int64_t>(kBlocks / (maps * channels), 1, count());
  }
  int64_t count() const { return int64_t{boxes.of_group()} * boxes.d.groups; }
  int64_t scratch_bytes(bool with_bias) const {
    return splits * (weights + (with_bias ? boxes.d.maps : 0)) *
           static_cast<int64_t>(sizeof(float));
  }
};

template <typename Number>
WeightSums sum_for(const Direction& d, int side, const Tensor& x, const Prologue& prologue,
                   const Tensor& dy, bool with_bias, float* sums) {
  const DType type = Number::kPerWord == 2 ? DType::bf16 : DType::f32;
  const Plan plan(d, side, Number());
  const int64_t words =
      std::max<int64_t>({(plan.tiles.ahead ? 2 : 1) * int64_t{plan.tiles.buffer},
                         int64_t{plan.tiles.maps()} * plan.tiles.channels() * side * side,
                         int64_t{kThreads} * Number::kPerWord});
  const auto kernel =
      with_side(side, [](auto constant) { return sum_weights<Number, decltype(constant)::value>; });
  launch(kernel, {plan.splits, plan.maps, plan.channels}, kThreads, words * 4, plan.boxes,
         plan.of_dy, plan.tiles, Image(x, type), prologue, Image(dy, type), sums, with_bias);
  return {.sums = sums,
          .weights = plan.weights,
          .biases = with_bias ? d.maps : 0,
          .shares = static_cast<int>(plan.splits)};
}

}  // namespace

// The sums go over all groups of samples; a prologue has one of its own for each.
TensorConv::Direction TensorConv::weights_direction() const {
  Direction d = forward_;
  d.groups = std::max(prologue_groups_, 1);
  return d;
}

int64_t TensorConv::weight_scratch_bytes(bool with_bias) const {
  const Direction d = weights_direction();
  return std::max(Plan(d, side_, Bf16()).scratch_bytes(with_bias),
                  Plan(d, side_, Tf32()).scratch_bytes(with_bias));
}

WeightSums TensorConv::weight_sums(const Tensor& x, const ChannelScale* scales, const Tensor& dy,
                                   bool with_bias, void* scratch) const {
  const Direction d = weights_direction();
  const Prologue prologue = {scales, prologue_groups_};
  auto* const sums = static_cast<float*>(scratch);
  // Gradients that lie in float32 are not rounded to bf16 for a sum over all positions.
  return bf16_ && dy.spec.dtype == DType::bf16
             ? sum_for<Bf16>(d, side_, x, prologue, dy, with_bias, sums)
             : sum_for<Tf32>(d, side_, x, prologue, dy, with_bias, sums);
}

int64_t TensorConv::numbers_read(bool weights) const {
  const auto of = [](const Boxes& boxes, int64_t times) {
    return times * boxes.of_group() * boxes.d.groups * boxes.patch_elements() * boxes.d.channels;
  };
  if (!weights) return of(Boxes(forward_, side_), blocks_of_maps(forward_.maps));
  const Plan plan =
      bf16_ ? Plan(weights_direction(), side_, Bf16()) : Plan(weights_direction(), side_, Tf32());
  return of(plan.boxes, plan.maps);
}

void TensorConv::join(const WeightSums& sums) {
  launch(join_weights, joining_blocks(sums), kJoinThreads, 0, sums);
}

}  // namespace pcc::cuda
