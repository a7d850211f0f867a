// The one place that knows how work is spread over processor cores (OpenMP, shared with oneDNN's
// pool).
#pragma once

#include <cstdint>
#include <type_traits>

namespace pcc {

// Number of threads that parallel() and oneDNN use. Process-wide, as OpenMP's pool is.
int threads();
void set_threads(int count);

namespace detail {
void parallel_impl(int64_t count, int64_t grain, void* context,
                   void (*body)(void* context, int64_t begin, int64_t end, int thread));
}

// Calls body(begin, end, thread) on disjoint ranges that cover [0, count): at most threads()
// ranges, each of at least `grain` items, cut in the same places for the same count and number of
// threads. body must not throw.
template <typename Body>
void parallel(int64_t count, int64_t grain, Body&& body) {
  detail::parallel_impl(
      count, grain, &body, [](void* context, int64_t begin, int64_t end, int thread) {
        (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end, thread);
      });
}

// Calls body(part, begin, end) on `parts` ranges that cover [0, count), cut in the same places
// whatever the number of threads: for sums whose order must be known before. body must not throw.
template <typename Body>
void parallel_parts(int64_t parts, int64_t count, Body&& body) {
  parallel(parts, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t part = first; part < last; ++part)
      body(part, count * part / parts, count * (part + 1) / parts);
  });
}

}  // namespace pcc
