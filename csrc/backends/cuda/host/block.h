// The threads of one block on the host: fibers, run in a chosen order, that stop where they wait
// for each other.
#pragma once

#include <cstdint>
#include <limits>
#include <source_location>
#include <type_traits>

namespace pcc::cuda::host {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

// Where the running thread stands.
struct Here {
  Dim3 thread, block, block_dim, grid_dim;
};
extern thread_local Here* running;
inline const Here& here() { return *running; }
// Number within its warp: threads are counted along x, then y, then z.
int lane_index();

// __syncthreads: goes on when all threads of the block have come. Throws an engine error, which
// ends the launch, when one of them cannot come any more or waits at another place.
void barrier(const std::source_location& where);

// One warp collective: stops the lane until all lanes of `mask` have come, then the last of them
// calls meet(lanes, mask) with what each brought, null for lanes outside the mask. Throws where a
// lane of the mask cannot come, or this lane is not in it.
void collective(unsigned mask, void* mine, void (*meet)(void* const* lanes, unsigned mask),
                const std::source_location& where);

void* dynamic_shared();

// What stands in memory that nobody wrote: a NaN, or a large number.
template <typename T>
T poison() {
  if constexpr (std::is_floating_point_v<T>)
    return std::numeric_limits<T>::quiet_NaN();
  else
    return static_cast<T>(0x7fc0dead);
}

}  // namespace pcc::cuda::host
