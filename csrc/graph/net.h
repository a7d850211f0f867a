// Net: layers built into a bound plan, the parameters they own or share, and the blobs a user sees.
#pragma once

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/build.h"
#include "graph/feeds.h"
#include "graph/in_use.h"
#include "graph/mirror.h"
#include "graph/plan.h"
#include "graph/work.h"

namespace pcc {

// Memory that a user's array looks at. It stays where it is. In a net that keeps its blobs it is
// the plan's own where the value lies there as users see it: plain, and within the host's reach.
// Else, once it was asked for, Net takes its contents in before a pass and writes them back after
// it.
struct HostBlob {
  Shape shape;
  std::shared_ptr<Memory> data, diff;  // null: never asked for
};

// One row of Net::plan(): an op after fusion.
struct PlanRow {
  std::string op, implementation, backend;
  std::vector<std::string> layers;
  std::vector<std::string> ins, outs;  // "64x16x32x32 c8"
  int64_t out_bytes = 0;
  bool backward = false;
  // Of its calls in an iteration; what is made anew of parameters counts as forward, the sum of a
  // value's diffs as backward of the op that makes the value.
  Work forward_work, backward_work;
};

// Calls from a thread while another one runs the net, or one that shares parameters with it, are
// engine errors (InUse).
class Net {
 public:
  // share: a net whose parameters are used in place of own ones, layer by layer by name (test nets;
  // Caffe's ShareTrainedLayersWith).
  Net(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
      NetOptions options, std::shared_ptr<Net> share = nullptr);

  // A whole pass, or the layers [first, last]. A part needs a net that keeps its blobs. Returns the
  // sum of the weighted losses of the layers that ran; under replicas, those of replica 0, and 0
  // for a rank that does not have it. Throws a data error for a label that is no class.
  double forward() { return forward(0, static_cast<int>(built_.layers.size()) - 1); }
  double forward(int first, int last);
  // From layer `first` down to `last`. Parameters' diffs are added to.
  void backward() { backward(static_cast<int>(built_.layers.size()) - 1, 0); }
  void backward(int first, int last);
  // One pass of an iteration, forward and backward, of which nothing is read: its loss goes to the
  // report. The parameters' diffs are added to, but those of the first pass take the place of what
  // is there. rates: the iteration, its lr, ..., and which of its passes this is.
  void accumulate(const StepBlock& rates);
  // Ops that take parts of the gradients as soon as an iteration's last pass has written them,
  // while it goes on, and one that waits for all of these. params: whose gradients a part has. The
  // ops stay with the caller, who leaves before they end.
  struct Takers {
    struct Part {
      std::vector<int> params;
      Op* op = nullptr;
    };
    std::vector<Part> parts;
    Op* join = nullptr;
  };
  void take_gradients(Takers takers);
  // Unless others have taken that one's place.
  void leave_gradients(const Op* join);
  // Whether they can be: not where the host has to do with it.
  bool overlaps() const { return !device_->host_visible() && !both_course_.visits_host(); }
  // Runs ops beside the plan, such as the solver's update, after the passes of an iteration.
  // changes: they change parameters' values.
  void run_beside(Unit& unit, const StepBlock& rates, bool changes = true);
  // All of an iteration at once: accumulate for each of its passes, and then the units beside the
  // plan, as run_beside makes them. False, and nothing was done, where the host has a part in it.
  bool iterate(const StepBlock& rates, int32_t passes, std::span<Unit* const> beside);
  // Forward passes of a test net: per output blob the sum of each element over the passes, and the
  // sum of the losses, added up in double where the net runs and read once. Ends early where
  // `poll`, called now and then, is false. Several batches may go through at once
  // (NetOptions::merge). Throws a data error for a label that is no class.
  struct Tested {
    std::vector<std::vector<double>> sums;
    double loss = 0;
    int64_t passes = 0;
  };
  Tested test(int64_t passes, const std::function<bool()>& poll);
  // What ops have reported. Where that is an error, take_error forgets it and throws it; a loss
  // that is no number is none here.
  const StepReport& report();
  void take_error();
  void clear_halt();
  // Stands where it stood so many whole passes ago.
  void rewind(int64_t passes);
  void clear_param_diffs();

  // For what is made of several calls.
  InUse& in_use() { return *in_use_; }

