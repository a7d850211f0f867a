#include "backends/cuda/host/shared_memory.h"

#include <link.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace pcc::cuda::host {

namespace {

constexpr uint32_t kPoison = 0x7fc0dead;  // a NaN as a float, and, twice, as a double
constexpr size_t kFence = 64;             // bytes behind the end
constexpr size_t kAligned = 128;
constexpr size_t kPiece = 64;

// Whole numbers only: the linker aligns what holds them.
void fill_range(char* begin, size_t bytes) {
  static const std::array<uint32_t, 1024> poison = [] {
    std::array<uint32_t, 1024> all;
    all.fill(kPoison);
    return all;
  }();
  for (size_t done = 0; done < bytes; done += sizeof(poison))
    std::memcpy(begin + done, poison.data(), std::min(sizeof(poison), bytes - done));
}
bool is_filled(const char* begin, size_t bytes) {
  const auto* const words = reinterpret_cast<const uint32_t*>(begin);
  return std::all_of(words, words + bytes / sizeof(uint32_t),
                     [](uint32_t word) { return word == kPoison; });
}

// Calls each(begin, bytes) for the parts of a range that `keep` leaves.
template <typename Each>
void for_each_part(const SharedMemory::Range& range, const SharedMemory::Range& keep, Each each) {
  char* const end = range.begin + range.bytes;
  if (keep.begin < range.begin || keep.begin >= end) return each(range.begin, range.bytes);
  each(range.begin, static_cast<size_t>(keep.begin - range.begin));
  each(keep.begin + keep.bytes, static_cast<size_t>(end - keep.begin - keep.bytes));
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

  kernel_ = &kernels_[kernel];
  // A library's thread-locals may come into being at their first use: not found, looked for again.
  if (!kernel_->library.begin) {
    kernel_->library = thread_locals_of(kernel);
    kernel_->written.resize((kernel_->library.bytes + kPiece - 1) / kPiece);
  }
  ++kernel_->launches;
  learns_ = (kernel_->launches & (kernel_->launches - 1)) == 0;
  opened_ = kernel_->used;
  if (learns_) {
    opened_.resize(kernel_->written.size());
    std::iota(opened_.begin(), opened_.end(), size_t{0});
  }
  before_.clear();
  for (const size_t number : opened_) {
    const Range it = piece(number);
    before_.insert(before_.end(), it.begin, it.begin + it.bytes);
    fill(number);
  }
}

void SharedMemory::close() {
  const char* from = before_.data();
  for (const size_t number : opened_) {
    const Range it = piece(number);
    std::copy_n(from, it.bytes, it.begin);
    from += it.bytes;
  }
}

SharedMemory::Range SharedMemory::piece(size_t number) const {
  const Range& all = kernel_->library;
  const size_t begin = number * kPiece;
  return {all.begin + begin, std::min(kPiece, all.bytes - begin)};
}

void SharedMemory::fill(size_t number) const { for_each_part(piece(number), keep_, fill_range); }

void SharedMemory::poison() const {
  fill_range(begin_, (static_cast<size_t>(bytes_) + kFence + 3) / 4 * 4);
  for (const size_t number : kernel_->used) fill(number);
}

void SharedMemory::learn() {
  if (!learns_) return;
  for (size_t number = 0; number < kernel_->written.size(); ++number) {
    if (kernel_->written[number]) continue;
    bool changed = false;
    for_each_part(piece(number), keep_, [&](const char* begin, size_t bytes) {
      changed = changed || !is_filled(begin, bytes);
    });
    if (!changed) continue;
    kernel_->written[number] = true;
    kernel_->used.push_back(number);
  }
}

bool SharedMemory::intact() const {
  for (size_t i = static_cast<size_t>(bytes_); i < static_cast<size_t>(bytes_) + kFence; ++i) {
    const auto want = static_cast<unsigned char>(kPoison >> (i % 4 * 8));
    if (static_cast<unsigned char>(begin_[i]) != want) return false;
  }
  return true;
}

}  // namespace pcc::cuda::host
