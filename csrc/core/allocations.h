// Counts what a piece of work allocates, libraries included: the proof that an iteration allocates
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace pcc {

struct Allocations {
  struct From {
    std::string module;  // file name of the library or program that called
    int64_t calls = 0;
  };
  int64_t calls = 0, bytes = 0;
  int64_t largest = 0;  // bytes of one
  std::vector<From> from;
};

// Runs work() and counts the calls of malloc, its kin, operator new and mmap by any module that is
// loaded, in all threads; what the C library allocates for itself is not seen. None where the
// system does not let us (not Linux with glibc). One count at a time; nothing else may load
// libraries meanwhile.
std::optional<Allocations> count_allocations(const std::function<void()>& work);

}  // namespace pcc
