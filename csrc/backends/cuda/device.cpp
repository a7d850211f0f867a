#include "backends/cuda/device.h"

#include "core/check.h"
#include "ops/op.h"

namespace pcc::cuda {

namespace {

// Keeps its device, as a net's memory may outlive the net.
class CudaMemory : public Memory {
 public:
  CudaMemory(std::shared_ptr<CudaDevice> device, Stream& stream, int64_t bytes)
      : Memory(bytes), device_(std::move(device)), stream_(stream) {
    data_ = static_cast<char*>(stream_.allocate(bytes));
  }
  ~CudaMemory() override { stream_.free(data_); }

 private:
  std::shared_ptr<CudaDevice> device_;
  Stream& stream_;
};

// What a unit keeps: how far it has come, and for which context.
struct Course {
  Context context;
  std::shared_ptr<const Recording> recording;  // null: it ran once
};

bool same(const Context& a, const Context& b) {
  return a.step == b.step && a.report == b.report && a.feeds == b.feeds && a.first == b.first;
}

}  // namespace

std::shared_ptr<Memory> CudaDevice::allocate(int64_t bytes) {
  return std::make_shared<CudaMemory>(shared_from_this(), stream_, bytes);
}

void CudaDevice::pace() {
  Event& end = paces_[paced_++ % 2];
  end.sync();  // of the iteration before the last
  end.record(stream_);
}

void CudaDevice::run(const Call* calls, size_t count, const Context& context) {
  const CurrentStream current(stream_);
  for (const Call* call = calls; call != calls + count; ++call) call->make(context);
}

void CudaDevice::run(Unit& unit, const Context& context) {
  auto course = std::static_pointer_cast<Course>(unit.recording);
  if (!course || !same(course->context, context)) {
    run(unit.calls.data(), unit.calls.size(), context);
    unit.recording = std::make_shared<Course>(Course{context, nullptr});
    return;
  }
  if (!course->recording) {
    stream_.begin_capture();
    try {
      run(unit.calls.data(), unit.calls.size(), context);
    } catch (...) {
      stream_.abandon_capture();
      throw;
    }
    course->recording = stream_.end_capture();
  }
  stream_.replay(course->recording);
}

}  // namespace pcc::cuda
