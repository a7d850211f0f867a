#include "ops/device.h"

#include <chrono>
#include <cstring>

#include "core/check.h"
#include "ops/op.h"

namespace pcc {

namespace {

constexpr const char* kPrecisions[] = {"usual", "fp32", "tf32", "bf16"};

}  // namespace

const char* name_of(Precision precision) { return kPrecisions[static_cast<size_t>(precision)]; }

Precision precision_named(const std::string& name) {
  if (name.empty()) return Precision::usual;
  for (const Precision each : {Precision::fp32, Precision::tf32, Precision::bf16})
    if (name == name_of(each)) return each;
  PCC_THROW(config, "precision \"", name, "\" is unknown; known: fp32, tf32, bf16");
}

void Call::make(const Context& context) const {
  switch (action) {
    case Action::forward:
      return op->forward(context);
    case Action::backward:
      return op->backward(context);
    case Action::prepare:
      return op->prepare(context);
  }
}

std::vector<double> Device::time(const Call* calls, size_t count, const Context& context) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (const Call* call = calls; call != calls + count; ++call) {
    const Clock::time_point begin = Clock::now();
    run(call, 1, context);
    sync();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  return seconds;
}

namespace {

// For devices that have done everything when they return.
class PlainStaging : public Staging {
 public:
  PlainStaging(Device& device, int64_t bytes)
      : device_(device), host_(bytes), there_(device.allocate(bytes)) {}
  void* fill() override { return host_.data(); }
  const void* send() override {
    device_.upload(there_->data(), host_.data(), host_.bytes());
    return there_->data();
  }

 private:
  Device& device_;
  HostMemory host_;
  std::shared_ptr<Memory> there_;
};

}  // namespace

std::unique_ptr<Staging> Device::stage(int64_t bytes) {
  return std::make_unique<PlainStaging>(*this, bytes);
}

std::shared_ptr<Memory> Device::hold(uint64_t, const void* from, int64_t bytes) {
  std::shared_ptr<Memory> memory = allocate(bytes);
  upload(memory->data(), from, bytes);
  return memory;
}

std::shared_ptr<Memory> HostDevice::allocate(int64_t bytes) {
  return std::make_shared<HostMemory>(bytes);
}

void HostDevice::download(void* to, const void* from, int64_t bytes) { upload(to, from, bytes); }

void HostDevice::upload(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
}

void HostDevice::clear(void* to, int64_t bytes) {
  if (bytes > 0) std::memset(to, 0, static_cast<size_t>(bytes));
}

void HostDevice::run(const Call* calls, size_t count, const Context& context) {
  for (const Call* call = calls; call != calls + count; ++call) call->make(context);
}

}  // namespace pcc
