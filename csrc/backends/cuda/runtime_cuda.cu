// The runtime over CUDA's own, linked statically: without a driver this loads, and finds no device.
#include <cuda_runtime.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <set>
#include <utility>

#include "backends/cuda/runtime.h"
#include "core/check.h"

namespace pcc::cuda {

namespace {

// Throws an engine error for a call that failed.
void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // of calls that may go on after it; others keep failing
  throw_failed(call, concat(cudaGetErrorString(status), " (", cudaGetErrorName(status), ")"));
}
#define PCC_CUDA(call) check(call, #call)

// Lets a kernel ask for all the dynamic shared memory that a block can have: by itself it gets 48
// KiB at most. Once and for all, as the limit is the kernel's, and not the launch's: neither what
// another thread launches nor what was recorded may find a lower one.
cudaError_t allow_shared_memory(const void* kernel, int device, int64_t most) {
  static std::mutex mutex;
  static std::set<std::pair<int, const void*>> allowed;
  const std::lock_guard lock(mutex);
  if (allowed.count({device, kernel})) return cudaSuccess;
  cudaFuncAttributes its;
  cudaError_t status = cudaFuncGetAttributes(&its, kernel);
  if (status == cudaSuccess)
    status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(most - static_cast<int64_t>(its.sharedSizeBytes)));
  if (status == cudaSuccess) allowed.insert({device, kernel});
  return status;
}

}  // namespace

int device_count(std::string* why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (why)
    *why = status == cudaErrorInsufficientDriver ? driver_problem(driver, CUDART_VERSION)
           : status == cudaSuccess               ? "the driver knows of none"
                                                 : cudaGetErrorString(status);
  return 0;
}

Properties properties(int device) {
  cudaDeviceProp all;
  PCC_CUDA(cudaGetDeviceProperties(&all, device));
  int driver = 0;
  PCC_CUDA(cudaDriverGetVersion(&driver));
  return {.name = all.name,
          .major = all.major,
          .minor = all.minor,
          .multiprocessors = all.multiProcessorCount,
          .driver = driver,
          .runtime = CUDART_VERSION,
          .memory_bytes = static_cast<int64_t>(all.totalGlobalMem),
          .shared_bytes = static_cast<int64_t>(all.sharedMemPerBlockOptin)};
}

class Recording {
 public:
  Recording(int device, cudaGraph_t graph) : device_(device) {
    const cudaError_t status = cudaGraphInstantiate(&work_, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
  }
  // A replay that is still going on ends first: CUDA sees to it.
  ~Recording() {
    cudaSetDevice(device_);
    cudaGraphExecDestroy(work_);
  }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  cudaGraphExec_t work() const { return work_; }

 private:
  int device_;
  cudaGraphExec_t work_ = nullptr;
};

struct Stream::State {
  int device;
  int64_t shared_bytes = 0;
  cudaStream_t stream = nullptr;

  // CUDA's calls go to the device that the calling thread has chosen.
  cudaStream_t choose() const {
    PCC_CUDA(cudaSetDevice(device));
    return stream;
  }
};

Stream::Stream(int device) : state_(std::make_unique<State>(State{device})) {
  require_device(device);
  state_->shared_bytes = properties(device).shared_bytes;
  PCC_CUDA(cudaSetDevice(device));
  // Apart from the legacy stream, which would wait for all others and cannot be recorded.
  PCC_CUDA(cudaStreamCreateWithFlags(&state_->stream, cudaStreamNonBlocking));
}

Stream::~Stream() {
  cudaSetDevice(state_->device);
  cudaStreamSynchronize(state_->stream);
  cudaFree(counters_);
  cudaStreamDestroy(state_->stream);
}

void* Stream::allocate(int64_t bytes) {
  const cudaStream_t stream = state_->choose();
  const size_t wanted = static_cast<size_t>(std::max<int64_t>(bytes, 1));
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, wanted);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t left = 0, total = 0;
    cudaMemGetInfo(&left, &total);
    throw_out_of_memory(state_->device, bytes, static_cast<int64_t>(left),
                        static_cast<int64_t>(total));
  }
  check(status, "cudaMalloc");
  const cudaError_t cleared = cudaMemsetAsync(memory, 0, wanted, stream);
  if (cleared != cudaSuccess) cudaFree(memory);
  check(cleared, "cudaMemsetAsync");
  return memory;
}

void Stream::free(void* memory) noexcept {
  cudaSetDevice(state_->device);
  cudaStreamSynchronize(state_->stream);
  cudaFree(memory);
}

void* Stream::allocate_host(int64_t bytes) {
  state_->choose();
  void* memory = nullptr;
  PCC_CUDA(cudaHostAlloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)),
                         cudaHostAllocPortable));
  return memory;
}

void Stream::free_host(void* memory) noexcept {
  cudaSetDevice(state_->device);
  cudaStreamSynchronize(state_->stream);
  cudaFreeHost(memory);
}

