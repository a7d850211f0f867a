#include "core/parallel.h"

#include <omp.h>

#include <algorithm>

namespace pcc {

int threads() { return omp_get_max_threads(); }

void set_threads(int count) { omp_set_num_threads(std::max(1, count)); }

namespace detail {

void parallel_impl(int64_t count, int64_t grain, void* context,
                   void (*body)(void* context, int64_t begin, int64_t end, int thread)) {
  const int64_t parts = std::min<int64_t>(threads(), count / std::max<int64_t>(1, grain));
  if (parts <= 1 || omp_in_parallel()) {
    if (count > 0) body(context, 0, count, 0);
    return;
  }
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
