// Numbers of classes, rows or samples, which values hold as floats.
#pragma once

#include "backends/cuda/cuda_op.h"

namespace pcc::cuda {

// Has the step's report name the first of `count` numbers that is not in [0, end), where there is
// one. They lie `step` apart.
void check_numbers(const Context& context, uint32_t site, const float* numbers, int64_t count,
                   int64_t end, int64_t step = 1);

// Which of `count` numbers are the same, so that what comes to one row is added up in order. The
// memory is for 2 * count of them.
struct Chains {
  int64_t count;
  int32_t* next;    // the place of the next one that is the same, or -1
  int32_t* before;  // whether there is one before it
  Chains(int64_t count, void* memory)
      : count(count), next(static_cast<int32_t*>(memory)), before(next + count) {}
  static int64_t bytes(int64_t count) { return 2 * count * static_cast<int64_t>(sizeof(int32_t)); }
};
Chains link_numbers(const float* numbers, int64_t count, void* memory);

// rows[numbers[m]] = (or += where `adds`) the sum of parts[m] (count, width) over the m of one and
// the same number; rows of other numbers stay, and numbers outside [0, end) are left out.
void add_to_rows(const float* numbers, const Chains& chains, int64_t end, int64_t width,
                 const float* parts, bool adds, float* rows);

}  // namespace pcc::cuda
