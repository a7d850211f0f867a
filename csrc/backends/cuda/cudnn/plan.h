// cuDNN's plans for one convolution: asked of its heuristics, filtered, finalised, run.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/cudnn/graph.h"

namespace pcc::cudnn {

// What a plan may do. Never taken: one that rounds float32 inputs to half precision or sums in less
// than float32.
struct Limits {
  bool tf32 = true;           // tensor cores for float32, which round its products' factors
  bool deterministic = true;  // equal bits from equal inputs
  int64_t workspace = int64_t{256} << 20;      // bytes
  int most = std::numeric_limits<int>::max();  // plans to be found, before no more are looked at
};

class Plan {
 public:
  Plan(Descriptor plan, std::string name, std::vector<api::Note> notes);

  // The engine and its settings, "48:2=1,13=0" (knob = value): says which plan it was among those
  // for the same convolution, device and version, in this process or another.
  const std::string& name() const { return name_; }
  const std::vector<api::Note>& notes() const { return notes_; }
  bool has(api::Note note) const;
  int64_t workspace() const { return workspace_; }  // bytes
  std::shared_ptr<const Descriptor> shared() const { return plan_; }

 private:
  std::shared_ptr<const Descriptor> plan_;
  std::string name_;
  std::vector<api::Note> notes_;
  int64_t workspace_;
};

// What came of asking, the plan that should be fastest first.
struct Plans {
  std::vector<Plan> found;
  int offered = 0;      // configurations of engines
  int unwanted = 0;     // of them: with a note that the limits exclude
  int too_large = 0;    // by their workspace
  int unfinished = 0;   // that cuDNN offered and then refused
  std::string refusal;  // what it said when it refused last

  // "3 plans of 34 offered; 25 not wanted, 6 too large", and what cuDNN said.
  std::string summary() const;
};

// Empty where cuDNN has no such convolution. Throws a Failure where it does not work at all.
Plans plans(const Convolution& convolution, const Target& target, const Limits& limits = {});

// Device memory, aligned to 16 bytes; bias and workspace only where the plan has them.
struct Pointers {
  void *x = nullptr, *w = nullptr, *y = nullptr, *bias = nullptr, *workspace = nullptr;
};

// A plan with its arguments, ready to run any number of times.
class Call {
 public:
  Call(const Plan& plan, const Convolution& convolution, const Pointers& pointers);
  // On the handle's stream, without waiting.
  void run(const Handle& handle) const;

 private:
  std::shared_ptr<const Descriptor> plan_;
  Descriptor pack_;
};

}  // namespace pcc::cudnn
