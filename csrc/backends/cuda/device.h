// A GPU as the engine's device: a stream of its own, and recordings of what is run again and again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn/library.h"
#include "backends/cuda/runtime.h"
#include "backends/cuda/watchdog.h"
#include "ops/device.h"

namespace pcc::cuda {

// One thread at a time, as a net is used.
class CudaDevice : public Device, public std::enable_shared_from_this<CudaDevice> {
 public:
  // How it chooses among the ways of a convolution: see choose_conv.
  explicit CudaDevice(int index, Precision precision = Precision::fp32,
                      std::string conv_choice = "first")
      : index_(index),
        precision_(precision),
        conv_choice_(std::move(conv_choice)),
        stream_(index) {}

  std::shared_ptr<Memory> allocate(int64_t bytes) override;  // 256-byte aligned
  void upload(void* to, const void* from, int64_t bytes) override {
    stream_.upload(to, from, bytes);
  }
  void download(void* to, const void* from, int64_t bytes) override {
    const Waiting waiting(*waits_since_);
    stream_.download(to, from, bytes);
  }
  void clear(void* to, int64_t bytes) override { stream_.fill(to, 0, bytes); }
  void sync() override {
    const Waiting waiting(*waits_since_);
    stream_.sync();
  }
  void pace() override;
  bool host_visible() const override { return false; }
  Precision precision() const override { return precision_; }
  int64_t memory_bytes() const override { return memory_bytes_; }
  // Two buffers in pinned memory, and two of the device's: one is filled, and copied on a stream of
  // its own, while the device works with the other.
  std::unique_ptr<Staging> stage(int64_t bytes) override;
  // At most a quarter of the memory for all.
  std::shared_ptr<Memory> hold(uint64_t key, const void* from, int64_t bytes) override;
  void run(const Call* calls, size_t count, const Context& context) override;
  // Both: op by op the first time, recorded the second, and from then on replayed as a whole.
  void run(Unit& unit, const Context& context) override {
    const Part part{&unit, context};
    run({&part, 1}, unit.recording);
  }
  void run(std::span<const Part> parts, std::shared_ptr<void>& recording) override;
  // Recorded, as they are when they train; the ops' kernels have run before.
  std::vector<double> time(const Call* calls, size_t count, const Context& context) override;
  std::vector<int64_t> launches(const Call* calls, size_t count, const Context& context) override;
  // What errors call an op of this device.
  void give_title(const Op* op, std::string title) { titles_[op] = std::move(title); }

  Stream& stream() { return stream_; }
  std::shared_ptr<const WaitsSince> waits_since() const { return waits_since_; }
  const std::string& conv_choice() const { return conv_choice_; }
  // The GPU and what runs it, in words that differ where the speed of a kernel may.
  const std::string& description();
  // Does the work once, and records it. Each call of what it gives replays it and says how many
  // seconds that took.
  std::function<double()> timed(const std::function<void()>& work);
  // cuDNN on a stream of this device; null where it is not to be had, which a remark says.
  const cudnn::Handle* cudnn(Stream& stream);
  // Has that said, once.
  void remark(const std::string& text) {
    if (!text.empty() && said_.insert(text).second) remarks_.push_back(text);
  }
  std::vector<std::string> take_remarks() override { return std::exchange(remarks_, {}); }

 private:
  std::shared_ptr<const Recording> record(const std::function<void()>& work);

  int index_;
  Precision precision_;
  std::string conv_choice_, description_;
  std::vector<std::string> remarks_;
  std::set<std::string> said_;
  Stream stream_;
  std::map<Stream*, std::unique_ptr<const cudnn::Handle>> cudnn_;  // null: it does not work
  int64_t memory_bytes_ = properties(index_).memory_bytes;
  std::shared_ptr<WaitsSince> waits_since_ = std::make_shared<WaitsSince>(0);
  Event paces_[2];  // the ends of the latest iterations, in turn
  int64_t paced_ = 0;
  std::unordered_map<const Op*, std::string> titles_;
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
  std::vector<int64_t> launches(const Call* calls, size_t count, const Context& context) override;

 private:
  Precision precision_;
};

}  // namespace pcc::cuda
