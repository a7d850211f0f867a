// TypedOp: an op whose tensors all have one type, and short words for them.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/op.h"

namespace pcc {

// An op over T with everything in plain layout. The planner sums the parts of dout before.
template <typename T>
class TypedOp : public Op {
 public:
  explicit TypedOp(const OpSite& site) : site_(site) {}

  OpNeeds needs() const override {
    OpNeeds needs;
    if (trains()) backward_needs(needs);
    forward_needs(needs);
    return needs;
  }

 protected:
  // Whether backward will be called.
  bool trains() const { return site_.backward(); }
  virtual void forward_needs(OpNeeds& needs) const { (void)needs; }
  virtual void backward_needs(OpNeeds& needs) const { (void)needs; }

  const T* in(int i) const { return buffers_.in[index(i)].template as<T>(); }
  T* out(int i = 0) const { return buffers_.out[index(i)].template as<T>(); }
  T* param(int i) const { return buffers_.params[index(i)].template as<T>(); }
  // Null where nobody wants that gradient.
  T* din(int i) const { return buffers_.din[index(i)].template as<T>(); }
  T* dparam(int i) const { return buffers_.dparams[index(i)].template as<T>(); }
  // Null where that output got no gradient.
  const T* dout(int i = 0) const {
    const auto& parts = buffers_.dout[index(i)];
    return parts.empty() ? nullptr : parts[0].template as<T>();
  }
  int ins() const { return static_cast<int>(site_.in.size()); }
  int outs() const { return static_cast<int>(site_.out.size()); }
  const Shape& in_shape(int i) const { return site_.in[index(i)].shape; }
  const Shape& out_shape(int i = 0) const { return site_.out[index(i)].shape; }
  // Lists for OpNeeds.
  std::vector<bool> all_ins() const { return std::vector<bool>(site_.in.size(), true); }
  std::vector<bool> all_outs() const { return std::vector<bool>(site_.out.size(), true); }

  OpSite site_;

 private:
  static size_t index(int i) { return static_cast<size_t>(i); }
};

}  // namespace pcc
