// Copies from the device's memory to shared memory that go on while a thread does something else,
// 16 or 8 bytes each. Source: PTX ISA, cp.async.
#pragma once

#include "backends/cuda/kernel.h"

#ifndef __CUDACC__
#include <vector>

#include "core/check.h"
#endif

namespace pcc::cuda {

// Those that one thread asked for, in groups. Whoever else reads what they bring waits at a barrier
// behind the thread's own wait().
class Copies {
 public:
#ifdef __CUDACC__
  // there: false for zeros; `from` is then not read. Both ends are aligned to so many bytes.
  template <int bytes>
  __device__ __forceinline__ void add(void* to, const void* from, bool there) {
    const auto at = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    if constexpr (bytes == 16)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from),
                   "r"(there ? 16 : 0));
    else
      asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from), "n"(bytes),
                   "r"(there ? bytes : 0));
  }
  __device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;"); }
  // Until all groups but the last `left` have come.
  template <int left>
  __device__ __forceinline__ void wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory");
  }
#else
  template <int bytes>
  void add(void* to, const void* from, bool there) {
    const auto aligned = [](const void* at) {
      return reinterpret_cast<uintptr_t>(at) % bytes == 0;
    };
    PCC_CHECK(aligned(to) && (!there || aligned(from)), "a copy is not aligned to its ", bytes,
              " bytes");
    open_.push_back({to, there ? from : nullptr, bytes});
  }
  void end_group() {
    groups_.push_back(std::move(open_));
    open_.clear();
  }
  // As late as the device may do them.
  template <int left>
  void wait() {
    while (groups_.size() > left) {
      for (const Copy& copy : groups_.front())
        if (copy.from)
          std::memcpy(copy.to, copy.from, copy.bytes);
        else
          std::memset(copy.to, 0, copy.bytes);
      groups_.erase(groups_.begin());
    }
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    size_t bytes;
  };
  std::vector<Copy> open_;
  std::vector<std::vector<Copy> > groups_;
#endif
};

}  // namespace pcc::cuda
