#include "guarded.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>

namespace pcc {

namespace {

constexpr int64_t kPage = 4096;

int64_t mapped_bytes(int64_t bytes) {
  return std::max<int64_t>(1, (bytes + kPage - 1) / kPage) * kPage;
}

// Which device a mapping belongs to, by the address where it begins.
struct Owners {
  std::mutex mutex;
  std::map<const char*, std::pair<int64_t, std::weak_ptr<GuardedDevice>>> by_address;
};

Owners& owners() {
  static Owners* const all = new Owners;
  return *all;
}

}  // namespace

class GuardedDevice : public Device, public std::enable_shared_from_this<GuardedDevice> {
 public:
  std::shared_ptr<Memory> allocate(int64_t bytes) override {
    return std::make_shared<Mapping>(shared_from_this(), bytes);
  }
  void upload(void* to, const void* from, int64_t bytes) override { move(to, from, bytes); }
  void download(void* to, const void* from, int64_t bytes) override { move(to, from, bytes); }
  void clear(void* to, int64_t bytes) override {
    const Access access(*this);
    host_.clear(to, bytes);
  }
  void sync() override {}
  bool host_visible() const override { return false; }
  using Device::run;
  void run(const Call* calls, size_t count, const Context& context) override {
    const Access access(*this);
    host_.run(calls, count, context);
  }

  // May nest.
  void open() {
    const std::lock_guard lock(mutex_);
    if (++open_ == 1) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

 private:
  struct Access {
    explicit Access(GuardedDevice& device) : device(device) { device.open(); }
    ~Access() { device.close(); }
    GuardedDevice& device;
  };

  // Keeps its device, as a net's memory may outlive the net.
  class Mapping : public Memory {
   public:
    Mapping(std::shared_ptr<GuardedDevice> device, int64_t bytes)
        : Memory(bytes), device_(std::move(device)) {
      void* const base = mmap(nullptr, static_cast<size_t>(mapped_bytes(bytes)), PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      PCC_CHECK(base != MAP_FAILED, "out of memory: ", bytes, " bytes wanted");
      data_ = static_cast<char*>(base);
      device_->add(*this);
    }
    ~Mapping() override {
      device_->remove(*this);
      munmap(data_, static_cast<size_t>(mapped_bytes(bytes_)));
    }

   private:
    std::shared_ptr<GuardedDevice> device_;
  };

  void add(const Mapping& mapping) {
    {
      const std::lock_guard lock(mutex_);
      mappings_[mapping.data()] = mapped_bytes(mapping.bytes());
      if (open_ > 0) protect(PROT_READ | PROT_WRITE);
    }
    const std::lock_guard lock(owners().mutex);
    owners().by_address[mapping.data()] = {mapped_bytes(mapping.bytes()), weak_from_this()};
  }
  void remove(const Mapping& mapping) {
    {
      const std::lock_guard lock(mutex_);
      mappings_.erase(mapping.data());
    }
    const std::lock_guard lock(owners().mutex);
    owners().by_address.erase(mapping.data());
  }
  void protect(int rights) {
    for (const auto& [address, bytes] : mappings_)
      PCC_CHECK(mprotect(address, static_cast<size_t>(bytes), rights) == 0, "mprotect failed");
  }
  void move(void* to, const void* from, int64_t bytes) {
    const Access access(*this);
    host_.upload(to, from, bytes);
  }

  HostDevice host_;
  std::mutex mutex_;
  std::map<char*, int64_t> mappings_;  // what is allocated now, in whole pages
  int open_ = 0;
};

namespace {

class GuardedBackend : public Backend {
 public:
  GuardedBackend(const Backend& inner, std::vector<std::string> refused)
      : inner_(inner), refused_(std::move(refused)) {}
  std::string name() const override {
    return (refused_.empty() ? "guarded_" : "fussy_") + inner_.name();
  }
  std::shared_ptr<Device> open(int) const override { return std::make_shared<GuardedDevice>(); }
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

GuardedAccess::GuardedAccess(const void* address) {
  const auto* const byte = static_cast<const char*>(address);
  {
    const std::lock_guard lock(owners().mutex);
    auto found = owners().by_address.upper_bound(byte);
    if (found == owners().by_address.begin()) return;
    --found;
    if (byte >= found->first + found->second.first) return;
    device_ = found->second.second.lock();
  }
  if (device_) device_->open();
}

GuardedAccess::~GuardedAccess() {
  if (device_) device_->close();
}

}  // namespace pcc

// For whoever loads this file as a library. Called once.
extern "C" __attribute__((visibility("default"))) void register_guarded_backends() {
  pcc::register_guarded();
}