// Of little memory CUDA takes a copy before it returns; of more it says so only where that is
// neither pinned nor such as the device reads by itself, which all of a host's memory may be.
void Stream::upload(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kTaken = 64 << 10;
  upload_later(to, from, bytes);
  if (bytes > kTaken) sync();
}

void Stream::upload_later(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  PCC_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                           state_->choose()));
}

void Stream::download(void* to, const void* from, int64_t bytes) {
  if (bytes > 0)
    PCC_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                             state_->choose()));
  sync();
}

void Stream::copy(void* to, const void* from, int64_t bytes) {
  if (bytes == 0) return;
  PCC_CUDA(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                           state_->choose()));
}

void Stream::fill(void* to, unsigned char byte, int64_t bytes) {
  if (bytes == 0) return;
  PCC_CUDA(cudaMemsetAsync(to, byte, static_cast<size_t>(bytes), state_->choose()));
}

void Stream::sync() { PCC_CUDA(cudaStreamSynchronize(state_->choose())); }

void Stream::begin_capture() {
  // Of this thread's calls alone: other nets go on as they are.
  PCC_CUDA(cudaStreamBeginCapture(state_->choose(), cudaStreamCaptureModeThreadLocal));
}

std::shared_ptr<const Recording> Stream::end_capture() {
  cudaGraph_t graph = nullptr;
  PCC_CUDA(cudaStreamEndCapture(state_->choose(), &graph));
  return std::make_shared<const Recording>(state_->device, graph);
}

void Stream::abandon_capture() noexcept {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(state_->stream, &graph);
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
}

void* Stream::native() { return state_->choose(); }

bool Stream::capturing() const {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  PCC_CUDA(cudaStreamIsCapturing(state_->stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

int Stream::device() const { return state_->device; }

void Stream::replay(const std::shared_ptr<const Recording>& recording) {
  PCC_CUDA(cudaGraphLaunch(recording->work(), state_->choose()));
}

void Stream::launch(const Launch& what) {
  const cudaStream_t to = state_->choose();
  check_limits(what, state_->shared_bytes);
  const auto dim = [](const Dim& of) {
    return dim3(static_cast<unsigned>(of.x), static_cast<unsigned>(of.y),
                static_cast<unsigned>(of.z));
  };
  const auto shared = static_cast<size_t>(what.shared_bytes);
  cudaError_t status = cudaSuccess;
  if (what.shared_bytes > 0)
    status = allow_shared_memory(what.kernel, state_->device, state_->shared_bytes);
  if (status == cudaSuccess)
    status = cudaLaunchKernel(what.kernel, dim(what.grid), dim(what.block),
                              const_cast<void**>(what.params), shared, to);
  if (status != cudaSuccess) check(status, place_of(what).c_str());
}

std::string name_of_kernel(const void* kernel) {
  const char* name = nullptr;
  if (cudaFuncGetName(&name, kernel) != cudaSuccess || !name) return "";
  char* const plain = abi::__cxa_demangle(name, nullptr, nullptr, nullptr);
  std::string text = plain ? plain : name;
  std::free(plain);
  return text;
}

struct Event::State {
  cudaEvent_t event = nullptr;  // null: never recorded
};

Event::Event() : state_(std::make_unique<State>()) {}

Event::~Event() {
  if (state_->event) cudaEventDestroy(state_->event);
}

void Event::record(Stream& stream) {
  const cudaStream_t from = stream.state().choose();
  if (!state_->event) PCC_CUDA(cudaEventCreateWithFlags(&state_->event, cudaEventDisableTiming));
  PCC_CUDA(cudaEventRecord(state_->event, from));
}

void Event::wait(Stream& stream) const {
  if (state_->event) PCC_CUDA(cudaStreamWaitEvent(stream.state().choose(), state_->event, 0));
}

void Event::sync() const {
  if (state_->event) PCC_CUDA(cudaEventSynchronize(state_->event));
}

struct Mark::State {
  cudaEvent_t event = nullptr;  // null: never set
};

Mark::Mark() : state_(std::make_unique<State>()) {}

Mark::~Mark() {
  if (state_->event) cudaEventDestroy(state_->event);
}

void Mark::set(Stream& stream) {
  const cudaStream_t in = stream.state().choose();
  if (!state_->event) PCC_CUDA(cudaEventCreate(&state_->event));
  // In a recording it is work of its own, not a dependence between streams.
  PCC_CUDA(cudaEventRecordWithFlags(
      state_->event, in, stream.capturing() ? cudaEventRecordExternal : cudaEventRecordDefault));
}

double Mark::seconds_since(const Mark& earlier) const {
  float milliseconds = 0;
  PCC_CUDA(cudaEventElapsedTime(&milliseconds, earlier.state_->event, state_->event));
  return static_cast<double>(milliseconds) * 1e-3;
}

}  // namespace pcc::cuda
