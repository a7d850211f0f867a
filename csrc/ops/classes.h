// What scores and labels mean to SoftmaxDesc, SoftmaxLossDesc and AccuracyDesc, the same for every
// backend.
#pragma once

#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/tensor.h"

namespace pcc {

// Scores seen as (outer, classes, inner), cut at an axis; a column is one (outer, inner).
struct Columns {
  int64_t outer, classes, inner;

  Columns(const Shape& shape, int axis)
      : outer(shape.count(0, axis)), classes(shape[axis]), inner(shape.count(axis + 1)) {}
  int64_t count() const { return outer * inner; }
  // Where class 0 of a column lies; the next classes follow `inner` apart.
  int64_t first(int64_t column) const { return column / inner * classes * inner + column % inner; }
};

// Class numbers as a blob of floats.
template <typename T>
class Labels {
 public:
  Labels(bool has_ignore, int64_t ignore, int64_t classes)
      : has_ignore_(has_ignore), ignore_(ignore), classes_(classes) {}
  bool ignored(T label) const { return has_ignore_ && static_cast<int64_t>(label) == ignore_; }
  // Throws a data error at the first label that is neither a class nor ignored. Columns of one
  // sample: `per_sample`.
  void check(const std::string& name, const T* labels, int64_t count, int64_t per_sample) const {
    for (int64_t i = 0; i < count; ++i) {
      const T label = labels[i];
      const bool sane = label > T(-1e9) && label < T(1e9);
      if (sane && (ignored(label) ||
                   (static_cast<int64_t>(label) >= 0 && static_cast<int64_t>(label) < classes_)))
        continue;
      PCC_THROW(data, "layer '", name, "': the label of sample ", i / per_sample,
                " of the batch is ", label, ", but there are ", classes_, " classes (0 to ",
                classes_ - 1, "); check the data's labels and the num_output of the layer before");
    }
  }

 private:
  bool has_ignore_;
  int64_t ignore_, classes_;
};

}  // namespace pcc
