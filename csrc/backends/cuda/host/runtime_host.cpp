// The runtime on the host, for tests: memory that only copies and kernels can reach, kernels thread
// by thread (grid.h), streams as queues (modes.h), recordings as lists.
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "backends/cuda/host/grid.h"
#include "backends/cuda/host/guarded_memory.h"
#include "backends/cuda/host/library.h"
#include "backends/cuda/host/modes.h"
#include "backends/cuda/runtime.h"
#include "core/check.h"

namespace pcc::cuda {

namespace {

using Work = std::function<void()>;

constexpr int kDevices = 8;

// What a stream was asked for and has not done yet.
class Queue {
 public:
  void add(Work work) {
    ++asked_;
    if (host::modes().streams == host::Streams::now && waiting_.empty()) {
      ++done_;
      work();
    } else {
      waiting_.push_back(std::move(work));
    }
  }
  int64_t asked() const { return asked_; }
  // Until so many of all that were ever asked for are done.
  void finish(int64_t count) {
    while (done_ < count) {
      const Work work = std::move(waiting_.front());
      waiting_.pop_front();
      ++done_;
      work();
    }
  }

 private:
  std::deque<Work> waiting_;
  int64_t asked_ = 0, done_ = 0;
};

// That of a device, as long as one of its streams lives, or of what came from it.
std::shared_ptr<GuardedMemory> memory_of(int device) {
  static std::mutex mutex;
  static std::weak_ptr<GuardedMemory> all[kDevices];
  const std::lock_guard lock(mutex);
  std::shared_ptr<GuardedMemory> memory = all[device].lock();
  if (!memory) all[device] = memory = std::make_shared<GuardedMemory>();
  return memory;
}

// A launch with parameters of its own.
class KeptLaunch {
 public:
  explicit KeptLaunch(const Launch& launch) : launch_(launch) {
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
    host::run_grid(launch);
  }

 private:
  static constexpr size_t kAligned = alignof(std::max_align_t);
  Launch launch_;
  std::shared_ptr<char[]> bytes_;
  std::vector<void*> params_;
};

}  // namespace

class Recording {
 public:
  std::vector<Work> works;
};

struct Stream::State {
  std::shared_ptr<GuardedMemory> memory;
  std::shared_ptr<Queue> queue = std::make_shared<Queue>();
  std::shared_ptr<Recording> recording;  // null: not capturing

  // With access to the device's memory only while it runs.
  void ask(Work work) {
    if (recording) return recording->works.push_back(std::move(work));
    queue->add([memory = memory, work = std::move(work)] {
      const GuardedMemory::Access access(*memory);
      work();
    });
  }
  void forbid_while_capturing(const char* what) const {
    PCC_CHECK(!recording, what, " while a stream records its work");
  }
};

int device_count(std::string*) { return kDevices; }

Properties properties(int) {
  return {.name = "host",
          .major = 8,
          .minor = 6,
          .multiprocessors = 4,
          .memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE),
          .shared_bytes = 99 << 10};  // the least of all devices from compute capability 8.0 on
}

Stream::Stream(int device) : state_(std::make_unique<State>()) {
  PCC_CONFIG(device >= 0 && device < kDevices, "no CUDA device ", device, ": there are ", kDevices);
  state_->memory = memory_of(device);
}

Stream::~Stream() {
  try {
    sync();
  } catch (const std::exception&) {  // whoever waited for the work was told
  }
}

void* Stream::allocate(int64_t bytes) {
  state_->forbid_while_capturing("memory is allocated");
  return state_->memory->allocate(bytes);
}

void Stream::free(void* memory) noexcept {
  try {
    sync();
  } catch (const std::exception&) {
  }
  state_->memory->free(static_cast<char*>(memory));
}

void Stream::upload(void* to, const void* from, int64_t bytes) {
  state_->forbid_while_capturing("memory of the host is read");
  const char* const first = static_cast<const char*>(from);
  state_->ask([to, kept = std::vector<char>(first, first + bytes)] {
    std::copy(kept.begin(), kept.end(), static_cast<char*>(to));
  });
}

