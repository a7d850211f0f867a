// The runtime on the host, for tests: memory that only copies and kernels can reach, kernels thread
// by thread (grid.h), streams as queues, recordings as lists (recording.h). What may go wrong on a
// machine with a GPU is for tests to choose (modes.h).
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "backends/cuda/host/grid.h"
#include "backends/cuda/host/guarded_memory.h"
#include "backends/cuda/host/library.h"
#include "backends/cuda/host/modes.h"
#include "backends/cuda/host/recording.h"
#include "backends/cuda/runtime.h"
#include "core/check.h"

namespace pcc::cuda {

namespace {

constexpr int kDevices = 8;

struct Processor {
  explicit Processor(int number) : number(number) {}
  void check_alive() const {
    if (lost)
      throw_failed(concat("work on CUDA device ", number), "a kernel failed, as a test wanted it");
  }

  const int number;
  std::shared_ptr<GuardedMemory> memory = std::make_shared<GuardedMemory>();
  std::atomic<bool> lost{false};  // a kernel of it failed
};

// As long as one of its streams lives, or what came from it.
std::shared_ptr<Processor> processor_of(int device) {
  static std::mutex mutex;
  static std::weak_ptr<Processor> all[kDevices];
  const std::lock_guard lock(mutex);
  std::shared_ptr<Processor> processor = all[device].lock();
  if (!processor) all[device] = processor = std::make_shared<Processor>(device);
  return processor;
}

// A launch with parameters of its own.
class KeptLaunch {
 public:
  KeptLaunch(std::shared_ptr<Processor> processor, const Launch& launch)
      : processor_(std::move(processor)), launch_(launch) {
    size_t room = 0;
    const auto place = [&](size_t i) {
      const size_t at = room;
      room += (launch.sizes[i] + kAligned - 1) / kAligned * kAligned;
      return at;
    };
    std::vector<size_t> places;
    for (size_t i = 0; i < launch.count; ++i) places.push_back(place(i));
    bytes_ =
        std::shared_ptr<char[]>(static_cast<char*>(std::aligned_alloc(kAligned, room + kAligned)),
                                [](char* memory) { std::free(memory); });
    for (size_t i = 0; i < launch.count; ++i) {
      params_.push_back(bytes_.get() + places[i]);
      std::memcpy(params_.back(), launch.params[i], launch.sizes[i]);
    }
    params_.push_back(nullptr);
  }
  void operator()() const {
    Launch launch = launch_;
    launch.params = params_.data();
    if (host::fails_now()) processor_->lost = true;
    if (!processor_->lost) host::run_grid(launch);
  }

 private:
  static constexpr size_t kAligned = alignof(std::max_align_t);
  std::shared_ptr<Processor> processor_;
  Launch launch_;
  std::shared_ptr<char[]> bytes_;
  std::vector<void*> params_;
};

}  // namespace

struct Stream::State {
  std::shared_ptr<Processor> processor;
  std::shared_ptr<Queue> queue = std::make_shared<Queue>();
  // What it records, from the beginning or since it waited for an event of that, as which branch.
  std::shared_ptr<Capture> capture;
  int branch = 0;

  bool capturing() const { return capture && capture->open; }
  // With access to the device's memory only while it runs.
  void ask(Work work) {
    if (capturing()) return capture->recording->add(branch, std::move(work));
    processor->check_alive();
    queue->add([processor = processor, work = std::move(work)] {
      const GuardedMemory::Access access(*processor->memory);
      if (!processor->lost) work();
    });
  }
  // With access to the blocks that these lie in, which is quicker to be had.
  void ask(Work work, const void* to, const void* from) {
    if (capturing()) return ask(std::move(work));
    processor->check_alive();
    queue->add([=, processor = processor, work = std::move(work)] {
      const GuardedMemory::BlockAccess writes(*processor->memory, to),
          reads(*processor->memory, from);
      if (!processor->lost) work();
    });
  }
  void forbid_while_capturing(const char* what) const {
    PCC_CHECK(!capturing(), what, " while a stream records its work");
  }
};

int device_count(std::string* why) {
  constexpr int kNeeded = 13000;
  const int driver = host::faults().driver;
  if (driver >= kNeeded) return kDevices;
  if (why) *why = driver_problem(driver, kNeeded);
  return 0;
}

Properties properties(int) {
  const host::Faults faults = host::faults();
  return {.name = "host",
          .major = faults.major,
          .minor = faults.minor,
          .multiprocessors = 4,
          .memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE),
          .shared_bytes = 99 << 10};  // the least of all devices from compute capability 8.0 on
}

Stream::Stream(int device) : state_(std::make_unique<State>()) {
  require_device(device);
  state_->processor = processor_of(device);
}

Stream::~Stream() {
  try {
    sync();
  } catch (const std::exception&) {  // whoever waited for the work was told
  }
  if (counters_) free(counters_);
}

void* Stream::allocate(int64_t bytes) {
  state_->forbid_while_capturing("memory is allocated");
  const Processor& processor = *state_->processor;
  processor.check_alive();
  const int64_t total = host::faults().memory_bytes, left = total - processor.memory->bytes();
  if (bytes > left) throw_out_of_memory(processor.number, bytes, std::max<int64_t>(left, 0), total);
  return processor.memory->allocate(bytes);
}

void Stream::free(void* memory) noexcept {
  try {
    sync();
  } catch (const std::exception&) {
  }
  state_->processor->memory->free(static_cast<char*>(memory));
}

