// A GPU as the engine's device: a stream of its own, and recordings of what is run again and again.
#pragma once

#include <functional>

#include "backends/cuda/runtime.h"
#include "ops/device.h"

namespace pcc::cuda {

// One thread at a time, as a net is used.
class CudaDevice : public Device, public std::enable_shared_from_this<CudaDevice> {
 public:
  explicit CudaDevice(int index, Precision precision = Precision::fp32)
      : precision_(precision), stream_(index) {}

  std::shared_ptr<Memory> allocate(int64_t bytes) override;  // 256-byte aligned
  void upload(void* to, const void* from, int64_t bytes) override {
    stream_.upload(to, from, bytes);
  }
  void download(void* to, const void* from, int64_t bytes) override {
    stream_.download(to, from, bytes);
  }
  void clear(void* to, int64_t bytes) override { stream_.fill(to, 0, bytes); }
  void sync() override { stream_.sync(); }
  void pace() override;
  bool host_visible() const override { return false; }
  Precision precision() const override { return precision_; }
  void run(const Call* calls, size_t count, const Context& context) override;
  // Op by op the first time, recorded the second, and from then on replayed as a whole.
  void run(Unit& unit, const Context& context) override;
  // Recorded, as they are when they train; the ops' kernels have run before.
  std::vector<double> time(const Call* calls, size_t count, const Context& context) override;
  int64_t launches(const Call& call, const Context& context) override;

 private:
  std::shared_ptr<const Recording> record(const std::function<void()>& work);

  Precision precision_;
  Stream stream_;
  Event paces_[2];  // the ends of the latest iterations, in turn
  int64_t paced_ = 0;
};

// One that is not there: its memory has addresses and nothing behind them, and its ops, which know
// no difference, never run.
class DescribedDevice : public Device {
 public:
  explicit DescribedDevice(Precision precision) : precision_(precision) {}

  std::shared_ptr<Memory> allocate(int64_t bytes) override;
  void upload(void*, const void*, int64_t) override {}
  void download(void* to, const void* from, int64_t bytes) override;
  void clear(void*, int64_t) override {}
  void sync() override {}
  bool host_visible() const override { return false; }
  Precision precision() const override { return precision_; }
  using Device::run;
  void run(const Call*, size_t, const Context&) override {}
  int64_t launches(const Call& call, const Context& context) override;

 private:
  Precision precision_;
};

}  // namespace pcc::cuda
