// What both runtimes share: the current stream, and the limits of a launch.
#include "backends/cuda/runtime.h"

#include <limits>

#include "core/check.h"

namespace pcc::cuda {

namespace {

constinit thread_local Stream* current = nullptr;
constinit thread_local Rehearsal* rehearsal = nullptr;

}  // namespace

CurrentStream::CurrentStream(Stream& stream) : before_(current) { current = &stream; }
CurrentStream::~CurrentStream() { current = before_; }

Stream& current_stream() {
  PCC_CHECK(current, "work for a device outside of a call that the device makes");
  return *current;
}

Rehearsal::Rehearsal() : before_(rehearsal) { rehearsal = this; }
Rehearsal::~Rehearsal() { rehearsal = before_; }

bool rehearsed() {
  if (rehearsal) ++rehearsal->launches_;
  return rehearsal != nullptr;
}

std::string place_of(const Launch& launch) {
  return concat("the kernel launched at ", launch.grid.where.file_name(), ":",
                launch.grid.where.line());
}

void check_limits(const Launch& launch, int64_t shared_bytes) {
  constexpr int64_t kMost = 65535;
  const auto within = [](const Dim& dim, int64_t x, int64_t y, int64_t z) {
    return dim.x > 0 && dim.y > 0 && dim.z > 0 && dim.x <= x && dim.y <= y && dim.z <= z;
  };
  const Dim &grid = launch.grid, &block = launch.block;
  PCC_CHECK(within(grid, std::numeric_limits<int32_t>::max(), kMost, kMost), place_of(launch),
            ": no grid can be of ", grid.x, " x ", grid.y, " x ", grid.z, " blocks");
  PCC_CHECK(within(block, 1024, 1024, 64) && block.count() <= 1024, place_of(launch),
            ": no block can be of ", block.x, " x ", block.y, " x ", block.z, " threads");
  PCC_CHECK(launch.shared_bytes >= 0 && launch.shared_bytes <= shared_bytes, place_of(launch), ": ",
            launch.shared_bytes, " bytes of shared memory are asked for; the device has ",
            shared_bytes);
  size_t params = 0;
  for (size_t i = 0; i < launch.count; ++i) params += launch.sizes[i];
  PCC_CHECK(params <= 4096, place_of(launch), ": ", params, " bytes of arguments; at most 4096");
}

}  // namespace pcc::cuda
