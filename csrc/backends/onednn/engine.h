// oneDNN behind the few things this backend asks of it: descriptions of our tensors, calls prepared
// once, errors as ours.
#pragma once

#include <dnnl.hpp>
#include <string>
#include <vector>

#include "backends/cpu/pieces.h"
#include "ops/op.h"

namespace pcc::onednn {

using cpu::at;
using cpu::Pieces;

// One engine and one stream per process.
const dnnl::engine& engine();
const dnnl::stream& stream();

// Row-major float32 of any shape.
dnnl::memory::desc describe_plain(const std::vector<int64_t>& dims);
dnnl::memory::desc describe(const Shape& shape, Layout layout);
inline dnnl::memory::desc describe(const TensorSpec& spec) {
  return describe(spec.shape, spec.layout);
}

// Throws an engine error that names the op, what was tried and oneDNN's status.
[[noreturn]] void fail(const std::string& op, const char* action, dnnl_status_t status);

// Runs body(); a dnnl::error becomes ours.
template <typename Body>
auto guarded(const std::string& op, const char* action, Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& error) {
    fail(op, action, error.status);
  }
}

// Attributes of every primitive here: its scratchpad is memory that the planner gave.
dnnl::primitive_attr user_scratchpad();

// A primitive with its arguments, ready to run any number of times without a single allocation of
// ours.
class Call {
 public:
  Call() = default;
  Call(std::string op, dnnl::primitive primitive)
      : op_(std::move(op)), primitive_(std::move(primitive)) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  Call(Call&&) = default;
  Call& operator=(Call&&) = default;

  // An argument without bytes (an empty scratchpad) is left out.
  void argument(int kind, const dnnl::memory::desc& desc, void* data);
  void run() const;
  explicit operator bool() const { return static_cast<bool>(primitive_); }

 private:
  std::string op_;
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

// A reorder between two descriptions of the same values; add: the target keeps what it has and gets
// the source added.
class Reorder {
 public:
  Reorder() = default;
  Reorder(const std::string& op, const dnnl::memory::desc& from, const dnnl::memory::desc& to,
          bool add);

  int64_t scratch_bytes() const { return static_cast<int64_t>(scratchpad_.get_size()); }
  Call call(void* from, void* to, void* scratch) const;
  const std::string& implementation() const { return implementation_; }

 private:
  std::string op_, implementation_;
  dnnl::reorder reorder_;
  dnnl::memory::desc from_, to_, scratchpad_;
};

}  // namespace pcc::onednn