  const NetOptions& options() const { return options_; }
  // Threads that its passes use: the process's number when it was made.
  int threads() const { return threads_; }
  const std::vector<LayerInfo>& layers() const { return built_.layers; }
  const std::vector<BlobInfo>& blobs() const { return built_.blobs; }
  const std::vector<int>& inputs() const { return built_.inputs; }
  const std::vector<int>& outputs() const { return built_.outputs; }
  const std::vector<std::string>& warnings() const { return built_.warnings; }
  const std::vector<std::string>& fallbacks() const { return fallbacks_; }
  // An op beside the plan, as the solver's update, from the net's backend or the reference one.
  std::unique_ptr<Op> make_beside(const OpDesc& desc, const OpSite& site) {
    return make_op(backend_, desc, site, &fallbacks_).op;
  }
  const Program& program() const { return built_.program; }
  const Plan& plan() const { return *plan_; }
  std::vector<PlanRow> plan_rows() const;
  const Backend& backend() const { return backend_; }
  const std::shared_ptr<Device>& device() const { return device_; }

  int blob_index(const std::string& name) const;  // -1: no such blob
  int layer_index(const std::string& name) const;
  // Of a layer's parameter, by its place there; -1: none.
  int param_index(const std::string& layer, int index) const;
  // The user's view of a blob. Throws a config error that names the op which swallowed a blob that
  // was planned away.
  HostBlob host(int blob, bool diff);
  // Mean magnitude of a layer's top, or of the diff that it sent to a bottom: straight from the
  // plan, since a user's view tells of the last in-place layer only. NaN where there is none.
  double magnitude(int layer, int place, bool diff) const;
  // Values of an output blob, straight from the plan (no view is made). Under replicas those of
  // replica 0 alone, as Caffe's root solver sees them.
  std::vector<double> read(int blob) const;
  // Fills an input blob.
  void write(int blob, const void* data);

  // Parameters in order; shared ones appear once, under their owner.
  std::vector<Param>& params() { return built_.program.params; }
  const std::vector<int>& learnable() const {
    return learnable_;
  }  // owners with memory of this net, in order
  // All of this net's own parameters lie in one block each.
  Tensor data_block() const { return data_block_; }
  Tensor diff_block() const { return diff_block_; }
  // Of the latter, up to the statistics, which have no gradients.
  Tensor gradients() const;
  // The host's view of one use of a parameter: memory that an array may look at, and where in it.
  // The parameter may be another net's.
  struct HostParam {
    std::shared_ptr<Memory> memory;
    Tensor tensor;
  };
  HostParam host_param(int param, bool diff);
  // Around whatever reads or writes parameters' memory: takes in what users wrote to their arrays,
  // and gives back what changed.
  void take_in_params();
  void give_back_params();
  int64_t offset(int param) const {
    return offsets_[static_cast<size_t>(param)];
  }  // in elements; -1: borrowed

  // New shapes for input blobs; parameters stay. Views of blobs whose shape changes keep their old
  // one and are no longer followed. Throws a config error, and changes nothing, where layers do not
  // fit. last: for a pass up to that layer: then what lies behind it need not fit, nor what lies
  // behind a layer whose tops' shapes only its forward tells.
  void reshape(const std::map<std::string, Shape>& inputs, int last = -1);

  StepBlock& state() { return step_; }  // seed and pass number: part of what a resume restores
  // Seconds of every op, forward then backward, in the plan's order, each followed by the copies of
  // parameters for it where it runs on the host: runs one pass, which leaves what the caller put
  // into blobs and the parameters' diffs as they were.
  struct NodeTime {
    std::string name, op;
    std::vector<int> layers;
    double forward = 0, backward = 0;
  };
  std::vector<NodeTime> time_nodes();
  int64_t memory_bytes() const;