void Stream::download(void* to, const void* from, int64_t bytes) {
  state_->forbid_while_capturing("memory of the host is written");
  sync();
  const GuardedMemory::Access access(*state_->memory);
  if (bytes > 0) std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Stream::copy(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) state_->ask([=] { std::memmove(to, from, static_cast<size_t>(bytes)); });
}

void Stream::fill(void* to, unsigned char byte, int64_t bytes) {
  if (bytes > 0) state_->ask([=] { std::memset(to, byte, static_cast<size_t>(bytes)); });
}

void Stream::sync() {
  state_->forbid_while_capturing("the host waits");
  state_->queue->finish(state_->queue->asked());
}

void Stream::begin_capture() {
  state_->forbid_while_capturing("recording begins");
  state_->recording = std::make_shared<Recording>();
}

std::shared_ptr<const Recording> Stream::end_capture() {
  PCC_CHECK(state_->recording, "the end of a recording that never began");
  return std::move(state_->recording);
}

void Stream::abandon_capture() noexcept { state_->recording = nullptr; }

void* Stream::native() { return nullptr; }

bool Stream::capturing() const { return state_->recording != nullptr; }

void Stream::replay(const std::shared_ptr<const Recording>& recording) {
  state_->forbid_while_capturing("a recording is replayed");
  state_->ask([recording] {
    for (const Work& work : recording->works) work();
  });
}

void launch(Stream& stream, const Launch& what) {
  check_limits(what, properties(0).shared_bytes);
  stream.state().ask(KeptLaunch(what));
}

struct Event::State {
  std::shared_ptr<Queue> queue;  // null: never recorded
  int64_t position = 0;
};

Event::Event() : state_(std::make_unique<State>()) {}
Event::~Event() = default;

void Event::record(Stream& stream) {
  stream.state().forbid_while_capturing("an event is recorded");
  const std::shared_ptr<Queue>& queue = stream.state().queue;
  *state_ = {queue, queue->asked()};
}

void Event::wait(Stream& stream) const {
  stream.state().forbid_while_capturing("an event is waited for");
  if (!state_->queue) return;
  stream.state().queue->add([state = *state_] { state.queue->finish(state.position); });
}

void Event::sync() const {
  if (state_->queue) state_->queue->finish(state_->position);
}

struct Mark::State {
  using Clock = std::chrono::steady_clock;
  std::shared_ptr<Clock::time_point> when = std::make_shared<Clock::time_point>();
};

Mark::Mark() : state_(std::make_unique<State>()) {}
Mark::~Mark() = default;

void Mark::set(Stream& stream) {
  stream.state().ask([when = state_->when] { *when = State::Clock::now(); });
}

double Mark::seconds_since(const Mark& earlier) const {
  return std::chrono::duration<double>(*state_->when - *earlier.state_->when).count();
}

namespace host {

void ask(Stream& stream, std::function<void()> work) { stream.state().ask(std::move(work)); }

namespace {

Modes modes_of_environment() {
  Modes modes;
  const char* const value = std::getenv("PYCAFFE_CLR_CUDA_HOST");
  const std::string words = value ? value : "";
  const auto has = [&](const char* word) { return words.find(word) != std::string::npos; };
  if (has("reversed")) modes.order = Order::reversed;
  if (has("shuffled")) modes.order = Order::shuffled;
  if (has("late")) modes.streams = Streams::late;
  return modes;
}

struct Kept {
  std::mutex mutex;
  Modes modes = modes_of_environment();
};
Kept& kept() {
  static Kept all;
  return all;
}

}  // namespace

Modes modes() {
  const std::lock_guard lock(kept().mutex);
  return kept().modes;
}

void set_modes(const Modes& modes) {
  const std::lock_guard lock(kept().mutex);
  kept().modes = modes;
}

}  // namespace host

}  // namespace pcc::cuda
