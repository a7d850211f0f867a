// Calls of libraries on the host: functions that a stream makes when their turn comes, and that
// reach the device's memory meanwhile.
#pragma once

#include <functional>

#include "backends/cuda/runtime.h"

namespace pcc::cuda::host {

void ask(Stream& stream, std::function<void()> work);

}  // namespace pcc::cuda::host
