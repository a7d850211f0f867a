// What losses and accuracies count, the same for every backend.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/classes.h"
#include "ops/desc.h"

namespace pcc {

// What the sum over the columns of one group (replica) is divided by; at least 1, as in Caffe.
// labels: of all columns.
template <typename T>
double normalizer(const SoftmaxLossDesc& desc, const Columns& columns, const Labels<T>& meaning,
                  const T* labels, int64_t group) {
  const int64_t in_group = columns.count() / desc.groups;
  const T* const first = labels + group * in_group;
  int64_t count = 1;
  switch (desc.normalization) {
    case Normalization::full:
      count = in_group;
      break;
    case Normalization::valid:
      count =
          std::count_if(first, first + in_group, [&](T label) { return !meaning.skips(label); });
      break;
    case Normalization::batch_size:
      count = columns.outer / desc.groups;
      break;
    case Normalization::none:
      break;
  }
  return static_cast<double>(std::max<int64_t>(1, count));
}

// Whether fewer than top_k other classes score as high as the true one, or higher.
template <typename T>
constexpr bool among_top(const T* scores, const Columns& columns, int64_t label, int64_t top_k) {
  const T score = scores[label * columns.inner];
  int64_t better = -1;  // the true class itself will be counted
  for (int64_t c = 0; c < columns.classes && better < top_k; ++c)
    better += scores[c * columns.inner] >= score;
  return better < top_k;
}

// AccuracyDesc over the first `counted` columns, on one thread: it runs in tests, over as many
// numbers as a batch has scores. per_class: null, or a value for each class; then `seen` is room
// for a count of each.
template <typename T>
void measure_accuracy(const AccuracyDesc& desc, const Columns& columns, const Labels<T>& meaning,
                      int64_t counted, const T* scores, const T* labels, T* accuracy, T* per_class,
                      int64_t* seen) {
  if (per_class) {
    std::fill_n(per_class, columns.classes, T(0));
    std::fill_n(seen, columns.classes, 0);
  }
  int64_t right = 0, valid = 0;
  for (int64_t column = 0; column < counted; ++column) {
    if (meaning.skips(labels[column])) continue;
    const int64_t label = static_cast<int64_t>(labels[column]);
    const bool hit = among_top(scores + columns.first(column), columns, label, desc.top_k);
    ++valid;
    right += hit;
    if (!per_class) continue;
    ++seen[label];
    per_class[label] += hit ? T(1) : T(0);
  }
  *accuracy = valid == 0 ? T(0) : static_cast<T>(right) / static_cast<T>(valid);
  if (!per_class) return;
  for (int64_t c = 0; c < columns.classes; ++c)
    per_class[c] = seen[c] == 0 ? T(0) : per_class[c] / static_cast<T>(seen[c]);
}

}  // namespace pcc
