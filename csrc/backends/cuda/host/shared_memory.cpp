#include "backends/cuda/host/shared_memory.h"

#include <link.h>

#include <algorithm>
#include <cstring>

namespace pcc::cuda::host {

namespace {

constexpr uint32_t kPoison = 0x7fc0dead;  // a NaN as a float, and, twice, as a double
constexpr size_t kFence = 64;             // bytes behind the end
constexpr size_t kAligned = 128;

// Whole numbers only: the linker aligns what holds them.
void fill(char* begin, size_t bytes) {
  std::fill_n(reinterpret_cast<uint32_t*>(begin), bytes / sizeof(uint32_t), kPoison);
}

// This thread's copy of all thread-local variables of the library, or program, that holds `code`:
// kernels declare their shared memory so.
SharedMemory::Range thread_locals_of(const void* code) {
  struct Search {
    uintptr_t code;
    SharedMemory::Range found;
  } search{reinterpret_cast<uintptr_t>(code), {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        SharedMemory::Range locals{};
        bool holds = false;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          const uintptr_t begin = info->dlpi_addr + part.p_vaddr;
          if (part.p_type == PT_LOAD)
            holds = holds || (wanted.code >= begin && wanted.code < begin + part.p_memsz);
          if (part.p_type == PT_TLS)
            locals = {static_cast<char*>(info->dlpi_tls_data), part.p_memsz};
        }
        if (!holds) return 0;
        if (locals.begin) wanted.found = locals;
        return 1;
      },
      &search);
  return search.found;
}

}  // namespace

void SharedMemory::open(const void* kernel, int64_t bytes) {
  bytes_ = bytes;
  const size_t whole = kAligned + static_cast<size_t>(bytes) + kFence;
  if (memory_.size() * sizeof(uint32_t) < whole) memory_.resize(whole / sizeof(uint32_t) + 1);
  auto* const first = reinterpret_cast<char*>(memory_.data());
  begin_ = first + (kAligned - reinterpret_cast<uintptr_t>(first) % kAligned) % kAligned;
  // A library's thread-locals may come into being at their first use: not found, looked for again.
  if (kernel != kernel_ || !own_.begin) own_ = thread_locals_of(kernel);
  kernel_ = kernel;
  before_.assign(own_.begin, own_.begin + own_.bytes);
}

void SharedMemory::close() { std::copy(before_.begin(), before_.end(), own_.begin); }

void SharedMemory::poison(const Range& keep) {
  fill(begin_, (static_cast<size_t>(bytes_) + kFence + 3) / 4 * 4);
  char* const end = own_.begin + own_.bytes;
  if (keep.begin < own_.begin || keep.begin >= end) return fill(own_.begin, own_.bytes);
  fill(own_.begin, static_cast<size_t>(keep.begin - own_.begin));
  fill(keep.begin + keep.bytes, static_cast<size_t>(end - keep.begin - keep.bytes));
}

bool SharedMemory::intact() const {
  for (size_t i = static_cast<size_t>(bytes_); i < static_cast<size_t>(bytes_) + kFence; ++i) {
    const auto want = static_cast<unsigned char>(kPoison >> (i % 4 * 8));
    if (static_cast<unsigned char>(begin_[i]) != want) return false;
  }
  return true;
}

}  // namespace pcc::cuda::host
