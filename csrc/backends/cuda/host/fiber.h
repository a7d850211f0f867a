// Fibers: stacks that one thread of the host switches between.
#pragma once

#include <cstddef>
#include <memory>

namespace pcc::cuda::host {

// A place to go on from: on a fiber's own stack, or on the thread's.
class Fiber {
 public:
  Fiber();  // the running thread, as it stands
  // Runs main, which must never return, when it is first switched to. number: among its kind, so
  // that stacks do not all fall on the same lines of a cache.
  Fiber(void (*main)(), int number);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Leaves what runs now, which is `from`, and goes on here.
  void resume(Fiber& from);
  // First thing in main: comes from `from`.
  void arrived(Fiber& from);
  // Forgets where it stood, main begins anew: what lay on its stack is lost, undestroyed.
  void restart();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pcc::cuda::host
