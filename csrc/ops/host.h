// Work that is not the engine's own: a function of a program's, or of a Python script's, that an op
// calls back with plain arrays in host memory.
#pragma once

#include <memory>
#include <vector>

#include "ops/op.h"

namespace pcc {

// What a call reads and writes: plain layout, all of the net's type. Null data: din, dparams: not
// wanted; dout: that output got no gradient (treat as zero). Where an output stands over an input
// (HostOpDesc::over), both are the same memory, and so are their diffs.
struct HostTensors {
  std::vector<Tensor> in, out, params;
  std::vector<Tensor> dout, din, dparams;
};

// Whatever it throws ends the pass and comes out of it unchanged.
class HostFunction {
 public:
  virtual ~HostFunction() = default;
  // Writes `out`; may write `params`, as BatchNorm does its statistics.
  virtual void forward(const HostTensors& tensors) = 0;
  // Writes `din`, adds to `dparams`. `in` and `out` are as forward left them.
  virtual void backward(const HostTensors& tensors) = 0;
};

// Whether it is work of the host's by its nature, wherever the rest of a net runs: functions of the
// user's, outputs whose size the values decide, and boxes that are sorted and dropped one by one.
bool belongs_on_host(const OpDesc& desc);

// The op for it, of every backend whose memory is the host's.
std::unique_ptr<Op> make_host_op(const HostOpDesc& desc, const OpSite& site);

}  // namespace pcc
