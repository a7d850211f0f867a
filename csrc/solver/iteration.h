// Iteration: one step of training as two parts that can be made again and again, in which the host
// does nothing for each op: gradients, and the update.
#pragma once

#include <memory>
#include <vector>

#include "graph/net.h"
#include "ops/group.h"

namespace pcc {

class Iteration {
 public:
  // group: null, or those with whom the net is trained.
  Iteration(std::shared_ptr<Net> net, const UpdateDesc& desc, const std::shared_ptr<Group>& group);
  ~Iteration();
  Iteration(const Iteration&) = delete;
  Iteration& operator=(const Iteration&) = delete;

  // Adds up the parameters' diffs of `passes` passes, and those of all ranks. Nothing is read: the
  // loss goes to the net's report.
  void accumulate(StepBlock rates, int32_t passes);
  // Moves the weights, if nothing went wrong before.
  void update(const StepBlock& rates);
  // Both at once. False, and nothing was done, where the net cannot.
  bool whole(const StepBlock& rates, int32_t passes);
  Mirror& history(int k) { return histories_[static_cast<size_t>(k)]; }

 private:
  std::unique_ptr<Op> make_sum(const AllReduceDesc& desc, const Tensor& values);
  void sum_beside(const std::shared_ptr<Group>& group);

  std::shared_ptr<Net> net_;
  std::vector<Mirror> histories_;  // each a block like the parameters'
  std::shared_ptr<Memory> scratch_;
  std::unique_ptr<Op> op_;
  Unit update_;
  // Over ranks: the sum of all gradients behind the passes, or of parts of them within the last.
  std::vector<std::unique_ptr<Op>> sums_;
  Unit over_ranks_;
};

}  // namespace pcc
