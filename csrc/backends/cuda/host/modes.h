// How the host carries out what a device would do at the same time: what must make no difference is
// for tests to choose.
#pragma once

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

}  // namespace pcc::cuda::host
