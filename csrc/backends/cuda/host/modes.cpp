#include "backends/cuda/host/modes.h"

#include <cstdlib>
#include <mutex>
#include <string>
#include <type_traits>

namespace pcc::cuda::host {

namespace {

std::string environment() {
  const char* const value = std::getenv("PYCAFFE_CLR_CUDA_HOST");
  return value ? value : "";
}

Modes modes_of_environment() {
  Modes modes;
  const std::string words = environment();
  const auto has = [&](const char* word) { return words.find(word) != std::string::npos; };
  if (has("reversed")) modes.order = Order::reversed;
  if (has("shuffled")) modes.order = Order::shuffled;
  if (has("late")) modes.streams = Streams::late;
  return modes;
}

struct Kept {
  std::mutex mutex;
  Modes modes = modes_of_environment();
  Faults faults = faults_in(environment());
};
Kept& kept() {
  static Kept all;
  return all;
}

}  // namespace

Faults faults_in(const std::string& words) {
  Faults faults;
  const auto read = [&](const std::string& name, auto& number) {
    if (const size_t at = words.find(name + "="); at != std::string::npos)
      number = static_cast<std::remove_reference_t<decltype(number)>>(
          std::strtoll(words.c_str() + at + name.size() + 1, nullptr, 10));
  };
  read("driver", faults.driver);
  read("major", faults.major);
  read("memory", faults.memory_bytes);
  read("kernels", faults.kernels);
  return faults;
}

Modes modes() {
  const std::lock_guard lock(kept().mutex);
  return kept().modes;
}

void set_modes(const Modes& modes) {
  const std::lock_guard lock(kept().mutex);
  kept().modes = modes;
}

Faults faults() {
  const std::lock_guard lock(kept().mutex);
  return kept().faults;
}

void set_faults(const Faults& faults) {
  const std::lock_guard lock(kept().mutex);
  kept().faults = faults;
}

bool fails_now() {
  const std::lock_guard lock(kept().mutex);
  return kept().faults.kernels-- <= 0;
}

}  // namespace pcc::cuda::host
