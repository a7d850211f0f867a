// The CUDA backend's runtime on the host: it must notice what a device would get wrong now and
// then.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <thread>
#include <vector>

#include "backends/cuda/device.h"
#include "backends/cuda/kernel.h"
#include "cuda_arrays.h"
#include "ops/op.h"
#include "testing.h"

namespace pcc::cuda {
namespace {

using host::Order;
using host::Streams;

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// y[block] = sum of the block's part of x, by a tree in shared memory.
__global__ void sum_blocks(const float* x, float* y) {
  __shared__ float tile[64];
  const unsigned t = threadIdx.x;
  tile[t] = x[first_element()];
  for (unsigned half = 32; half > 0; half /= 2) {
    __syncthreads();
    const float other = t < half ? tile[t + half] : 0.0f;
    if (t < half) tile[t] += other;
  }
  if (t == 0) y[blockIdx.x] = tile[0];
}

std::vector<float> sums(Order order) {
  const With with(order);
  Stream stream(0);
  const CurrentStream current(stream);
  Array x(stream, counted(192)), y(stream, {-1, -1, -1});
  launch(sum_blocks, 3, 64, 0, static_cast<const float*>(x.data), y.data);
  std::vector<float> all = y.values();
  for (float& value : all)
    if (isnan(value)) value = -2;  // so that it equals itself
  return all;
}

TEST(orders_of_threads_make_no_difference) {
  float first = 0;
  for (int i = 0; i < 64; ++i) first += static_cast<float>(i % 17);
  for (const Order order : kOrders) CHECK_EQ(sums(order)[0], first);
}

__global__ void everything_about_me(int* of) {
  const int64_t block = blockIdx.x + gridDim.x * (blockIdx.y + int64_t{gridDim.y} * blockIdx.z);
  const int64_t thread =
      threadIdx.x + blockDim.x * (threadIdx.y + int64_t{blockDim.y} * threadIdx.z);
  const int64_t i = block * blockDim.x * blockDim.y * blockDim.z + thread;
  of[i] += static_cast<int>(i) + 1;
}

TEST(every_thread_runs_once) {
  for (const Order order : kOrders) {
    const With with(order);
    Stream stream(0);
    const CurrentStream current(stream);
    constexpr int64_t kCount = 2 * 3 * 4 * 5 * 2 * 3;
    Array all(stream, std::vector<float>(kCount, 0));
    launch(everything_about_me, {2, 3, 4}, {5, 2, 3}, 0, reinterpret_cast<int*>(all.data));
    std::vector<int> seen(kCount);
    stream.download(seen.data(), all.data, all.bytes());
    for (int i = 0; i < kCount; ++i) CHECK_EQ(seen[static_cast<size_t>(i)], i + 1);
  }
}

__global__ void collectives(float* of) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const auto mine = static_cast<float>(lane);
  bool good = __shfl_sync(kFullMask, mine, 5) == 5;
  good = good && __shfl_sync(kFullMask, mine, 3, 8) == static_cast<float>(lane / 8 * 8 + 3);
  good = good && __shfl_xor_sync(kFullMask, mine, 4) == static_cast<float>(lane ^ 4);
  good = good && __shfl_down_sync(kFullMask, mine, 2) ==
                     static_cast<float>(lane + 2 < kWarp ? lane + 2 : lane);
  good = good && __shfl_up_sync(kFullMask, mine, 1) == static_cast<float>(lane > 0 ? lane - 1 : 0);
  good = good && __ballot_sync(kFullMask, lane % 2) == 0xaaaaaaaau;
  good = good && __any_sync(kFullMask, lane == 7) && !__all_sync(kFullMask, lane == 7);
  good = good && __reduce_add_sync(kFullMask, lane) == 496;
  good = good && __reduce_max_sync(kFullMask, static_cast<unsigned>(lane)) == 31;
  // Half a warp by itself.
  if (lane < 16) good = good && __reduce_add_sync(0xffffu, lane) == 120;
  __syncwarp();
  of[threadIdx.x] = good ? 1.0f : 0.0f;
}

TEST(lanes_of_a_warp_meet) {
  for (const Order order : kOrders) {
    const With with(order);
    Stream stream(0);
    const CurrentStream current(stream);
    Array all(stream, std::vector<float>(96, -1));
    launch(collectives, 1, 96, 0, all.data);
    CHECK_EQ(all.values(), std::vector<float>(96, 1));
  }
}

__global__ void some_return_early(int* x) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  x[threadIdx.x] = 1;
}
__global__ void different_barriers(int* x) {
  if (threadIdx.x < 3)
    __syncthreads();
  else
    __syncthreads();
  x[threadIdx.x] = 1;
}
__global__ void a_lane_is_gone(int* x) {
  if (threadIdx.x == 3) return;
  x[threadIdx.x] = __shfl_sync(kFullMask, 1, 0);
}
__global__ void not_in_the_mask(int* x) { x[threadIdx.x] = __shfl_sync(0xfffffff0u, 1, 8); }
__global__ void behind_shared_memory(int* x) {
  PCC_DYNAMIC_SHARED(int, room);
  room[threadIdx.x] = 1;
  x[threadIdx.x] = room[threadIdx.x];
}

