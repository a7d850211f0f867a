#include "backends/cuda/host/grid.h"

#include <pthread.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "backends/cuda/host/block.h"
#include "backends/cuda/host/fiber.h"
#include "backends/cuda/host/modes.h"
#include "backends/cuda/host/shared_memory.h"
#include "core/check.h"

namespace pcc::cuda::host {

constinit thread_local Here* running = nullptr;

namespace {

constexpr int kWarpLanes = 32;

// A fiber that runs threads of the block, one after the other, until one of them has to wait; and
// which that is.
struct Worker {
  Worker(void (*main)(), int number) : fiber(main, number) {}
  Fiber fiber;
  Here here;
  int thread = -1;
};

struct Thread {
  enum class State : uint8_t { fresh, ready, at_barrier, in_collective, done } state = State::fresh;
  Worker* worker = nullptr;  // from its start on
  std::source_location where;
  unsigned mask = 0;
  void* mine = nullptr;
};

std::string text(const std::source_location& where) {
  return concat(where.file_name(), ":", where.line());
}
bool same(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

// Numbers 0 .. count - 1 in the order in which they run.
void put_in_order(std::vector<int64_t>& numbers, int64_t count, std::minstd_rand& random) {
  const Order order = modes().order;
  numbers.resize(static_cast<size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  if (order == Order::reversed) std::reverse(numbers.begin(), numbers.end());
  if (order == Order::shuffled) std::shuffle(numbers.begin(), numbers.end(), random);
}

// What a thread of the host runs grids with, kept from one launch to the next.
class Runner {
 public:
  void run(const Launch& launch);

  static Runner& of_this_thread();

  // In the fiber of a thread of the block.
  void barrier(const std::source_location& where);
  void collective(unsigned mask, void* mine, void (*meet)(void* const*, unsigned),
                  const std::source_location& where);
  int lane() const { return current_->thread % kWarpLanes; }
  void* dynamic() { return shared_.dynamic(); }

 private:
  void run_block(int64_t number);
  void start();
  static void work();
  void work_on();
  void wait(Thread& thread, Thread::State state, const std::source_location& where);
  void resume(Worker& worker);
  [[noreturn]] void throw_stuck() const;
  void give_up();
  std::string name_of(int thread) const;
  std::string doing(const Thread& thread) const;

  const Launch* launch_ = nullptr;
  Dim3 block_;
  std::vector<Thread> threads_;
  std::vector<int64_t> order_, blocks_;
  size_t next_ = 0;  // of order_: the first that has not been started
  int waiting_ = 0;  // at the barrier
  int done_ = 0;
  std::exception_ptr failure_;

  Fiber scheduler_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  Worker* current_ = nullptr;
  SharedMemory shared_{{reinterpret_cast<char*>(&running), sizeof(running)}};
  std::minstd_rand random_;
};

Runner& Runner::of_this_thread() {
  // No thread_local: shared_ fills the memory of those, where kernels keep theirs.
  static const pthread_key_t key = [] {
    pthread_key_t made;
    PCC_CHECK(pthread_key_create(&made, [](void* it) { delete static_cast<Runner*>(it); }) == 0,
              "pthread_key_create failed");
    return made;
  }();
  auto* runner = static_cast<Runner*>(pthread_getspecific(key));
  if (!runner) pthread_setspecific(key, runner = new Runner);
  return *runner;
}

void Runner::run(const Launch& launch) {
  launch_ = &launch;
  threads_.resize(static_cast<size_t>(launch.block.count()));
  put_in_order(blocks_, launch.grid.count(), random_);
  put_in_order(order_, launch.block.count(), random_);
  shared_.open(launch.kernel, launch.shared_bytes);
  for (const int64_t block : blocks_) {
    run_block(block);
    if (failure_) break;
    if (block == blocks_.front() || block == blocks_.back()) shared_.learn();
  }
  shared_.close();
  if (failure_) give_up();
}

void Runner::run_block(int64_t number) {
  const auto x = static_cast<int64_t>(launch_->grid.x), y = static_cast<int64_t>(launch_->grid.y);
  block_ = {static_cast<unsigned>(number % x), static_cast<unsigned>(number / x % y),
            static_cast<unsigned>(number / (x * y))};
  std::fill(threads_.begin(), threads_.end(), Thread{});
  next_ = 0;
  waiting_ = done_ = 0;
  shared_.poison();
  while (next_ < order_.size() && !failure_) start();
  const int count = static_cast<int>(threads_.size());
  while (done_ < count && !failure_) {
    bool moved = false;
    for (const int64_t t : order_) {
      Thread& thread = threads_[static_cast<size_t>(t)];
      if (thread.state != Thread::State::ready) continue;
      moved = true;
      resume(*thread.worker);
      if (failure_) break;
    }
    if (moved || failure_) continue;
    try {
      throw_stuck();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }
  if (!failure_ && !shared_.intact())
    failure_ = std::make_exception_ptr(
        Error(ErrorKind::engine, concat("block ", number, " wrote behind the ",
                                        launch_->shared_bytes, " bytes of shared memory")));
}

// All that is left of the block is forgotten.
void Runner::give_up() {
  idle_.clear();
  for (const auto& worker : workers_) {
    worker->fiber.restart();
    idle_.push_back(worker.get());
  }
  const std::exception_ptr failure = std::exchange(failure_, nullptr);
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    PCC_THROW(engine, "the kernel launched at ", text(launch_->grid.where), ": ", error.what());
  }
}

void Runner::start() {
  if (idle_.empty()) {
    workers_.push_back(std::make_unique<Worker>(work, static_cast<int>(workers_.size())));
    idle_.push_back(workers_.back().get());
  }
  Worker& worker = *idle_.back();
  idle_.pop_back();
  worker.here.block_dim = {static_cast<unsigned>(launch_->block.x),
                           static_cast<unsigned>(launch_->block.y),
                           static_cast<unsigned>(launch_->block.z)};
  worker.here.grid_dim = {static_cast<unsigned>(launch_->grid.x),
                          static_cast<unsigned>(launch_->grid.y),
                          static_cast<unsigned>(launch_->grid.z)};
  worker.here.block = block_;
  resume(worker);
}

void Runner::resume(Worker& worker) {
  current_ = &worker;
  running = &worker.here;
  worker.fiber.resume(scheduler_);
}

void Runner::work() {
  Runner& runner = of_this_thread();
  runner.current_->fiber.arrived(runner.scheduler_);
  for (;;) runner.work_on();
}

void Runner::work_on() {
  Worker& worker = *current_;
  while (next_ < order_.size() && !failure_) {
    worker.thread = static_cast<int>(order_[next_++]);
    const auto t = static_cast<unsigned>(worker.thread);
    const Dim3& size = worker.here.block_dim;
    worker.here.thread = {t % size.x, t / size.x % size.y, t / (size.x * size.y)};
    Thread& thread = threads_[t];
    thread.worker = &worker;
    try {
      launch_->call(launch_->kernel, launch_->params);
    } catch (...) {
      failure_ = std::current_exception();
    }
    thread.state = Thread::State::done;
    ++done_;
  }
  idle_.push_back(&worker);
  scheduler_.resume(worker.fiber);
}

void Runner::wait(Thread& thread, Thread::State state, const std::source_location& where) {
  thread.state = state;
  thread.where = where;
  scheduler_.resume(thread.worker->fiber);
}

void Runner::barrier(const std::source_location& where) {
  Thread& mine = threads_[static_cast<size_t>(current_->thread)];
  if (waiting_ + 1 < static_cast<int>(threads_.size())) {
    ++waiting_;
    return wait(mine, Thread::State::at_barrier, where);
  }
  for (Thread& thread : threads_) {
    if (&thread == &mine) continue;
    PCC_CHECK(same(thread.where, where), "threads wait at different barriers: ", text(thread.where),
              " and ", text(where));
    thread.state = Thread::State::ready;
  }
  waiting_ = 0;
}

void Runner::collective(unsigned mask, void* mine, void (*meet)(void* const*, unsigned),
                        const std::source_location& where) {
  const int number = current_->thread;
  Thread* const warp = &threads_[static_cast<size_t>(number - lane())];
  const int lanes =
      std::min<int>(kWarpLanes, static_cast<int>(threads_.size()) - (number - lane()));
  PCC_CHECK(mask >> lane() & 1, name_of(number), " is not in the mask of its collective at ",
            text(where));
  PCC_CHECK(lanes == kWarpLanes || mask >> lanes == 0, "the mask at ", text(where),
            " names lanes that its block of ", threads_.size(), " threads does not have");
  Thread& self = warp[lane()];
  self.mask = mask;
  self.mine = mine;
  const auto has_come = [&](const Thread& other) {
    return &other == &self || (other.state == Thread::State::in_collective && other.mask == mask &&
                               same(other.where, where));
  };
  // Where lanes run in order, one of the neighbours is still to come, and no other is looked at.
  void* brought[kWarpLanes] = {};
  for (int i = 0; i < lanes + 2; ++i) {
    const int l = i == 0 ? lane() + 1 : i == 1 ? lane() - 1 : i - 2;
    if (l < 0 || l >= lanes || !(mask >> l & 1)) continue;
    if (!has_come(warp[l])) return wait(self, Thread::State::in_collective, where);
    brought[l] = warp[l].mine;
  }
  meet(brought, mask);
  for (int l = 0; l < lanes; ++l)
    if (brought[l] && &warp[l] != &self) warp[l].state = Thread::State::ready;
}

std::string Runner::name_of(int thread) const {
  return concat("thread ", thread, " of block (", block_.x, ", ", block_.y, ", ", block_.z, ")");
}

std::string Runner::doing(const Thread& thread) const {
  switch (thread.state) {
    case Thread::State::done:
      return "has returned";
    case Thread::State::at_barrier:
      return concat("waits at the barrier at ", text(thread.where));
    default: {
      std::ostringstream mask;
      mask << std::hex << thread.mask;
      return concat("waits for the lanes ", mask.str(), " at ", text(thread.where));
    }
  }
}

// Two threads that show why nobody can go on.
void Runner::throw_stuck() const {
  const auto waits = [](const Thread& thread) { return thread.state != Thread::State::done; };
  const auto first = std::find_if(threads_.begin(), threads_.end(), waits);
  const auto number = [&](auto at) { return static_cast<int>(at - threads_.begin()); };
  auto other = std::find_if(threads_.begin(), threads_.end(), [&](const Thread& thread) {
    return thread.state != first->state || thread.mask != first->mask ||
           !same(thread.where, first->where);
  });
  if (other == threads_.end()) other = first;
  PCC_THROW(engine, name_of(number(first)), " ", doing(*first), ", and thread ", number(other), " ",
            doing(*other));
}

}  // namespace

int lane_index() { return Runner::of_this_thread().lane(); }
void barrier(const std::source_location& where) { Runner::of_this_thread().barrier(where); }
void collective(unsigned mask, void* mine, void (*meet)(void* const*, unsigned),
                const std::source_location& where) {
  Runner::of_this_thread().collective(mask, mine, meet, where);
}
void* dynamic_shared() { return Runner::of_this_thread().dynamic(); }

void run_grid(const Launch& launch) { Runner::of_this_thread().run(launch); }

}  // namespace pcc::cuda::host
