#include "guarded.h"

#include "backends/cuda/host/guarded_memory.h"

namespace pcc {

namespace {

// Keeps what it is part of, as a net's memory may outlive the net.
class GuardedPart : public Memory {
 public:
  GuardedPart(std::shared_ptr<GuardedMemory> whole, int64_t bytes)
      : Memory(bytes), whole_(std::move(whole)) {
    data_ = whole_->allocate(bytes);
  }
  ~GuardedPart() override { whole_->free(data_); }

 private:
  std::shared_ptr<GuardedMemory> whole_;
};

class GuardedDevice : public Device {
 public:
  std::shared_ptr<Memory> allocate(int64_t bytes) override {
    return std::make_shared<GuardedPart>(memory_, bytes);
  }
  void upload(void* to, const void* from, int64_t bytes) override { move(to, from, bytes); }
  void download(void* to, const void* from, int64_t bytes) override { move(to, from, bytes); }
  void clear(void* to, int64_t bytes) override {
    const GuardedMemory::BlockAccess access(*memory_, to);
    host_.clear(to, bytes);
  }
  void sync() override {}
  bool host_visible() const override { return false; }
  using Device::run;
  void run(const Call* calls, size_t count, const Context& context) override {
    const GuardedMemory::Access access(*memory_);
    host_.run(calls, count, context);
  }

 private:
  void move(void* to, const void* from, int64_t bytes) {
    const GuardedMemory::BlockAccess writes(*memory_, to), reads(*memory_, from);
    host_.upload(to, from, bytes);
  }

  HostDevice host_;
  std::shared_ptr<GuardedMemory> memory_ = std::make_shared<GuardedMemory>();
};

class GuardedBackend : public Backend {
 public:
  GuardedBackend(const Backend& inner, std::vector<std::string> refused)
      : inner_(inner), refused_(std::move(refused)) {}
  std::string name() const override {
    return (refused_.empty() ? "guarded_" : "fussy_") + inner_.name();
  }
  std::shared_ptr<Device> open(int, Precision) const override {
    return std::make_shared<GuardedDevice>();
  }
  bool computes(DType dtype) const override { return inner_.computes(dtype); }
  LayoutChoice layouts(const OpDesc& desc, const OpSite& site) const override {
    return inner_.layouts(desc, site);
  }
  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    for (const std::string& word : refused_)
      if (name_of(desc).rfind(word, 0) == 0) return nullptr;
    return inner_.make(desc, site);
  }

 private:
  const Backend& inner_;
  std::vector<std::string> refused_;
};

}  // namespace

std::unique_ptr<const Backend> make_guarded(const std::string& inner,
                                            const std::vector<std::string>& refused) {
  return std::make_unique<GuardedBackend>(backend(inner), refused);
}

void register_guarded() {
  for (const std::string& name : backend_names())
    register_backend("guarded_" + name, [name] { return make_guarded(name); });
  // Of each family something is left to the host: in every net values go there and come back.
  register_backend("fussy_cpu", [] {
    return make_guarded("cpu", {"norm", "pool", "gemm", "dropout", "lrn", "slice", "accuracy"});
  });
  register_backend("fussy_reference", [] {
    return make_guarded("reference",
                        {"conv", "relu", "softmax", "sum", "concat", "scale", "transform", "fill"});
  });
}

GuardedAccess::GuardedAccess(const void* address) : memory_(GuardedMemory::owner_of(address)) {
  if (memory_) memory_->open();
}

GuardedAccess::~GuardedAccess() {
  if (memory_) memory_->close();
}

}  // namespace pcc

// For whoever loads this file as a library. Called once.
extern "C" __attribute__((visibility("default"))) void register_guarded_backends() {
  pcc::register_guarded();
}