TEST(threads_that_cannot_meet_are_an_error) {
  for (const Order order : kOrders) {
    const With with(order);
    Stream stream(0);
    const CurrentStream current(stream);
    Array room(stream, std::vector<float>(64, 0));
    int* const x = reinterpret_cast<int*>(room.data);
    const auto run = [&](void (*kernel)(int*)) { launch(kernel, 1, 32, 31 * 4, x); };
    CHECK_THROWS_WITH("test_cuda_runtime.cpp", run(some_return_early));
    CHECK_THROWS_WITH("thread 3 has returned", run(some_return_early));
    CHECK_THROWS_WITH("different barriers", run(different_barriers));
    CHECK_THROWS_WITH("thread 3 has returned", run(a_lane_is_gone));
    CHECK_THROWS_WITH("is not in the mask", run(not_in_the_mask));
    CHECK_THROWS_WITH("wrote behind the 124 bytes", run(behind_shared_memory));
    launch(behind_shared_memory, 1, 31, 31 * 4, x);  // and the next one works again
    launch(collectives, 1, 64, 0, room.data);
    CHECK_EQ(room.values(), std::vector<float>(64, 1));
  }
}

__global__ void what_nobody_wrote(float* x) {
  __shared__ float tile[8];
  PCC_DYNAMIC_SHARED(float, room);
  x[2 * blockIdx.x] = tile[3];
  x[2 * blockIdx.x + 1] = room[3];
  tile[3] = room[3] = 1;  // the next block must not see it
}

TEST(shared_memory_begins_as_nans) {
  Stream stream(0);
  const CurrentStream current(stream);
  Array x(stream, std::vector<float>(6, 0));
  // Whether the launch is one that learns what the kernel writes or not.
  for (int times = 0; times < 6; ++times) {
    launch(what_nobody_wrote, 3, 1, 16, x.data);
    for (const float value : x.values()) CHECK(isnan(value));
  }
}

TEST(limits_of_a_launch) {
  Stream stream(0);
  const CurrentStream current(stream);
  Array x(stream, std::vector<float>(4, 0));
  int* const at = reinterpret_cast<int*>(x.data);
  CHECK_THROWS_WITH("no block can be of 1025 x 1 x 1", launch(some_return_early, 1, 1025, 0, at));
  CHECK_THROWS_WITH("no block can be of 1 x 1 x 65",
                    launch(some_return_early, 1, {1, 1, 65}, 0, at));
  CHECK_THROWS_WITH("no block can be of 32 x 64", launch(some_return_early, 1, {32, 64}, 0, at));
  CHECK_THROWS_WITH("no grid can be of 0 x 1", launch(some_return_early, 0, 1, 0, at));
  CHECK_THROWS_WITH("no grid can be of 1 x 65536", launch(some_return_early, {1, 65536}, 1, 0, at));
  CHECK_THROWS_WITH("102400 bytes of shared memory", launch(some_return_early, 1, 1, 102400, at));
}

