// What the ops over our own loops share.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/makers.h"
#include "core/parallel.h"

namespace pcc::cpu {

// Ranges of at least this many cheap elements are worth a thread.
inline constexpr int64_t kElementGrain = 16 << 10;
// Most parts of a gradient that an op of ours sums while it reads.
inline constexpr int kMaxParts = 4;

class KernelOp : public Op {
 public:
  explicit KernelOp(const OpSite& site) : site_(site), trains_(site.backward()), loops_(loops()) {}

  OpNeeds needs() const override { return needs_; }
  std::string implementation() const override { return std::string("kernel ") + loops_.isa; }

 protected:
  const float* in(size_t i) const { return buffers_.in[i].as<float>(); }
  float* out(size_t i = 0) const { return buffers_.out[i].as<float>(); }
  float* param(size_t i) const { return buffers_.params[i].as<float>(); }
  // Null where nobody wants that gradient.
  float* din(size_t i) const { return buffers_.din[i].as<float>(); }
  float* dparam(size_t i) const { return buffers_.dparams[i].as<float>(); }
  // Gives a parameter's gradient a number, or adds it (Op::overwrites).
  void give(const Context& context, size_t i, int64_t at, double sum) const {
    float& to = dparam(i)[at];
    to = static_cast<float>(overwrites(context, i) ? sum : static_cast<double>(to) + sum);
  }
  // Null where that output got no gradient.
  const float* dout(size_t i = 0) const {
    return buffers_.dout[i].empty() ? nullptr : buffers_.dout[i][0].as<float>();
  }
  // The parts of an output's gradient, moved on by `first` elements. Returns their number.
  int dout_parts(size_t i, int64_t first, const float* (&to)[kMaxParts]) const {
    int count = 0;
    for (const Tensor& part : buffers_.dout[i]) to[count++] = part.as<float>() + first;
    return count;
  }
  int64_t out_count() const { return site_.out[0].shape.count(); }
  std::vector<bool> all_ins() const { return std::vector<bool>(site_.in.size(), true); }

  // body(first element, number of elements), spread over threads.
  template <typename Body>
  static void for_elements(int64_t count, Body&& body) {
    parallel(count, kElementGrain,
             [&](int64_t begin, int64_t end, int) { body(begin, end - begin); });
  }
  // body(piece) for each of `count` independent pieces of `size` elements.
  template <typename Body>
  static void for_pieces(int64_t count, int64_t size, Body&& body) {
    const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size));
    parallel(count, grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) body(i);
    });
  }

  OpSite site_;
  bool trains_;
  const Loops& loops_;
  OpNeeds needs_;
};

}  // namespace pcc::cpu
