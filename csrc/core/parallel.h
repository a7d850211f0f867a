// The one place that knows how work is spread over processor cores (OpenMP, shared with oneDNN's
// pool).
#pragma once

#include <cstdint>
#include <type_traits>

namespace pcc {

// Number of threads that parallel() uses: that of the innermost ThreadScope around the call, else
// the process's.
int threads();
// Sets the process's number, which is OpenMP's own until then. Whoever keeps a number (a Net, from
// when it was made) goes on with that. In a child forked after loops on several threads there is
// one.
void set_threads(int count);

// As long as it lives, parallel() and oneDNN use `count` threads when called from this thread.
// OpenMP by itself would keep a number for each thread that calls it.
class ThreadScope {
 public:
  explicit ThreadScope(int count);
  ~ThreadScope();
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  int outer_, outer_openmp_;
};

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