TEST(a_launch_needs_a_stream) {
  CHECK_THROWS_WITH("outside of a call", launch(some_return_early, 1, 1, 0, nullptr));
}

TEST(the_host_cannot_reach_the_device) {
  Stream stream(0);
  Array x(stream, {1, 2, 3});
  const pid_t child = fork();
  if (child == 0) {
    for (const int signal : {SIGSEGV, SIGBUS}) std::signal(signal, [](int) { _exit(3); });
    _exit(*static_cast<volatile float*>(x.data) == 1 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}

__global__ void scale(const float* x, float* y, float by, int64_t count) {
  for (int64_t i = first_element(); i < count; i += element_stride()) y[i] = by * x[i];
}

TEST(streams_are_late_but_in_order) {
  const With with(Order::forward, Streams::late);
  Stream stream(0);
  Array x(stream, {1, 2}), y(stream, {0, 0}), z(stream, {0, 0});
  std::vector<float> values = {3, 4};
  stream.upload(x.data, values.data(), 8);
  values = {100, 100};  // it was taken
  {
    const CurrentStream current(stream);
    launch(scale, 1, 1, 0, x.data, y.data, 2.0f, int64_t{2});
  }
  stream.copy(z.data, y.data, 8);
  stream.fill(y.data, 0, 8);
  CHECK_EQ(z.values(), (std::vector<float>{6, 8}));
  CHECK_EQ(y.values(), (std::vector<float>{0, 0}));
}

int ended = 0;
__global__ void end_iteration() { ++ended; }

TEST(the_host_is_two_iterations_ahead_at_most) {
  const With with(Order::forward, Streams::late);
  const auto device = std::make_shared<CudaDevice>(0);
  struct Iteration : Op {
    void forward(const Context&) override { launch(end_iteration, 1, 1, 0); }
  } iteration;
  Unit unit;
  unit.calls.push_back({&iteration, Call::Action::forward});
  ended = 0;
  for (int asked = 1; asked <= 6; ++asked) {
    device->run(unit, {});
    device->pace();
    CHECK_EQ(ended, std::max(0, asked - 2));
  }
  device->sync();
  CHECK_EQ(ended, 6);
}

TEST(late_streams_show_a_missing_wait) {
  const With with(Order::forward, Streams::late);
  for (const bool waits : {true, false}) {
    Stream first(0), second(0);
    Array x(first, {1, 2}), y(second, {0, 0});
    first.sync();
    const std::vector<float> values = {3, 4};
    first.upload(x.data, values.data(), 8);
    Event uploaded;
    uploaded.record(first);
    if (waits) uploaded.wait(second);
    second.copy(y.data, x.data, 8);
    CHECK_EQ(y.values(), waits ? values : (std::vector<float>{1, 2}));
    uploaded.sync();
    CHECK_EQ(x.values(), values);
  }
}

TEST(recordings_do_the_same_again) {
  for (const Streams streams : {Streams::now, Streams::late}) {
    const With with(Order::forward, streams);
    Stream stream(0);
    const CurrentStream current(stream);
    Array x(stream, {1, 2}), y(stream, {0, 0});
    float by = 2;
    stream.begin_capture();
    CHECK(stream.capturing());
    launch(scale, 1, 1, 0, x.data, y.data, by, x.count);
    stream.copy(x.data, y.data, 8);
    by = 100;  // recorded is what it was
    CHECK_THROWS_WITH("while a stream records", stream.sync());
    CHECK_THROWS_WITH("while a stream records", stream.upload(x.data, &by, 4));
    CHECK_THROWS_WITH("while a stream records", stream.allocate(4));
    const std::shared_ptr<const Recording> recording = stream.end_capture();
    CHECK_EQ(x.values(), (std::vector<float>{1, 2}));  // nothing was done yet
    for (int k = 0; k < 3; ++k) stream.replay(recording);
    CHECK_EQ(x.values(), (std::vector<float>{8, 16}));
  }
}

TEST(marks_tell_when_a_recording_came_by) {
  for (const Streams streams : {Streams::now, Streams::late}) {
    const With with(Order::forward, streams);
    Stream stream(0);
    const CurrentStream current(stream);
    Array x(stream, counted(192)), y(stream, {0, 0, 0});
    Mark before, between, after;
    stream.begin_capture();
    before.set(stream);
    launch(sum_blocks, 3, 64, 0, x.data, y.data);
    between.set(stream);
    after.set(stream);
    stream.replay(stream.end_capture());
    stream.sync();
    CHECK(between.seconds_since(before) > 0 && after.seconds_since(between) >= 0);
    CHECK(after.seconds_since(before) >= between.seconds_since(before));
  }
}

TEST(a_rehearsal_counts_and_does_nothing) {
  Stream stream(0);
  Array x(stream, {1, 2}), y(stream, {0, 0});
  const Rehearsal rehearsal;  // no stream is current
  launch(scale, 1, 1, 0, x.data, y.data, 2.0f, x.count);
  CHECK_EQ(rehearsal.launches(), 1);
  {
    const Rehearsal inner;
    CHECK(rehearsed());
    CHECK_EQ(inner.launches(), 1);
  }
  CHECK(rehearsed());
  CHECK_EQ(rehearsal.launches(), 2);
  CHECK_EQ(y.values(), (std::vector<float>{0, 0}));
}

// x -> y on the first stream, y -> z on the second, which waits for that, and z -> x again;
// meanwhile y is cleared on the first, after the second is done with it or, if it does not `wait`,
// whenever.
std::vector<float> x_after_a_forked_recording(Streams streams, bool waits) {
  const With with(Order::forward, streams);
  Stream first(0), second(0);
  Array x(first, {1, 2}), y(first, {0, 0}), z(first, {0, 0});
  first.sync();
  Event forked, used, joined;
  first.begin_capture();
  const auto scale_on = [](Stream& stream, const Array& from, const Array& to, float by) {
    const CurrentStream current(stream);
    launch(scale, 1, 1, 0, from.data, to.data, by, from.count);
  };
  scale_on(first, x, y, 2.0f);
  forked.record(first);
  forked.wait(second);
  CHECK(second.capturing());
  scale_on(second, y, z, 3.0f);
  used.record(second);
  if (waits) used.wait(first);
  first.fill(y.data, 0, 8);
  joined.record(second);
  joined.wait(first);
  first.copy(x.data, z.data, 8);
  const std::shared_ptr<const Recording> recording = first.end_capture();
  CHECK(!second.capturing());
  CHECK_THROWS_WITH("has ended", forked.wait(second));
  CHECK_EQ(x.values(), (std::vector<float>{1, 2}));
  for (int k = 0; k < 2; ++k) first.replay(recording);
  return x.values();
}

TEST(recordings_of_two_streams) {
  const std::vector<float> right = {36, 72};
  for (const Streams streams : {Streams::now, Streams::late})
    CHECK_EQ(x_after_a_forked_recording(streams, true), right);
  // A missing wait shows.
  CHECK(x_after_a_forked_recording(Streams::late, false) != right);
}

TEST(what_recordings_of_two_streams_must_not_do) {
  Stream first(0), second(0), third(0);
  Array x(first, {1, 2});
  first.sync();
  Event event, outside;
  outside.record(third);
  first.begin_capture();
  CHECK_THROWS_WITH("an event from outside", outside.wait(first));
  event.record(first);
  CHECK_THROWS_WITH("the host waits for an event of a recording", event.sync());
  third.begin_capture();
  CHECK_THROWS_WITH("an event of another recording", event.wait(third));
  third.abandon_capture();
  event.wait(second);
  second.fill(x.data, 0, 8);
  CHECK_THROWS_WITH("never began on this stream", second.end_capture());
  CHECK_THROWS_WITH("before the work of a stream", first.end_capture());
  CHECK(!first.capturing() && !second.capturing());
  CHECK_EQ(x.values(), (std::vector<float>{1, 2}));
}

// Sets what is wrong for a test.
struct Having {
  explicit Having(const host::Faults& faults) { host::set_faults(faults); }
  ~Having() { host::set_faults({}); }
};

TEST(devices_that_are_not_there) {
  CHECK_THROWS_WITH("no CUDA device 8: there are 8", Stream(device_count()));
  CHECK_THROWS_WITH("no CUDA device -1", Stream(-1));
  {
    const Having none({.driver = 0});
    CHECK_THROWS_WITH("no CUDA device: there is no NVIDIA driver", Stream(0));
  }
  {
    const Having old({.driver = 12020});
    CHECK_THROWS_WITH("the NVIDIA driver is one for CUDA 12.2, and CUDA 13.0 is needed", Stream(0));
  }
  const Having older({.major = 7, .minor = 5});
  CHECK_THROWS_WITH("CUDA device 0 (host) is of compute capability 7.5; 8.0 is the least",
                    Stream(0));
}

TEST(out_of_memory) {
  const Having little({.memory_bytes = 100000});
  Stream stream(0), other(1);
  void* const first = stream.allocate(60000);
  CHECK_THROWS_WITH("out of memory on CUDA device 0: 58 KiB wanted", stream.allocate(60000));
  other.free(other.allocate(60000));
  stream.free(first);
  stream.free(stream.allocate(60000));
}

TEST(what_a_kernel_does_wrong_shows_later_and_ends_the_device) {
  for (const Streams streams : {Streams::now, Streams::late}) {
    const With with(Order::forward, streams);
    {
      const Having fault({.kernels = 1});
      Stream stream(0);
      const CurrentStream current(stream);
      Array x(stream, {1, 2}), y(stream, {0, 0});
      const auto scale_once = [&] { launch(scale, 1, 1, 0, x.data, y.data, 2.0f, x.count); };
      scale_once();
      CHECK_EQ(y.values(), (std::vector<float>{2, 4}));
      scale_once();  // fails, and nobody knows yet
      CHECK_THROWS_WITH("PYCAFFE_CLR_SYNC=1", stream.sync());
      CHECK_THROWS_WITH("a kernel failed", y.values());
      CHECK_THROWS_WITH("a kernel failed", scale_once());
      CHECK_THROWS_WITH("a kernel failed", stream.allocate(4));
      Event event;
      event.record(stream);
      CHECK_THROWS_WITH("a kernel failed", event.sync());
      CHECK_THROWS_WITH("a kernel failed", Stream(0).sync());
      Stream(1).sync();
    }
    Stream(0).sync();  // as in another process
  }
}

TEST(who_waits_for_each_kernel_learns_which_one_failed) {
  struct Scaling : Op {
    explicit Scaling(Array& x) : x(x) {}
    void forward(const Context&) override { launch(scale, 1, 1, 0, x.data, x.data, 2.0f, x.count); }
    Array& x;
  };
  const Having fault({.kernels = 3});
  const With with(Order::forward, Streams::late);
  set_synchronous(true);
  const auto device = std::make_shared<CudaDevice>(0);
  Stream stream(0);
  Array x(stream, {1, 2});
  stream.sync();
  Scaling first(x), second(x);
  device->give_title(&first, "ip1 (gemm)");
  device->give_title(&second, "ip2 (gemm)");
  Unit unit;
  unit.calls = {{&first, Call::Action::forward}, {&second, Call::Action::forward}};
  device->run(unit, {});
  CHECK_EQ(x.values(), (std::vector<float>{4, 8}));
  const std::string what = message_of([&] { device->run(unit, {}); });
  set_synchronous(false);
  const std::string begin = "ip2 (gemm), forward: the kernel launched at ";
  CHECK_EQ(what.substr(0, begin.size()), begin);
  CHECK(what.find("test_cuda_runtime.cpp:") != std::string::npos);
  CHECK(what.find("PYCAFFE_CLR_SYNC") == std::string::npos);
}

}  // namespace
}  // namespace pcc::cuda