void* Stream::allocate_host(int64_t bytes) {
  state_->forbid_while_capturing("memory is allocated");
  void* const memory = std::malloc(static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  PCC_CHECK(memory, "out of memory: ", bytes, " bytes wanted");
  return memory;
}

void Stream::free_host(void* memory) noexcept {
  try {
    sync();
  } catch (const std::exception&) {
  }
  std::free(memory);
}

void Stream::upload(void* to, const void* from, int64_t bytes) {
  state_->forbid_while_capturing("memory of the host is read");
  const char* const first = static_cast<const char*>(from);
  state_->ask(
      [to, kept = std::vector<char>(first, first + bytes)] {
        std::copy(kept.begin(), kept.end(), static_cast<char*>(to));
      },
      to, nullptr);
}

void Stream::upload_later(void* to, const void* from, int64_t bytes) {
  state_->forbid_while_capturing("memory of the host is read");
  if (bytes > 0)
    state_->ask([=] { std::memcpy(to, from, static_cast<size_t>(bytes)); }, to, nullptr);
}

void Stream::download(void* to, const void* from, int64_t bytes) {
  state_->forbid_while_capturing("memory of the host is written");
  sync();
  const GuardedMemory::BlockAccess access(*state_->processor->memory, from);
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Stream::copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) state_->ask([=] { std::memmove(to, from, static_cast<size_t>(bytes)); }, to, from);
}

void Stream::fill(void* to, unsigned char byte, int64_t bytes) {
  if (bytes > 0)
    state_->ask([=] { std::memset(to, byte, static_cast<size_t>(bytes)); }, to, nullptr);
}

void Stream::sync() {
  state_->forbid_while_capturing("the host waits");
  state_->queue->finish(state_->queue->asked());
  state_->processor->check_alive();
}

void Stream::begin_capture() {
  state_->forbid_while_capturing("recording begins");
  state_->capture = std::make_shared<Capture>();
  state_->branch = 0;
}

std::shared_ptr<const Recording> Stream::end_capture() {
  PCC_CHECK(state_->capturing() && state_->branch == 0,
            "the end of a recording that never began on this stream");
  const std::shared_ptr<Capture> capture = std::move(state_->capture);
  capture->open = false;
  capture->recording->check_joined();
  // Streams and events that took part keep the capture, and what is recorded may keep them.
  return std::move(capture->recording);
}

void Stream::abandon_capture() noexcept {
  if (const std::shared_ptr<Capture> capture = std::move(state_->capture)) {
    capture->open = false;
    capture->recording.reset();
  }
}

void* Stream::native() { return nullptr; }

bool Stream::capturing() const { return state_->capturing(); }

int Stream::device() const { return state_->processor->number; }

void Stream::replay(const std::shared_ptr<const Recording>& recording) {
  state_->forbid_while_capturing("a recording is replayed");
  state_->ask([recording] { recording->replay(host::modes().streams == host::Streams::late); });
}

void Stream::launch(const Launch& what) {
  check_limits(what, properties(0).shared_bytes);
  state_->ask(KeptLaunch(state_->processor, what));
}

std::string name_of_kernel(const void*) { return ""; }

struct Event::State {
  std::shared_ptr<Processor> processor;
  std::shared_ptr<Queue> queue;  // null: never recorded, or in a capture
  int64_t position = 0;
  std::shared_ptr<Capture> capture;
  int mark = 0;
};

Event::Event() : state_(std::make_unique<State>()) {}
Event::~Event() = default;

void Event::record(Stream& stream) {
  Stream::State& from = stream.state();
  *state_ = {};
  if (from.capturing()) {
    state_->capture = from.capture;
    state_->mark = from.capture->recording->add_mark(from.branch);
  } else {
    state_->processor = from.processor;
    state_->queue = from.queue;
    state_->position = from.queue->asked();
  }
}

void Event::wait(Stream& stream) const {
  Stream::State& to = stream.state();
  if (state_->capture) {
    PCC_CHECK(state_->capture->open, "a stream waits for an event of a recording that has ended");
    PCC_CHECK(!to.capturing() || to.capture == state_->capture,
              "a stream that records waits for an event of another recording");
    if (!to.capturing()) {
      to.capture = state_->capture;
      to.branch = to.capture->recording->add_branch();
    }
    return to.capture->recording->add_wait(to.branch, state_->mark);
  }
  if (!state_->queue) return;
  to.forbid_while_capturing("an event from outside is waited for");
  to.queue->add([queue = state_->queue, position = state_->position] { queue->finish(position); });
}

void Event::sync() const {
  PCC_CHECK(!state_->capture, "the host waits for an event of a recording");
  if (!state_->queue) return;
  state_->queue->finish(state_->position);
  state_->processor->check_alive();
}

namespace {

double time_of_day() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}
std::atomic<double (*)()> clock_of_marks = time_of_day;

}  // namespace

void host::set_clock(double (*clock)()) { clock_of_marks = clock ? clock : time_of_day; }

struct Mark::State {
  std::shared_ptr<double> when = std::make_shared<double>(0);
};

Mark::Mark() : state_(std::make_unique<State>()) {}
Mark::~Mark() = default;

void Mark::set(Stream& stream) {
  stream.state().ask([when = state_->when] { *when = clock_of_marks.load()(); });
}

double Mark::seconds_since(const Mark& earlier) const {
  return *state_->when - *earlier.state_->when;
}

namespace host {

void ask(Stream& stream, std::function<void()> work) { stream.state().ask(std::move(work)); }

}  // namespace host

}  // namespace pcc::cuda
