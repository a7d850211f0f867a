// Tells when the host has waited for a device for longer than it may.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace pcc::cuda {

// Since when a thread has waited, in milliseconds of a clock that never goes back; 0: it does not.
using WaitsSince = std::atomic<int64_t>;

inline int64_t milliseconds_now() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
}

// A wait, for as long as it lives.
class Waiting {
 public:
  explicit Waiting(WaitsSince& since) : since_(since) { since_ = milliseconds_now(); }
  ~Waiting() { since_ = 0; }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  WaitsSince& since_;
};

class Watchdog {
 public:
  // tell: called once, by a thread of its own, when a wait takes more than so many seconds; 0:
  // never.
  Watchdog(std::shared_ptr<const WaitsSince> since, double patience, std::function<void()> tell) {
    if (patience > 0)
      thread_ = std::thread([this, since = std::move(since), patience, tell = std::move(tell)] {
        watch(*since, patience, tell);
      });
  }
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch(const WaitsSince& since, double patience, const std::function<void()>& tell) {
    const std::chrono::duration<double> turn(std::min(1.0, patience / 4));
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, turn, [this] { return over_; })) {
      const int64_t begin = since;
      if (begin == 0 || static_cast<double>(milliseconds_now() - begin) < 1000 * patience) continue;
      lock.unlock();
      return tell();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace pcc::cuda
