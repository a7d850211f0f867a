// How records come to the device: whole databases once, and batches one after the other on a stream
// of their own.
#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "backends/cuda/device.h"
#include "core/check.h"

namespace pcc::cuda {

namespace {

// One buffer is filled and sent while the device works with the other.
class CudaStaging : public Staging {
 public:
  CudaStaging(std::shared_ptr<CudaDevice> device, Stream& work, int index, int64_t bytes)
      : device_(std::move(device)), work_(work), copies_(index), bytes_(bytes) {
    for (Buffer& buffer : buffers_) {
      buffer.host = copies_.allocate_host(bytes);
      buffer.there = device_->allocate(bytes);
      buffer.free.record(work_);
    }
  }
  ~CudaStaging() override {
    for (Buffer& buffer : buffers_) copies_.free_host(buffer.host);
  }

  void* fill() override {
    turn_ = 1 - turn_;
    Buffer& buffer = buffers_[turn_];
    buffer.sent.sync();
    return buffer.host;
  }

  const void* send() override {
    Buffer& buffer = buffers_[turn_];
    // Whatever was asked for until now may read the other one, and nothing from now on.
    buffers_[1 - turn_].free.record(work_);
    buffer.free.wait(copies_);
    copies_.upload_later(buffer.there->data(), buffer.host, bytes_);
    buffer.sent.record(copies_);
    buffer.sent.wait(work_);
    return buffer.there->data();
  }

 private:
  struct Buffer {
    void* host = nullptr;
    std::shared_ptr<Memory> there;
    Event free, sent;
  };

  std::shared_ptr<CudaDevice> device_;
  Stream& work_;
  Stream copies_;
  int64_t bytes_;
  Buffer buffers_[2];
  size_t turn_ = 0;
};

// What is held on each device, for as long as somebody uses it.
struct Held {
  std::mutex mutex;
  std::map<std::pair<int, uint64_t>, std::weak_ptr<Memory>> by_key;
};
Held& held() {
  static Held* const all = new Held;
  return *all;
}

}  // namespace

std::unique_ptr<Staging> CudaDevice::stage(int64_t bytes) {
  return std::make_unique<CudaStaging>(shared_from_this(), stream_, index_, bytes);
}

std::shared_ptr<Memory> CudaDevice::hold(uint64_t key, const void* from, int64_t bytes) {
  const std::lock_guard lock(held().mutex);
  int64_t all = bytes;
  for (auto each = held().by_key.begin(); each != held().by_key.end();) {
    const std::shared_ptr<Memory> memory = each->second.lock();
    if (memory && each->first.first == index_) all += memory->bytes();
    each = memory ? std::next(each) : held().by_key.erase(each);
  }
  std::weak_ptr<Memory>& place = held().by_key[{index_, key}];
  std::shared_ptr<Memory> memory = place.lock();
  if (!memory) {
    if (all > memory_bytes_ / 4) return nullptr;
    memory = allocate(bytes);
    upload(memory->data(), from, bytes);
    sync();  // other streams may use it from now on
    place = memory;
  }
  // Who lets go of it may still have work that reads it.
  return {memory.get(), [memory, device = shared_from_this()](Memory*) {
            try {
              device->sync();
            } catch (const std::exception&) {  // whoever waits for the work is told
            }
          }};
}

}  // namespace pcc::cuda
