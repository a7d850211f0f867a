// How the host carries out what a device would do at the same time: what must make no difference is
// for tests to choose.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

namespace pcc::cuda::host {

// In which order the threads of a block, and the blocks of a grid, run between barriers.
enum class Order { forward, reversed, shuffled };
// When the work of a stream is done: at once, or only when somebody waits for it.
enum class Streams { now, late };

struct Modes {
  Order order = Order::forward;
  Streams streams = Streams::now;
};

// Of all launches and streams from now on. At first as the environment says:
// PYCAFFE_CLR_CUDA_HOST=reversed,late.
Modes modes();
void set_modes(const Modes& modes);

// Seconds, as marks (runtime.h) take them down; null: the time of day.
void set_clock(double (*clock)());

// What a machine with a GPU may be short of, and what may happen to it.
struct Faults {
  int driver = 13000;        // the version of CUDA that it is for; 0: there is none
  int major = 8, minor = 6;  // compute capability of the devices
  int64_t memory_bytes = std::numeric_limits<int64_t>::max();  // of each device
  // After so many more kernels one fails, and its device with it: streams that there are, and any
  // that are made while they last, do no more work.
  int64_t kernels = std::numeric_limits<int64_t>::max();
};

// From words as in late,driver=12080,major=7,memory=100000,kernels=30.
Faults faults_in(const std::string& words);
// At first as the same variable says.
Faults faults();
void set_faults(const Faults& faults);
// Counts a kernel; whether it fails.
bool fails_now();

}  // namespace pcc::cuda::host
