// Plan: a program with everything decided. Order of the steps, which diffs are summed where, who
// shares memory; all ops are bound. Running it allocates nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "graph/course.h"
#include "graph/placement.h"
#include "graph/program.h"

namespace pcc {

struct BackwardStep {
  int node = -1;            // runs that node's backward, or, where -1:
  std::unique_ptr<Op> sum;  // sums the parts of a value's diff
  int value = -1;           // that value
  int64_t bytes = 0;        // that the sum moves
  int layer = -1;  // the layer it belongs to (of a sum: its first reader), for passes over a part
                   // of the net
};

class Plan {
 public:
  // keep: every value has memory of its own, data and diff, that lasts (a net made for looking
  // into). Otherwise memory is shared over lifetimes. gradients: a backward pass will be run.
  // seeds: values whose diff comes from outside with the number it is filled with (losses: their
  // weight, over the number of replicas). lend: an arena that may be used in place of an own one if
  // large enough, and whose owner never runs while this plan does.
  Plan(Program& program, const Backend& backend, std::shared_ptr<Device> device, bool keep,
       bool gradients, const std::vector<std::pair<int, double>>& seeds,
       std::shared_ptr<Memory> lend);

  // Makes what ops keep of the parameters in forms of their own: before the first pass, and again
  // whenever they have changed.
  void prepare(const Contexts& contexts) { prepare_.run(*device_, contexts); }
  void backward(const Contexts& contexts) { backward_course_.run(*device_, contexts); }
  // The layers from first down to last.
  void backward(const Contexts& contexts, int first_layer, int last_layer) {
    backward_course_.run(*device_, contexts, last_layer, first_layer);
  }

  const Tensor& data(int value) const { return data_[static_cast<size_t>(value)]; }
  // The summed diff of a value: null where the plan has none.
  const Tensor& diff(int value) const { return diff_[static_cast<size_t>(value)]; }
  // The memory in which data or a diff lies that nothing else of the plan ever lies in, in a net
  // that keeps all values: it lasts as long as somebody has it. Null: none.
  std::shared_ptr<Memory> lasting(const Tensor& tensor) const;
  // Whether some reader, or the loss's own weight, sends it one.
  bool gets_diff(int value) const { return !values_[static_cast<size_t>(value)].parts.empty(); }
  // Whether a pass with Context::first puts that parameter's gradient in the place of what is
  // there.
  bool overwrites(int param) const {
    const int writer = at(first_writers_, param);
    return writer >= 0 && at(needs_, writer).overwrites_dparams;
  }
  int64_t arena_bytes() const { return sizes_.arena; }
  int64_t persistent_bytes() const { return sizes_.persistent; }
  const std::shared_ptr<Memory>& arena() const { return arena_; }
  const std::vector<BackwardStep>& backward_steps() const { return backward_; }
  // Sums that the backend refused and the reference backend makes.
  const std::vector<std::string>& fallbacks() const { return fallbacks_; }
  // A parameter that an op on the host uses: its copy there, and the ways to it before that op, and
  // back after it.
  struct HostParam {
    int node = -1;
    std::string name;
    std::shared_ptr<Memory> memory;
    std::unique_ptr<Op> down, up;
    bool is_diff = false;
  };
  const std::vector<HostParam>& host_params() const { return host_params_; }
  const Course& forward_course() const { return forward_; }
  const Course& backward_course() const { return backward_course_; }
  // The same with calls that `after` adds behind backward steps, of which it is told the number.
  Course backward_course(const std::function<void(int step, Course& to)>& after) const;
  // The backward step behind which a parameter's gradient is whole; 0 where nothing writes it.
  int written_by(int param) const;
  const Course& prepare_course() const { return prepare_; }
  Course& prepare_course() { return prepare_; }
  // Bytes that a node's calls move (work.h).
  struct Moved {
    int64_t forward = 0, backward = 0;
  };
  const Moved& moved(int node) const { return moved_[static_cast<size_t>(node)]; }

 private:
  // One reader's share of a value's diff.
  struct Part {
    int node = -1, slot = -1;  // the reader; -1: the seed
    int block = -1;
    double weight = 0;  // of a seed
  };
  struct ValueMemory {
    int data = -1, diff = -1;  // blocks; diff: the sum, or the only part
    std::vector<Part> parts;   // in the order of the readers
  };
  struct NodeMemory {
    int stash = -1, prepared = -1, forward_scratch = -1, backward_scratch = -1;
    int backward_step = -1;
    std::vector<int> din;                // blocks, -1: not wanted
    std::vector<bool> adds;              // to what is in din
    std::vector<std::vector<int>> dout;  // blocks
  };

  Tensor host_param(int node, int param, const Tensor& tensor, bool is_diff);

  int new_block(int64_t bytes, int step, Place place = Place::device);
  int find(int block) const;
  void use(int block, int step);
  void merge(int from, int into);

  // Among the channels of a block's pixels: the first, and so many from one pixel to the next.
  struct Among {
    int64_t first, pitch;
    DType dtype;
  };
  void lay(int block, int into, const Among& place);
  bool may_lie(int value, int into, Among place) const;
  std::vector<Among> joined(const Node& node, int into) const;
  void join_data();
  bool may_join_diff(int index, size_t slot) const;
  int join_diff(int index, size_t slot);
  int joined_diff(int value) const;

  void plant_seeds(const std::vector<std::pair<int, double>>& seeds);
  void order_backward();
  void add_backward(int node);
  std::unique_ptr<Op> make_sum(const std::string& of, size_t parts, const Value& value);
  std::vector<int> collect_diff(int value, bool parts_welcome, int max_parts);
  void live();
  void share();
  void bind();
  void line_up();
  Tensor tensor(int block, const TensorSpec& spec) const;
  std::shared_ptr<Memory> allocate(int64_t bytes) const;
  std::string largest_buffers() const;

  Program& program_;
  const Backend& backend_;
  std::shared_ptr<Device> device_;
  bool keep_, gradients_;
  std::vector<std::string> fallbacks_;
  std::vector<OpNeeds> needs_;
  std::vector<std::vector<std::pair<int, int>>> readers_;  // Program::readers
  std::vector<Block> blocks_;
  std::vector<int> parent_;  // union-find over blocks that were merged
  std::vector<ValueMemory> values_;
  std::vector<NodeMemory> nodes_;
  std::vector<BackwardStep> backward_;
  std::vector<int>
      first_writers_;  // of each parameter's gradient: the node, under its owner; or -1
  std::vector<std::vector<int>> sum_blocks_;  // per backward step: parts of a sum, then its result
  std::vector<Tensor> data_, diff_;
  Placement sizes_;
  std::shared_ptr<Memory> arena_, persistent_;
  std::shared_ptr<Memory> host_arena_, host_persistent_;  // of what the host runs
  std::vector<HostParam> host_params_;
  std::vector<Moved> moved_;
  Course prepare_, forward_, backward_course_;
};

}  // namespace pcc
