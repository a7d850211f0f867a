// The device that cuDNN plans for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "backends/cuda/cudnn/descriptor.h"

namespace pcc::cudnn {

// What cuDNN wants to know of a device, all of it. Defaults: what sm_80 and sm_90 share.
struct DeviceDescription {
  std::string name;
  int compute_capability = 0;  // 900: sm_90
  int64_t multiprocessors = 0;
  int64_t shared_bytes_opt_in = 0;  // per block, at most
  int64_t memory_bytes = 0, memory_bus_bits = 0, l2_bytes = 0;
  int64_t clock_khz = 0, memory_clock_khz = 0;
  int64_t shared_bytes = 48 << 10, reserved_shared_bytes = 1 << 10;  // per block
  int64_t registers = 64 << 10;         // per block, and per multiprocessor
  int64_t blocks = 32, threads = 2048;  // per multiprocessor
  int driver_version = 13000;

  std::string json() const;
};

DeviceDescription h100();  // SXM, 80 GB
DeviceDescription a100();  // SXM, 80 GB

// What plans are made for: the device of a handle, or one that is only described and need not be
// there, so that no driver is asked.
class Target {
 public:
  explicit Target(const Handle& handle) : library_(handle.library()), handle_(handle.get()) {}
  Target(const Library& library, const DeviceDescription& description);

  const Library& library() const { return library_; }
  // Tell a descriptor that is being made.
  void tell_graph(Descriptor& graph) const;
  void tell_heuristic(Descriptor& heuristic) const;
  void tell_plan(Descriptor& plan) const;

 private:
  const Library& library_;
  void* handle_ = nullptr;
  std::optional<Descriptor> description_;
};

}  // namespace pcc::cudnn
