#include "core/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>

namespace pcc {

namespace {

std::atomic<int>& process_threads() {
  static std::atomic<int> count = omp_get_max_threads();
  return count;
}

thread_local int scope_threads = 0;  // 0: outside of any scope

// OpenMP's threads do not live on in a forked child, whose first loop on several would wait for
// them for ever: there everything runs on one.
std::atomic<bool> lacks_threads = false;

void note_threads() {
  static const int done = pthread_atfork(nullptr, nullptr, [] { lacks_threads = true; });
  static_cast<void>(done);
}

}  // namespace

int threads() {
  if (lacks_threads) return 1;
  return scope_threads ? scope_threads : process_threads().load();
}

void set_threads(int count) {
  process_threads() = std::max(1, count);
  // For oneDNN outside of scopes.
  if (!scope_threads) omp_set_num_threads(std::max(1, count));
}

ThreadScope::ThreadScope(int count) : outer_(scope_threads), outer_openmp_(omp_get_max_threads()) {
  scope_threads = lacks_threads ? 1 : std::max(1, count);
  if (scope_threads > 1) note_threads();
  omp_set_num_threads(scope_threads);
}

ThreadScope::~ThreadScope() {
  scope_threads = outer_;
  omp_set_num_threads(outer_openmp_);
}

namespace detail {

void parallel_impl(int64_t count, int64_t grain, void* context,
                   void (*body)(void* context, int64_t begin, int64_t end, int thread)) {
  const int64_t parts = std::min<int64_t>(threads(), count / std::max<int64_t>(1, grain));
  if (parts <= 1 || omp_in_parallel()) {
    if (count > 0) body(context, 0, count, 0);
    return;
  }
  note_threads();
#pragma omp parallel num_threads(static_cast<int>(parts))
  {
    // OpenMP may give fewer threads than asked for (OMP_THREAD_LIMIT): then each takes several
    // parts.
    const int64_t width = count / parts, extra = count % parts;
    for (int64_t part = omp_get_thread_num(); part < parts; part += omp_get_num_threads()) {
      const int64_t begin = part * width + std::min(part, extra);
      body(context, begin, begin + width + (part < extra ? 1 : 0), static_cast<int>(part));
    }
  }
}

}  // namespace detail
}  // namespace pcc
