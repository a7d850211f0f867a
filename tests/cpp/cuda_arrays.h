// Arrays of the simulated CUDA devices, for tests of the runtime itself.
#pragma once

#include <vector>

#include "backends/cuda/host/modes.h"
#include "backends/cuda/runtime.h"

namespace pcc::cuda {

// Every order in which threads and blocks may run.
inline constexpr host::Order kOrders[] = {host::Order::forward, host::Order::reversed,
                                          host::Order::shuffled};

// Sets the modes for a test.
struct With {
  explicit With(host::Order order, host::Streams streams = host::Streams::now)
      : before(host::modes()) {
    host::set_modes({order, streams});
  }
  ~With() { host::set_modes(before); }
  host::Modes before;
};

// Floats of a device.
struct Array {
  Array(Stream& stream, const std::vector<float>& values)
      : stream(stream), count(static_cast<int64_t>(values.size())) {
    data = static_cast<float*>(stream.allocate(bytes()));
    stream.upload(data, values.data(), bytes());
  }
  ~Array() { stream.free(data); }
  int64_t bytes() const { return count * static_cast<int64_t>(sizeof(float)); }
  std::vector<float> values() const {
    std::vector<float> all(static_cast<size_t>(count));
    stream.download(all.data(), data, bytes());
    return all;
  }
  Stream& stream;
  int64_t count;
  float* data;
};

inline std::vector<float> counted(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i % 17));
  return values;
}

}  // namespace pcc::cuda
