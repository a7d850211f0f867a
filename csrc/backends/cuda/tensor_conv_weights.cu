// Weight gradients on the tensor cores: maps (rows of A) and channels (columns of B) for each tap,
// summed over all positions (depth).
#include "backends/cuda/patch.cuh"

namespace pcc::cuda {

namespace {

constexpr int kMaps = 16, kChannels = 16;  // of a block
constexpr int kWarps = kBoxThreads / kWarp;
constexpr int kSteps = kPositions / 8;  // of the depth, in a box

// The output's gradient at the positions of a box, one line for each map, so that the lanes of a
// warp find theirs in different banks.
constexpr int kLine = kPositions + 4;

__device__ void load_maps(const Boxes& boxes, const Box& box, const float* dy, int first_map,
                          uint32_t* lines) {
  const Direction& d = boxes.d;
  for (int e = static_cast<int>(threadIdx.x); e < kMaps * kPositions; e += kBoxThreads) {
    const int i = e % kPositions, map = first_map + e / kPositions;
    const Place at = box.plus(Box::position(boxes, i));
    const bool inside =
        map < d.maps && at.sample < d.samples && at.row < d.out_rows && at.column < d.out_columns;
    const float number[1] = {
        inside ? dy[((at.sample * d.maps + map) * d.out_rows + at.row) * d.out_columns + at.column]
               : 0.0f};
    lines[e / kPositions * kLine + i] = Tf32::pack(number);
  }
}

// Writes sums[split][map][channel][tap], those of the boxes split, split + splits ...; blockIdx:
// the split, 16 maps, 16 channels. The warps share a box's positions.
template <int kSide>
__global__ void __launch_bounds__(kBoxThreads, 4)
    sum_weights(Boxes boxes, uint32_t count, const float* x, const float* dy, float* sums) {
  PCC_DYNAMIC_SHARED(uint32_t, room);
  constexpr int kTaps = kSide * kSide, kWide = kChannels / 8;
  uint32_t* const lines = room;
  uint32_t* const patch = room + kMaps * kLine;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
  const int first_map = static_cast<int>(blockIdx.y) * kMaps;
  const int first_channel = static_cast<int>(blockIdx.z) * kChannels;

  float sum[kTaps][kWide][4] = {};
  for (uint32_t number = blockIdx.x; number < count; number += gridDim.x) {
    const Box box(boxes, number);
    load_maps(boxes, box, dy, first_map, lines);
    box.load<Tf32>(boxes, x, first_channel, kChannels, patch);
    __syncthreads();
    for (int step = warp; step < kSteps; step += kWarps) {
      const uint32_t* const line = lines + g * kLine + step * 8 + t;
      const uint32_t a[4] = {line[0], line[8 * kLine], line[4], line[8 * kLine + 4]};
      const uint32_t* const plane =
          patch + g * boxes.plane + Box::in_patch(boxes, Box::position(boxes, step * 8 + t));
      for (int tap = 0; tap < kTaps; ++tap)
        for (int j = 0; j < kWide; ++j) {
          const uint32_t* const seen = plane + j * 8 * boxes.plane + tap_shift<kSide>(boxes, tap);
          const uint32_t b[2] = {seen[0], seen[4 * boxes.step]};
          Tf32::multiply(a, b, sum[tap][j]);
        }
    }
    __syncthreads();
  }

  // The warps add theirs to those of the one before.
  auto* const total = reinterpret_cast<float*>(room);
  for (int turn = 0; turn < kWarps; ++turn) {
    if (turn == warp)
      for (int tap = 0; tap < kTaps; ++tap)
        for (int j = 0; j < kWide; ++j)
          for (int part = 0; part < 4; ++part) {
            const int map = g + part / 2 * 8, channel = j * 8 + 2 * t + part % 2;
            float& to = total[(map * kChannels + channel) * kTaps + tap];
            to = turn == 0 ? sum[tap][j][part] : to + sum[tap][j][part];
          }
    __syncthreads();
  }
  const Direction& d = boxes.d;
  float* const to = sums + static_cast<int64_t>(blockIdx.x) * d.maps * d.channels * kTaps;
  for (int e = static_cast<int>(threadIdx.x); e < kMaps * kChannels * kTaps; e += kBoxThreads) {
    const int tap = e % kTaps, channel = first_channel + e / kTaps % kChannels;
    const int map = first_map + e / (kTaps * kChannels);
    if (map < d.maps && channel < d.channels)
      to[(map * d.channels + channel) * kTaps + tap] = total[e];
  }
}

// Adds the splits up, 32 weights a block, each by 8 threads that take every eighth split.
constexpr int kShares = kBlock / kWarp;
__global__ void __launch_bounds__(kBlock)
    join_weights(int64_t count, int splits, const float* sums, Gradient dw) {
  __shared__ double shares[kShares][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int share = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  double sum = 0;
  if (i < count)
    for (int split = share; split < splits; split += kShares)
      sum += static_cast<double>(sums[split * count + i]);
  shares[share][lane] = sum;
  __syncthreads();
  if (share != 0 || i >= count) return;
  for (int other = 1; other < kShares; ++other) sum += shares[other][lane];
  dw.give(i, sum);
}

// How the work is dealt out.
struct Plan {
  Boxes boxes;
  int64_t maps, channels;  // tiles of them
  int64_t splits, weights;

  Plan(const Direction& d, int side)
      : boxes(d, side, 4),
        maps((d.maps + kMaps - 1) / kMaps),
        channels((d.channels + kChannels - 1) / kChannels),
        weights(int64_t{d.maps} * d.channels * side * side) {
    constexpr int64_t kBlocks = 512;
    splits = std::clamp<int64_t>(kBlocks / (maps * channels), 1, boxes.count());
  }
  int64_t scratch_bytes() const { return splits * weights * static_cast<int64_t>(sizeof(float)); }
};

}  // namespace

int64_t TensorConv::weight_scratch_bytes() const { return Plan(forward_, side_).scratch_bytes(); }

void TensorConv::weight_gradient(const float* x, const float* dy, const Gradient& dw,
                                 void* scratch) const {
  const Plan plan(forward_, side_);
  auto* const sums = static_cast<float*>(scratch);
  const int64_t patch = int64_t{kChannels} * plan.boxes.plane;
  const int64_t words = std::max(kMaps * kLine + patch, int64_t{kMaps} * kChannels * side_ * side_);
  launch(side_ == 1 ? sum_weights<1> : sum_weights<3>, {plan.splits, plan.maps, plan.channels},
         kBoxThreads, words * 4, plan.boxes, static_cast<uint32_t>(plan.boxes.count()), x, dy,
         sums);
  launch(join_weights, (plan.weights + kWarp - 1) / kWarp, kBlock, 0, plan.weights,
         static_cast<int>(plan.splits), sums, dw);
}

}  // namespace pcc::cuda
