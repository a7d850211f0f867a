// Threads of the host, each with streams of its own: the simulated device's runtime by itself, so
// that it can be built alone under the thread sanitizer.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>

#include "backends/cuda/kernel.h"
#include "backends/cuda/last_block.cuh"
#include "cuda_arrays.h"
#include "testing.h"

namespace pcc::cuda {
namespace {

constexpr unsigned kBlocks = 3, kThreads = 64;

// y[t] = the sum over all blocks of x, by the block that comes last.
__global__ void sum_over_blocks(const float* x, float* y, float* between, uint32_t* counter) {
  __shared__ float tile[kThreads];
  tile[threadIdx.x] = x[first_element()];
  __syncthreads();
  between[first_element()] = tile[kThreads - 1 - threadIdx.x];
  if (!is_last_of(kBlocks, counter)) return;
  float sum = 0;
  for (unsigned block = 0; block < kBlocks; ++block) sum += between[block * kThreads + threadIdx.x];
  y[threadIdx.x] = sum;
}

void wait(Stream& stream, Stream& other) {
  Event event;
  event.record(other);
  event.wait(stream);
}

// What one thread does: launches on a stream, on another that waits for it, and recorded ones.
bool work(int device, int turns) {
  const std::vector<float> x = counted(kBlocks * kThreads);
  std::vector<float> expected;
  for (unsigned t = 0; t < kThreads; ++t) {
    const size_t at = kThreads - 1 - t;
    expected.push_back(x[at] + x[at + kThreads] + x[at + 2 * kThreads]);
  }
  bool same = true;
  Stream stream(device), side(device);
  for (int turn = 0; turn < turns; ++turn) {
    Array from(stream, x), to(stream, std::vector<float>(kThreads, -1));
    Array between(stream, x), counter(stream, {0});
    const auto sum = [&] {
      launch(sum_over_blocks, kBlocks, kThreads, 0, from.data, to.data, between.data,
             reinterpret_cast<uint32_t*>(counter.data));
    };
    {
      const CurrentStream current(stream);
      sum();
    }
    same = same && to.values() == expected;
    wait(side, stream);
    {
      const CurrentStream current(side);
      sum();
    }
    wait(stream, side);
    same = same && to.values() == expected;
    stream.begin_capture();
    {
      const CurrentStream current(stream);
      sum();
    }
    const std::shared_ptr<const Recording> recording = stream.end_capture();
    stream.fill(to.data, 0, to.bytes());
    for (int again = 0; again < 2; ++again) stream.replay(recording);
    same = same && to.values() == expected;
  }
  return same;
}

TEST(threads_of_the_host_work_side_by_side) {
  for (const host::Streams streams : {host::Streams::now, host::Streams::late}) {
    const With with(host::Order::shuffled, streams);
    std::vector<int> good(4, 0);
    std::vector<std::thread> threads;
    for (size_t k = 0; k < good.size(); ++k)
      threads.emplace_back([&, k] { good[k] = work(static_cast<int>(k % 2), 10); });
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(good, std::vector<int>(4, 1));
  }
}

#ifdef __SANITIZE_THREAD__
// Two of them run at once, and nothing but the time says which writes first.
std::atomic<int> begun = 0, turn = 0;
__global__ void write(float* y, int when) {
  begun.fetch_add(1, std::memory_order_relaxed);
  while (begun.load(std::memory_order_relaxed) < 2 || turn.load(std::memory_order_relaxed) != when)
    std::this_thread::yield();
  y[0] += 1;
  turn.store(when + 1, std::memory_order_relaxed);
}

// Two threads, whose streams nobody made wait for each other, write to one array.
void race() {
  Stream owner(0);
  Array shared(owner, {0});
  owner.sync();
  std::vector<std::thread> threads;
  for (int k = 0; k < 2; ++k)
    threads.emplace_back([&, k] {
      Stream stream(0);
      const CurrentStream current(stream);
      launch(write, 1, 1, 0, shared.data, k);
      stream.sync();
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(a_race_of_two_threads_is_seen) {
  const int child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    race();
    std::exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 66);  // what the sanitizer ends with
}
#endif

}  // namespace
}  // namespace pcc::cuda
