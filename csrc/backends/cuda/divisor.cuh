// Division by a number that a launch knows: a multiplication and a shift, where the hardware has no
// division.
#pragma once

#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

// Of numbers below 2^31 by a number below 2^31. Source: Granlund & Montgomery 1994.
class Divisor {
 public:
  Divisor() = default;
  explicit Divisor(int64_t by) : by_(static_cast<uint32_t>(by)) {
    while ((uint64_t{1} << shift_) < by_) ++shift_;
    const uint64_t above = (uint64_t{1} << shift_) - by_;
    magic_ = static_cast<uint32_t>((above << 32) / by_ + 1);
  }
  __device__ Quotient operator()(uint32_t n) const {
    const uint32_t whole = (__umulhi(n, magic_) + n) >> shift_;
    return {whole, n - whole * by_};
  }

 private:
  uint32_t by_ = 1, magic_ = 1, shift_ = 0;
};

}  // namespace pcc::cuda
