// Kernels that miss a step which a GPU would forgive now and then, beside the same kernels mended:
// the three orders in which the simulated device runs threads and blocks tell them apart, by bits
// that differ or by the NaNs that shared memory begins as.
#include <algorithm>
#include <cmath>
#include <functional>

#include "backends/cuda/kernel.h"
#include "backends/cuda/last_block.cuh"
#include "cuda_arrays.h"
#include "testing.h"

namespace pcc::cuda {
namespace {

constexpr int kBlocks = 3, kThreads = 64, kCount = kBlocks * kThreads;

// What each order of the threads makes of kCount numbers and as many zeros. A NaN becomes -1, which
// no right result is, so that it equals itself.
using Run = std::function<void(const float* x, float* y)>;
std::vector<std::vector<float>> in_all_orders(const Run& run) {
  std::vector<std::vector<float>> results;
  for (const host::Order order : kOrders) {
    const With with(order);
    Stream stream(0);
    const CurrentStream current(stream);
    const Array x(stream, counted(kCount)), y(stream, std::vector<float>(kCount, 0));
    run(x.data, y.data);
    results.push_back(y.values());
    for (float& value : results.back())
      if (std::isnan(value)) value = -1;
  }
  return results;
}

bool has_nan(const std::vector<float>& values) {
  return std::find(values.begin(), values.end(), -1.0f) != values.end();
}

// The kernel with what it needs gives `expected` in every order; without, it is found out.
void check(const Run& mended, const Run& racing, const std::vector<float>& expected) {
  for (const std::vector<float>& got : in_all_orders(mended)) CHECK_EQ(got, expected);
  const auto wrong = in_all_orders(racing);
  CHECK(std::any_of(wrong.begin(), wrong.end(), has_nan) ||
        !std::all_of(wrong.begin(), wrong.end(),
                     [&](const std::vector<float>& got) { return got == wrong[0]; }));
}

std::vector<float> expect(const std::function<float(const std::vector<float>& x, int i)>& of) {
  const std::vector<float> x = counted(kCount);
  std::vector<float> all;
  for (int i = 0; i < kCount; ++i) all.push_back(of(x, i));
  return all;
}

// y = what another thread of the block has read.
template <bool barrier>
__global__ void through_shared_memory(const float* x, float* y) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = x[first_element()];
  if (barrier) __syncthreads();
  y[first_element()] = tile[threadIdx.x ^ 33];
}

TEST(a_barrier_is_missing_before_shared_memory_is_read) {
  check([](const float* x,
           float* y) { launch(through_shared_memory<true>, kBlocks, kThreads, 0, x, y); },
        [](const float* x, float* y) {
          launch(through_shared_memory<false>, kBlocks, kThreads, 0, x, y);
        },
        expect([](const std::vector<float>& x, int i) { return x[static_cast<size_t>(i ^ 33)]; }));
}

// y[i] = the sum over all of the grid's threads' turns: a tile is filled again and again.
template <bool barrier>
__global__ void turns(const float* x, float* y) {
  __shared__ float tile[kThreads];
  float sum = 0;
  for (int turn = 0; turn < kBlocks; ++turn) {
    tile[threadIdx.x] = x[turn * kThreads + static_cast<int>(threadIdx.x)];
    __syncthreads();
    sum += tile[kThreads - 1 - threadIdx.x];
    if (barrier) __syncthreads();
  }
  y[first_element()] = sum;
}

TEST(a_barrier_is_missing_before_shared_memory_is_written_again) {
  check([](const float* x, float* y) { launch(turns<true>, kBlocks, kThreads, 0, x, y); },
        [](const float* x, float* y) { launch(turns<false>, kBlocks, kThreads, 0, x, y); },
        expect([](const std::vector<float>& x, int i) {
          float sum = 0;
          for (int turn = 0; turn < kBlocks; ++turn)
            sum += x[static_cast<size_t>(turn * kThreads + kThreads - 1 - i % kThreads)];
          return sum;
        }));
}

// y = what the lane beside has read.
template <bool sync>
__global__ void within_a_warp(const float* x, float* y) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = x[first_element()];
  if (sync) __syncwarp();
  y[first_element()] = tile[threadIdx.x ^ 1];
}

TEST(lanes_of_a_warp_do_not_wait_for_each_other) {
  check([](const float* x, float* y) { launch(within_a_warp<true>, kBlocks, kThreads, 0, x, y); },
        [](const float* x, float* y) { launch(within_a_warp<false>, kBlocks, kThreads, 0, x, y); },
        expect([](const std::vector<float>& x, int i) { return x[static_cast<size_t>(i ^ 1)]; }));
}

// y = x + the y of the block before, in one launch; mended, in a launch for each block.
__global__ void on_top_of_a_neighbour(const float* x, float* y, unsigned first) {
  const unsigned block = blockIdx.x + first, i = block * kThreads + threadIdx.x;
  y[i] = x[i] + (block > 0 ? y[i - kThreads] : 0.0f);
}

TEST(a_block_reads_what_its_neighbour_writes) {
  check(
      [](const float* x, float* y) {
        for (unsigned block = 0; block < kBlocks; ++block)
          launch(on_top_of_a_neighbour, 1, kThreads, 0, x, y, block);
      },
      [](const float* x, float* y) {
        launch(on_top_of_a_neighbour, kBlocks, kThreads, 0, x, y, 0u);
      },
      expect([](const std::vector<float>& x, int i) {
        float sum = 0;
        for (; i >= 0; i -= kThreads) sum += x[static_cast<size_t>(i)];
        return sum;
      }));
}

// The last of the blocks to come, or block 0 whenever that comes, adds up what all wrote.
template <bool waits>
__global__ void sum_by_one_block(const float* x, float* y, uint32_t* counter) {
  y[first_element()] = x[first_element()];
  if (waits ? !is_last_of(gridDim.x, counter) : blockIdx.x != 0) return;
  float sum = 0;
  for (unsigned block = 0; block < gridDim.x; ++block) sum += y[block * kThreads + threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = sum;
}

template <bool waits>
void sum_by_one(const float* x, float* y) {
  const Array counter(current_stream(), {0});
  launch(sum_by_one_block<waits>, kBlocks, kThreads, 0, x, y,
         reinterpret_cast<uint32_t*>(counter.data));
}

TEST(a_block_does_not_wait_for_all_others) {
  check(sum_by_one<true>, sum_by_one<false>, expect([](const std::vector<float>& x, int i) {
          const auto at = static_cast<size_t>(i);
          return i < kThreads ? x[at] + x[at + kThreads] + x[at + 2 * kThreads] : x[at];
        }));
}

// y[0] = how many: each thread counts itself.
template <bool atomic>
__global__ void count(const float*, float* y) {
  auto* const counter = reinterpret_cast<unsigned*>(y);
  if (atomic) {
    atomicInc(counter, kCount);
    return;
  }
  const unsigned before = *counter;
  __syncwarp();  // where another may come between
  *counter = before + 1;
}

TEST(threads_count_without_an_atomic) {
  for (const host::Order order : kOrders) {
    const With with(order);
    Stream stream(0);
    const CurrentStream current(stream);
    const auto counted_by = [&](auto kernel) {
      const Array y(stream, {0});
      launch(kernel, kBlocks, kThreads, 0, static_cast<const float*>(nullptr), y.data);
      unsigned all = 0;
      stream.download(&all, y.data, sizeof(all));
      return all;
    };
    CHECK_EQ(counted_by(count<true>), unsigned{kCount});
    CHECK(counted_by(count<false>) < unsigned{kCount});
  }
}

}  // namespace
}  // namespace pcc::cuda
