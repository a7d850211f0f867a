// What scores and labels mean to SoftmaxDesc, SoftmaxLossDesc and AccuracyDesc, the same for every
// backend.
#pragma once

#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/tensor.h"
#include "ops/desc.h"
#include "ops/step.h"

namespace pcc {

// Scores seen as (outer, classes, inner), cut at an axis; a column is one (outer, inner).
struct Columns {
  int64_t outer, classes, inner;

  Columns(const Shape& shape, int axis)
      : outer(shape.count(0, axis)), classes(shape[axis]), inner(shape.count(axis + 1)) {}
  constexpr int64_t count() const { return outer * inner; }
  // Where class 0 of a column lies; the next classes follow `inner` apart.
  constexpr int64_t first(int64_t column) const {
    return column / inner * classes * inner + column % inner;
  }
};

// Class numbers as a blob of floats.
template <typename T>
class Labels {
 public:
  constexpr Labels(bool has_ignore, int64_t ignore, int64_t classes)
      : has_ignore_(has_ignore), ignore_(ignore), classes_(classes) {}
  // Whether it counts for nothing: the label to ignore, or, once it has been reported, no class.
  constexpr bool skips(T label) const { return is_ignored(label) || !is_class(label); }
  // Whether it is neither a class nor ignored.
  constexpr bool is_wrong(T label) const { return !is_ignored(label) && !is_class(label); }
  // Reports the first label that is wrong. Columns of one sample: `per_sample`.
  void check(const Context& context, uint32_t site, const T* labels, int64_t count,
             int64_t per_sample) const {
    for (int64_t i = 0; i < count; ++i)
      if (is_wrong(labels[i]))
        return context.report->bad_label(*context.step, site, i / per_sample,
                                         static_cast<double>(labels[i]), classes_);
  }

 private:
  static constexpr bool sane(T label) { return label > T(-1e9) && label < T(1e9); }
  constexpr bool is_ignored(T label) const {
    return has_ignore_ && sane(label) && static_cast<int64_t>(label) == ignore_;
  }
  constexpr bool is_class(T label) const {
    return sane(label) && static_cast<int64_t>(label) >= 0 &&
           static_cast<int64_t>(label) < classes_;
  }

  bool has_ignore_;
  int64_t ignore_, classes_;
};

// Of an op whose last input, or only one, has numbers of rows or samples instead of labels: how
// many; else 0. The same range holds for them, and the step's report names them by their place.
inline int64_t count_of_indices(const OpDesc& desc, const Shape& last) {
  if (std::holds_alternative<EmbedDesc>(desc)) return last.count();
  const bool any =
      std::holds_alternative<BatchReindexDesc>(desc) || std::holds_alternative<RoiPoolDesc>(desc);
  return any ? last[0] : 0;
}

// What Halt::label says of the layer of that name. indices: they are none of labels.
inline std::string label_message(const std::string& name, const Trouble& report, bool indices) {
  if (indices)
    return concat("layer '", name, "': index ", report.sample, " is ", report.label,
                  ", but there are ", report.classes, " (0 to ", report.classes - 1, ")");
  return concat("layer '", name, "': the label of sample ", report.sample, " of the batch is ",
                report.label, ", but there are ", report.classes, " classes (0 to ",
                report.classes - 1,
                "); check the data's labels and the num_output of the layer before");
}

}  // namespace pcc
