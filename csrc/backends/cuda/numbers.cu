// Numbers of rows: which are wrong, and sums of what comes to one row, without atomics.
#include "backends/cuda/numbers.h"

#include <limits>

#include "backends/cuda/lines.cuh"
#include "ops/classes.h"

namespace pcc::cuda {

namespace {

constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

struct Least {
  __device__ int64_t operator()(int64_t x, int64_t y) const { return x < y ? x : y; }
};

// One block.
__global__ void __launch_bounds__(kBlock)
    first_wrong(Labels<float> meaning, const float* numbers, int64_t count, int64_t apart,
                int64_t end, uint32_t site, const StepBlock* step, StepReport* report) {
  PCC_DYNAMIC_SHARED(int64_t, room);
  int64_t wrong = kNone;
  for (int64_t i = threadIdx.x; i < count && wrong == kNone; i += kBlock)
    if (meaning.is_wrong(numbers[i * apart])) wrong = i;
  wrong = block_fold(wrong, Least{}, room);
  if (threadIdx.x == 0 && wrong != kNone)
    report->bad_label(*step, site, wrong, static_cast<double>(numbers[wrong * apart]), end);
}

// A warp for each number looks at those behind it.
struct Link {
  const float* numbers;
  Chains chains;
  __device__ void operator()(int64_t m) const {
    const auto number = static_cast<int64_t>(numbers[m]);
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    int32_t next = -1;
    for (int64_t first = m + 1; first < chains.count && next < 0; first += kWarp) {
      const int64_t at = first + lane;
      const bool same = at < chains.count && static_cast<int64_t>(numbers[at]) == number;
      const unsigned found = __ballot_sync(kFullMask, same);
      if (found) next = static_cast<int32_t>(first) + __ffs(static_cast<int>(found)) - 1;
    }
    if (lane != 0) return;
    chains.next[m] = next;
    if (next >= 0) chains.before[next] = 1;  // nobody else has that one
  }
};

// One thread for each element of a number's parts; the first of the number takes all.
struct AddToRows {
  const float* numbers;
  Chains chains;
  Labels<float> meaning;
  int64_t width;
  const float* parts;
  bool adds;
  float* rows;
  __device__ void operator()(int64_t i) const {
    const auto [m, j] = divide(i, width);
    if (chains.before[m] || meaning.skips(numbers[m])) return;
    float sum = 0;
    for (int32_t at = static_cast<int32_t>(m); at >= 0; at = chains.next[at])
      sum += parts[at * width + j];
    float& to = rows[static_cast<int64_t>(numbers[m]) * width + j];
    to = adds ? to + sum : sum;
  }
};

}  // namespace

void check_numbers(const Context& context, uint32_t site, const float* numbers, int64_t count,
                   int64_t end, int64_t step) {
  launch(first_wrong, 1, kBlock, kBlock * static_cast<int64_t>(sizeof(int64_t)),
         Labels<float>(false, 0, end), numbers, count, step, end, site, context.step,
         context.report);
}

Chains link_numbers(const float* numbers, int64_t count, void* memory) {
  const Chains chains(count, memory);
  if (!rehearsed())
    current_stream().fill(chains.before, 0, count * static_cast<int64_t>(sizeof(int32_t)));
  for_each_warp(count, Link{numbers, chains});
  return chains;
}

void add_to_rows(const float* numbers, const Chains& chains, int64_t end, int64_t width,
                 const float* parts, bool adds, float* rows) {
  for_each(chains.count * width,
           AddToRows{numbers, chains, Labels<float>(false, 0, end), width, parts, adds, rows});
}

}  // namespace pcc::cuda
