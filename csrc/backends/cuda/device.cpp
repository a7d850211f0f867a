#include "backends/cuda/device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cuda/prepare.h"
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

// Addresses that nothing else has, and that nobody may follow.
class Addresses : public Memory {
 public:
  explicit Addresses(int64_t bytes) : Memory(bytes) {
    void* const place =
        mmap(nullptr, size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    PCC_CHECK(place != MAP_FAILED, "no addresses for ", bytes, " bytes");
    data_ = static_cast<char*>(place);
  }
  ~Addresses() override { munmap(data_, size()); }

 private:
  size_t size() const { return static_cast<size_t>(std::max<int64_t>(bytes(), 1)); }
};

std::vector<int64_t> count_launches(const Call* calls, size_t count, const Context& context) {
  const Rehearsal rehearsal;
  Preparations together;
  std::vector<int64_t> counts;
  int64_t before = 0;
  for (size_t i = 0; i < count; ++i) {
    calls[i].make(context);
    // What is prepared together is the work of the last of them.
    if (i + 1 == count || calls[i + 1].action != Call::Action::prepare) together.make();
    counts.push_back(rehearsal.launches() - before);
    before = rehearsal.launches();
  }
  return counts;
}

// What a recording keeps: for which contexts it is, and how far it has come.
struct Course {
  std::vector<Context> contexts;
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
  {
    const Waiting waiting(*waits_since_);
    end.sync();  // of the iteration before the last
  }
  end.record(stream_);
}

void CudaDevice::run(const Call* calls, size_t count, const Context& context) {
  const CurrentStream current(stream_);
  Preparations together;
  for (const Call* call = calls; call != calls + count; ++call) {
    if (call->action != Call::Action::prepare) together.make();
    if (!synchronous() || stream_.capturing()) {
      call->make(context);
      continue;
    }
    try {
      call->make(context);
      together.make();
      stream_.sync();
    } catch (const Error& error) {
      constexpr const char* kActions[] = {"forward", "backward", "prepare"};
      throw Error(error.kind(),
                  concat(titles_[call->op], ", ", kActions[static_cast<size_t>(call->action)], ": ",
                         error.what()));
    }
  }
  together.make();
}

void CudaDevice::run(std::span<const Part> parts, std::shared_ptr<void>& recording) {
  const auto run_all = [&] {
    for (const Part& part : parts)
      run(part.unit->calls.data(), part.unit->calls.size(), part.context);
  };
  if (synchronous()) return run_all();
  auto course = std::static_pointer_cast<Course>(recording);
  const auto matches = [](const Part& part, const Context& context) {
    return same(part.context, context);
  };
  if (!course || !std::equal(parts.begin(), parts.end(), course->contexts.begin(),
                             course->contexts.end(), matches)) {
    run_all();
    course = std::make_shared<Course>();
    for (const Part& part : parts) course->contexts.push_back(part.context);
    recording = course;
    return;
  }
  if (!course->recording) course->recording = record(run_all);
  stream_.replay(course->recording);
}

std::shared_ptr<const Recording> CudaDevice::record(const std::function<void()>& work) {
  stream_.begin_capture();
  try {
    work();
  } catch (...) {
    stream_.abandon_capture();
    throw;
  }
  return stream_.end_capture();
}

std::vector<double> CudaDevice::time(const Call* calls, size_t count, const Context& context) {
  std::vector<Mark> marks(count + 1);
  stream_.replay(record([&] {
    marks[0].set(stream_);
    for (size_t i = 0; i < count; ++i) {
      run(calls + i, 1, context);
      marks[i + 1].set(stream_);
    }
  }));
  stream_.sync();
  std::vector<double> seconds;
  for (size_t i = 0; i < count; ++i) seconds.push_back(marks[i + 1].seconds_since(marks[i]));
  return seconds;
}

std::vector<int64_t> CudaDevice::launches(const Call* calls, size_t count, const Context& context) {
  return count_launches(calls, count, context);
}

std::shared_ptr<Memory> DescribedDevice::allocate(int64_t bytes) {
  return std::make_shared<Addresses>(bytes);
}

void DescribedDevice::download(void* to, const void*, int64_t bytes) {
  if (bytes > 0) std::memset(to, 0, static_cast<size_t>(bytes));
}

std::vector<int64_t> DescribedDevice::launches(const Call* calls, size_t count,
                                               const Context& context) {
  return count_launches(calls, count, context);
}

const std::string& CudaDevice::description() {
  if (description_.empty()) {
    const Properties it = properties(index_);
    const cudnn::Handle* const handle = cudnn(stream_);
    description_ = concat(it.name, ", driver ", it.driver, ", CUDA ", it.runtime, ", cuDNN ",
                          handle ? handle->library().version() : 0);
  }
  return description_;
}

const cudnn::Handle* CudaDevice::cudnn(Stream& stream) {
  const auto found = cudnn_.find(&stream);
  if (found != cudnn_.end()) return found->second.get();
  std::unique_ptr<cudnn::Handle> handle;
  if (void* const native = stream.native()) {
    try {
      const cudnn::Library* const library = cudnn::Library::installed();
      PCC_CONFIG(library, cudnn::Library::problem());
      handle = std::make_unique<cudnn::Handle>(*library);
      handle->set_stream(native);
    } catch (const Error& error) {
      handle = nullptr;
      remark(concat("convolutions go without cuDNN: ", error.what()));
    }
  }
  return (cudnn_[&stream] = std::move(handle)).get();
}

std::function<double()> CudaDevice::timed(const std::function<void()>& work) {
  const CurrentStream current(stream_);
  work();
  struct Marks {
    Mark begin, end;
  };
  const auto marks = std::make_shared<Marks>();
  const std::shared_ptr<const Recording> recording = record([&] {
    marks->begin.set(stream_);
    work();
    marks->end.set(stream_);
  });
  return [this, marks, recording] {
    stream_.replay(recording);
    stream_.sync();
    return marks->end.seconds_since(marks->begin);
  };
}

}  // namespace pcc::cuda