 private:
  Context context(bool first = false) const;
  Contexts contexts(bool first = false);
  void tell_device();
  const Node* op_with(uint32_t number) const;
  std::string name_of_op(uint32_t number) const;
  int64_t batch_of_op(uint32_t number) const;
  void upload_step();
  void set_rates(const StepBlock& rates);
  void begin_pass(int first, int last);
  // Runs a pass from begin_pass on; again, laid out anew, where a layer's rows came to be others.
  void run_both();
  void run_pass(int first, int last, const std::function<void()>& run);
  void lay_out_anew(int last, const std::function<void()>& change,
                    const std::function<void()>& undo);
  bool varies(int end) const;
  void prepare();
  void charge_sums(std::map<const Op*, size_t>& rows) const;
  void make_tally();
  void make_takers_courses();
  void clear_stale_diffs();
  void make_test_sums();
  int64_t merge(int64_t passes);
  void begin_test();
  void resume_test(const std::vector<std::vector<double>>& sums);
  void test_pass(int64_t before);
  void take_test_errors(int64_t passes);
  void add_test_sums(Tested& to, double times);
  bool looked_at() const;
  void make_params(const Net* share);
  void fill_params();
  void make_plan(const Net* share);
  double losses(int first, int last);
  std::vector<double> read(int blob, const Tensor& from) const;
  // What the caller put into a blob that no layer computes.
  struct OutsideData {
    size_t blob;
    TensorSpec spec;
    std::vector<uint8_t> bytes;
  };
  std::vector<OutsideData> outside_data() const;
  void put_back(const std::vector<OutsideData>& outside);
  int oldest_with_diff(int blob, int last) const;
  void take_in(int first, bool backward);
  void give_back(int first, int last, bool backward);
  // A change of layout between a value and a user's array of it.
  struct Exchange {
    std::shared_ptr<Memory> staging;
    std::unique_ptr<Op> op;
  };
  Exchange make_exchange(const Tensor& value, void* array, bool in) const;
  void run_exchange(const Exchange& exchange, const Tensor& value, void* array, bool in) const;
  void transfer(const Tensor& value, void* array, bool in) const;
  void exchange(const Tensor& value, const std::shared_ptr<Memory>& array, bool in);
  bool visible(int blob) const;
  std::shared_ptr<Memory> in_plan(int blob, const Tensor& value, bool diff) const;
  void keep_hosts(const std::vector<HostBlob>& before);
  std::vector<int> same_data(int blob) const;

  NetOptions options_;
  int threads_;
  const Backend& backend_;
  std::shared_ptr<Net> share_;
  std::shared_ptr<InUse> in_use_;
  std::shared_ptr<Device> device_;
  Built built_;
  std::vector<std::string> fallbacks_;
  std::map<std::string, Shape> input_shapes_;
  Mirror data_mirror_, diff_mirror_;
  Tensor data_block_, diff_block_;
  // The bytes of diff_block_ that an iteration must clear: what no op overwrites.
  int64_t stale_begin_ = 0, stale_end_ = 0;
  // Of the values of the parameters, over all nets that share any: counted up where they change.
  std::shared_ptr<uint64_t> params_version_;
  uint64_t prepared_ = 0;  // the version from which ops have made what they keep of parameters
  std::vector<int64_t> offsets_;
  std::vector<int> learnable_;
  std::unique_ptr<Plan> plan_;
  std::vector<HostBlob> hosts_;
  // The last layers of the latest passes, forward and backward.
  int reached_ = std::numeric_limits<int>::max(), sent_down_to_ = 0;
  // Between the plan and hosts_, by source and target: made at the first pass that needs them.
  std::map<std::pair<const void*, const void*>, Exchange> exchanges_;
  Feeds feeds_;
  StepBlock step_;          // what the device's own holds, or will at the next pass
  StepReport report_;       // as it was read last
  StepReport host_report_;  // of ops that the host runs in the device's stead
  std::shared_ptr<Memory> step_memory_, report_memory_;
  // The losses of a pass, layer by layer: which they are, the op that sums them, and where to.
  std::vector<int> tally_layers_;
  std::unique_ptr<Op> tally_;
  std::shared_ptr<Memory> tally_memory_;
  std::vector<double> tally_values_;
  // A whole pass: forward with its losses; backward, too; and the same as the first of an
  // iteration.
  Course forward_course_, both_course_, first_course_;
  // With takers_: the last pass of an iteration; and the only one.
  Takers takers_;
  Course last_course_, only_course_;
  // An iteration in one piece. Made at the first.
  struct Whole {
    std::vector<StepBlock> steps;    // of its passes
    std::shared_ptr<Memory> memory;  // for them
    std::vector<Unit*> beside;
    std::vector<Device::Part> parts;  // none: the host has a part in it
    std::shared_ptr<void> recording;
  };
  std::unique_ptr<Whole> make_whole(int32_t passes, std::span<Unit* const> beside);
  std::unique_ptr<Whole> whole_;
  // What a test sums up over its passes: each output, then the losses. Made at the first test.
  struct TestSums {
    std::unique_ptr<Op> op;
    std::vector<Tensor> sums;
    std::shared_ptr<Memory> memory;
    Course course;  // a pass, with what it adds
  };
  std::unique_ptr<TestSums> test_sums_;
  // The same net over several batches at once, for tests; whether there may be one, once somebody
  // asked.
  std::unique_ptr<Net> merged_;
  std::optional<bool> may_merge_;
};

}  // namespace pcc
