// A whole launch on the host.
#pragma once

#include "backends/cuda/runtime.h"

namespace pcc::cuda::host {

// Runs all blocks, one after the other, and the threads of each as fibers. Throws an engine error
// that names the place of the launch for what no device would forgive: threads that wait for others
// which cannot come, lanes that a warp collective names wrongly, writes behind shared memory.
void run_grid(const Launch& launch);

}  // namespace pcc::cuda::host
