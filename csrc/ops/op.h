// Op: a primitive that a backend built for one shape; Backend: who builds it. The planner asks for
// layouts, makes the op, reads its needs, lays out memory, binds the pointers once, and from then
// on only calls forward and backward.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "ops/desc.h"
#include "ops/device.h"
#include "ops/step.h"

namespace pcc {

// Where an op stands: its name, its tensors' specs and what will be asked of it.
struct OpSite {
  std::string name;     // names of the layers it carries out, joined by '+'
  uint32_t number = 0;  // among the net's ops, by which the step's report names it
  uint32_t stream = 0;  // RandomStream::layer: its own among all ops that draw numbers
  std::vector<TensorSpec> in, out, params;
  std::vector<bool> want_din;     // per input
  std::vector<bool> want_dparam;  // per parameter
  Device* device = nullptr;       // that it will run on; outlives it

  // Whether backward may be called: otherwise nothing needs to be kept for it.
  bool backward() const {
    for (const bool want : want_din)
      if (want) return true;
    for (const bool want : want_dparam)
      if (want) return true;
    return false;
  }
};

// What an op wants of the planner, fixed at construction.
struct OpNeeds {
  std::vector<bool> in, out;    // values that backward reads: kept alive until then. Empty: none
  int64_t stash_bytes = 0;      // private memory from forward to backward (masks, batch statistics)
  int64_t forward_scratch = 0;  // private memory during the call
  int64_t backward_scratch = 0;
  bool sums_parts =
      false;  // takes dout in up to max_parts parts itself; otherwise the planner sums them before
  int max_parts = 1;
  int in_place =
      -1;  // forward may write out[0] over this input (same spec), if nobody needs that any more
  int diff_in_place = -1;  // backward may write din[this] over dout[0] when that is a single part
  std::vector<bool> passes_dout;    // din[i] equals dout[0]: the planner aliases them and backward
                                    // need not write it
  bool overwrites_dparams = false;  // backward does as overwrites() says; otherwise it always adds
  // Values with their channels last, and their gradients, may lie among the channels of wider ones
  // (Tensor::pitch) whose elements are fewer than 2^31, where the first channel and the pitch are
  // multiples of this. 0: none may.
  int channel_unit = 0;
  // out[0] is the inputs, channel behind channel. Those that lie there already, and gradients that
  // lie in out[0]'s, are not copied.
  bool joins_channels = false;
  std::vector<bool> adds_din;  // backward can add din[i] to what is there (OpBuffers::adds)
  int64_t prepared_bytes = 0;  // private memory that lasts: parameters in a form of the op's own
  // So many of the calls that follow may be made while backward's work still goes on, on another
  // stream of the device's, which is waited for by then and at the end of the unit: what backward
  // reads, and its scratch, is left alone for as long.
  int backward_lag = 0;
  // For the model of a step's time, which counts every tensor of a call once: bytes that the op
  // reads again, less those that it does not read.
  int64_t forward_again = 0, backward_again = 0;
};

struct OpBuffers {
  std::vector<Tensor> in, out;
  std::vector<std::vector<Tensor>>
      dout;  // parts per output; an empty list: that output got no gradient (treat as zero)
  std::vector<Tensor> din;              // null data: not wanted
  std::vector<bool> adds;               // per input: din is added to what is there. Empty: to none
  std::vector<Tensor> params, dparams;  // dparams: null data: not wanted
  std::vector<bool> first;  // per parameter: no op writes this gradient before (overwrites())
  void* stash = nullptr;
  void* prepared = nullptr;
  void* scratch = nullptr;           // forward_scratch bytes, 64-byte aligned
  void* backward_scratch = nullptr;  // backward_scratch bytes; may be the same memory
};

class Op {
 public:
  virtual ~Op() = default;
  virtual OpNeeds needs() const { return {}; }
  // Called once, before the first forward. All pointers stay valid and unmoved. Work that depends
  // on pointers only is done here.
  virtual void bind(const OpBuffers& buffers) { buffers_ = buffers; }
  virtual void forward(const Context& context) = 0;
  // Writes the wanted din's and adds to the wanted dparams (or overwrites them): zeros and nothing
  // where no output got a gradient.
  void backward(const Context& context);
  // Makes the prepared memory from the parameters: before the first pass, and again before the next
  // one whenever they have changed. Not for what a pass itself moves, as running statistics.
  virtual void prepare(const Context& context) { (void)context; }
  // Which implementation it is, for the plan: "jit:avx2", "kernel avx2", "plain loops".
  virtual std::string implementation() const { return ""; }

 protected:
  // backward, with a gradient of one output at least.
  virtual void differentiate(const Context& context) { (void)context; }
  // To zeros, in the op's own memory. Default: the host's.
  virtual void clear(const Tensor& tensor);
  // Whether this call of backward puts the parameter's gradient in the place of whatever is there.
  bool overwrites(const Context& context, size_t param) const {
    return context.first && param < buffers_.first.size() && buffers_.first[param];
  }

  OpBuffers buffers_;
};

struct LayoutChoice {
  std::vector<Layout> in, out;
};

// How an op would like its values: the layouts, and where and as what they lie.
struct Form {
  Layout layout = Layout::plain;
  DType dtype = DType::f32;
  Place place = Place::device;
  auto operator<=>(const Form&) const = default;
};
struct FormChoice {
  std::vector<Form> in, out;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;
  // One of its processors, for whoever then makes ops for it, which multiply as `precision` says.
  // Throws a config error where it has no such. Default: the host, in fp32.
  virtual std::shared_ptr<Device> open(int index = 0, Precision precision = Precision::usual) const;
  // The names of all of them. `why`, if given, says why there are none.
  virtual std::vector<std::string> devices(std::string* why = nullptr) const;
  // One that is not there: for nets that are planned, to be looked at, and never run. Null: those
  // that are there serve as well.
  virtual std::shared_ptr<Device> describe(Precision precision = Precision::usual) const {
    (void)precision;
    return nullptr;
  }
  // Whether it works on values of that type at all, for whatever it then leaves to others.
  virtual bool computes(DType dtype) const { return dtype == DType::f32; }
  // The layouts that the op would like, given the layouts its inputs have now (site.in; site.out is
  // plain as yet). The planner inserts reorders where the answer differs from what is there.
  // Default: everything plain.
  virtual LayoutChoice layouts(const OpDesc& desc, const OpSite& site) const;
  // The same of types and places, too, in which the planner converts and copies. Default: layouts,
  // in the types that the values have, on the device.
  virtual FormChoice forms(const OpDesc& desc, const OpSite& site) const;
  // Whether it can give the moments that the descriptor asks for, so that a BatchNorm of the same
  // backend's, behind it, need not read the convolution's output once more.
  virtual bool gives_moments(const ConvDesc& desc, const OpSite& site) const {
    (void)desc, (void)site;
    return false;
  }
  // What the descriptor's prologue costs in all calls that the site asks for, in bytes that the
  // device could move meanwhile. site: as it is without the prologue, but that x lies as the value
  // does of which it would be made. Null: it cannot have it.
  virtual std::optional<int64_t> prologue_cost(const ConvDesc& desc, const OpSite& site) const {
    (void)desc, (void)site;
    return std::nullopt;
  }
  // The op, or null: "not mine", and the planner asks the reference backend, whose op then runs on
  // the host. A backend whose memory the host cannot reach must answer ReorderDesc (between its own
  // forms), SumDesc, TallyDesc, AccumulateDesc, AllReduceDesc and UpdateDesc.
  virtual std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const = 0;
};

}  // namespace pcc
