#include "backends/cuda/host/fiber.h"

#include <sys/mman.h>

#include <cstdint>

#include "core/check.h"

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define PCC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PCC_ASAN 1
#endif
#endif
#ifdef PCC_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace pcc::cuda::host {

namespace {

#ifdef PCC_ASAN
constexpr size_t kStack = size_t{256} << 10;  // frames grow there
#else
constexpr size_t kStack = size_t{64} << 10;
#endif
constexpr size_t kGuard = 4096;  // below it: running over ends the process

}  // namespace

#if defined(__x86_64__)

// Saves the registers that a call must keep on this stack, and takes those of the other.
extern "C" __attribute__((visibility("hidden"))) void pcc_switch_stacks(void** from, void* to);
asm(R"(
  .text
  .p2align 4
  .hidden pcc_switch_stacks
  .globl pcc_switch_stacks
  .type pcc_switch_stacks, @function
pcc_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size pcc_switch_stacks, . - pcc_switch_stacks
)");

struct Fiber::State {
  void* place = nullptr;  // its stack pointer while it does not run

  void begin(char* stack, size_t bytes, void (*main)()) {
    auto** top = reinterpret_cast<void**>(stack + bytes);
    *--top = nullptr;  // where main would return to
    *--top = reinterpret_cast<void*>(main);
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    place = top;
  }
  void go_to(State& other) { pcc_switch_stacks(&place, other.place); }

#else

struct Fiber::State {
  ucontext_t place;

  void begin(char* stack, size_t bytes, void (*main)()) {
    PCC_CHECK(getcontext(&place) == 0, "getcontext failed");
    place.uc_stack.ss_sp = stack;
    place.uc_stack.ss_size = bytes;
    place.uc_link = nullptr;
    makecontext(&place, main, 0);
  }
  void go_to(State& other) { swapcontext(&place, &other.place); }

#endif

  void (*main)() = nullptr;
  char* mapping = nullptr;  // none: the thread's own stack
  const void* stack = nullptr;
  size_t bytes = 0;
  void* shadow = nullptr;  // the address sanitizer's
  void* track = nullptr;   // the thread sanitizer's

  void before([[maybe_unused]] State& other) {
#ifdef PCC_ASAN
    __sanitizer_start_switch_fiber(&shadow, other.stack, other.bytes);
#endif
#ifdef __SANITIZE_THREAD__
    if (!track) track = __tsan_get_current_fiber();
    if (!other.track) other.track = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(other.track, 0);
#endif
  }
  void after() {
#ifdef PCC_ASAN
    __sanitizer_finish_switch_fiber(shadow, nullptr, nullptr);
#endif
  }
  void forget_track() {
#ifdef __SANITIZE_THREAD__
    if (track) __tsan_destroy_fiber(track);
#endif
    track = nullptr;
  }
  void restart() {
#ifdef PCC_ASAN
    __asan_unpoison_memory_region(stack, bytes);
#endif
    shadow = nullptr;
    forget_track();
    begin(static_cast<char*>(const_cast<void*>(stack)), bytes, main);
  }
};

Fiber::Fiber() : state_(std::make_unique<State>()) {}

Fiber::Fiber(void (*main)(), int number) : state_(std::make_unique<State>()) {
  void* const mapping = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PCC_CHECK(mapping != MAP_FAILED, "out of memory for the stacks of a block's threads");
  state_->mapping = static_cast<char*>(mapping);
  PCC_CHECK(mprotect(mapping, kGuard, PROT_NONE) == 0, "mprotect failed");
  state_->main = main;
  state_->stack = state_->mapping + kGuard;
  state_->bytes = kStack - static_cast<size_t>(number % 16) * 256;
  state_->restart();
}

Fiber::~Fiber() {
  if (!state_->mapping) return;
#ifdef PCC_ASAN
  // Or whatever comes to lie there next inherits the marks of the stack's frames.
  __asan_unpoison_memory_region(state_->mapping, kGuard + kStack);
#endif
  state_->forget_track();
  munmap(state_->mapping, kGuard + kStack);
}

void Fiber::resume(Fiber& from) {
  from.state_->before(*state_);
  from.state_->go_to(*state_);
  from.state_->after();
}

void Fiber::arrived(Fiber& from) {
#ifdef PCC_ASAN
  __sanitizer_finish_switch_fiber(nullptr, &from.state_->stack, &from.state_->bytes);
#else
  (void)from;
#endif
}

void Fiber::restart() { state_->restart(); }

}  // namespace pcc::cuda::host
