#include "backends/cuda/cudnn/device.h"

namespace pcc::cudnn {

// The keys are cuDNN's, every one of them required; a name must not hold quotes or backslashes.
std::string DeviceDescription::json() const {
  return concat("{\"deviceName\":\"", name, "\",\"deviceVer\":", compute_capability,
                ",\"driverVer\":", driver_version, ",\"multiProcessorCount\":", multiprocessors,
                ",\"smCountOrigin\":0,\"warpSize\":32",
                ",\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64]",
                ",\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":", threads,
                ",\"maxCtasPerSM\":", blocks, ",\"regsPerBlock\":", registers,
                ",\"maxRegistersPerSM\":", registers, ",\"maxSharedMemoryPerBlock\":", shared_bytes,
                ",\"maxSharedMemoryPerBlockOptin\":", shared_bytes_opt_in,
                ",\"reservedSharedMemoryPerBlock\":", reserved_shared_bytes,
                ",\"oversizedSharedMemoryPerBlock\":0,\"totalGlobalMem\":", memory_bytes,
                ",\"l2CacheSize\":", l2_bytes, ",\"memoryBusWidth\":", memory_bus_bits,
                ",\"smClockRateKHz\":", clock_khz, ",\"memClockRateKHz\":", memory_clock_khz,
                ",\"cudaDeviceId\":0,\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1}");
}

DeviceDescription h100() {
  return {.name = "NVIDIA H100 80GB HBM3",
          .compute_capability = 900,
          .multiprocessors = 132,
          .shared_bytes_opt_in = 227 << 10,
          .memory_bytes = int64_t{80} << 30,
          .memory_bus_bits = 5120,
          .l2_bytes = 50 << 20,
          .clock_khz = 1980000,
          .memory_clock_khz = 2619000};
}

DeviceDescription a100() {
  return {.name = "NVIDIA A100-SXM4-80GB",
          .compute_capability = 800,
          .multiprocessors = 108,
          .shared_bytes_opt_in = 163 << 10,
          .memory_bytes = int64_t{80} << 30,
          .memory_bus_bits = 5120,
          .l2_bytes = 40 << 20,
          .clock_khz = 1410000,
          .memory_clock_khz = 1593000};
}

Target::Target(const Library& library, const DeviceDescription& description) : library_(library) {
  description_.emplace(library, api::Kind::device);
  const std::string json = description.json();
  description_->set(api::Name::device_json, api::Type::character, json.data(),
                    static_cast<int64_t>(json.size()));
  description_->finalize("take the description of a device");
}

void Target::tell_graph(Descriptor& graph) const {
  if (handle_) graph.set(api::Name::graph_handle, api::Type::handle, &handle_, 1);
}
void Target::tell_heuristic(Descriptor& heuristic) const {
  if (description_) heuristic.set(api::Name::heuristic_device, *description_);
}
void Target::tell_plan(Descriptor& plan) const {
  if (handle_)
    plan.set(api::Name::plan_handle, api::Type::handle, &handle_, 1);
  else
    plan.set(api::Name::plan_device, *description_);
}

}  // namespace pcc::cudnn
