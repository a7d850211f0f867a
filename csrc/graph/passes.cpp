// How a net runs: passes, their losses, and what ops report.
#include <algorithm>
#include <functional>

#include "core/parallel.h"
#include "graph/net.h"
#include "graph/transfer.h"
#include "ops/classes.h"
#include "ops/rows.h"

namespace pcc {

Context Net::context(bool first) const {
  return {reinterpret_cast<const StepBlock*>(step_memory_->data()),
          reinterpret_cast<StepReport*>(report_memory_->data()), feeds_.batches(), first};
}

Contexts Net::contexts(bool first) {
  return {context(first), {&step_, &host_report_, feeds_.host_batches(), first}};
}

void Net::upload_step() { device_->upload(step_memory_->data(), &step_, sizeof(step_)); }

// Everything that the host does for a pass over the layers [first, last].
void Net::begin_pass(int first, int last) {
  take_in_params();
  take_in(first, false);
  if (first == 0) ++step_.pass;  // a pass in parts is one pass: Dropout draws the same masks
  feeds_.advance(first, last, step_.pass);
  upload_step();
  prepare();
}

void Net::run_pass(int first, int last, const std::function<void()>& run) {
  const bool any = varies(static_cast<int>(built_.layers.size()));
  for (LayerInfo& info : built_.layers) info.layer->hold(false);
  // What a pass itself moves is moved once.
  std::vector<std::pair<Tensor, std::vector<double>>> statistics;
  for (const Param& param : built_.program.params)
    if (any && param.statistic)
      statistics.emplace_back(param.data, pcc::read(*device_, param.data, param.data.count()));
  for (size_t again = 0;; ++again) {
    begin_pass(first, last);
    try {
      reached_ = last;
      if (built_.unfit < 0 || built_.unfit > last) return run();
      // One of those that fit may find other shapes for the rest.
      forward_course_.run(*device_, contexts(), first, built_.unfit - 1);
      clear_halt();
      std::rethrow_exception(built_.why);
    } catch (const RowsChanged& changed) {
      // Each time one layer more, in their order, has the rows that it needs.
      PCC_CHECK(again < built_.layers.size(), "layer '", changed.name, "' changes at every pass");
      PCC_CONFIG(first == 0, "layer '", changed.name, "' has ", changed.rows,
                 " rows now, or tops of other shapes, for which the net must be run from its "
                 "first layer on");
      for (const auto& [tensor, values] : statistics) pcc::write(*device_, tensor, values);
      rewind(1);
      const int which = layer_index(changed.name);
      for (int l = 0; l <= which; ++l) at(built_.layers, l).layer->hold(true);
      Layer& layer = *at(built_.layers, which).layer;
      lay_out_anew(last, [&] { layer.set_rows(changed.rows); }, [&] { layer.set_rows(-1); });
    }
  }
}

// Lets ops make anew what they keep of the parameters, if these have changed.
void Net::prepare() {
  if (prepared_ == *params_version_) return;
  plan_->prepare(contexts());
  prepared_ = *params_version_;
}

double Net::forward(int first, int last) {
  const int end = static_cast<int>(built_.layers.size()) - 1;
  PCC_CONFIG(first >= 0 && last <= end && first <= last, "a pass over the layers ", first, " to ",
             last, ", but the net has ", end + 1);
  const bool whole = first == 0 && last == end;
  PCC_CONFIG(options_.keep_blobs || whole,
             "a pass over some layers only needs a net built with fuse=False");
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  step_.parts = 0;
  const auto run = [&] {
    if (whole)
      forward_course_.run(*device_, contexts());
    else
      forward_course_.run(*device_, contexts(), first, last);
  };
  run_pass(first, last, std::ref(run));  // itself it would be copied to memory of its own
  give_back_params();
  give_back(first, last, false);
  take_error();
  return losses(first, last);
}

void Net::backward(int first, int last) {
  const int end = static_cast<int>(built_.layers.size()) - 1;
  PCC_CONFIG(first <= end && last >= 0 && first >= last, "a backward pass over the layers ", first,
             " down to ", last, ", but the net has ", end + 1);
  const bool whole = first == end && last == 0;
  PCC_CONFIG(options_.keep_blobs || whole,
             "a pass over some layers only needs a net built with fuse=False");
  PCC_CONFIG(options_.train || options_.force_backward || options_.keep_blobs,
             "this net was planned for forward passes only");
  if (built_.unfit >= 0 && first >= built_.unfit) std::rethrow_exception(built_.why);
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  take_in_params();
  prepare();
  take_in(first, true);
  if (whole)
    plan_->backward(contexts());
  else
    plan_->backward(contexts(), first, last);
  sent_down_to_ = last;
  give_back_params();
  give_back(first, last, true);
}

void Net::accumulate(const StepBlock& rates) {
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  const int end = static_cast<int>(built_.layers.size()) - 1;
  set_rates(rates);
  run_pass(0, end, [&] { run_both(); });
  give_back_params();
}

// Forward and backward of one of an iteration's passes.
void Net::run_both() {
  const int end = static_cast<int>(built_.layers.size()) - 1;
  const bool looked = looked_at();
  const bool taken = takers_.join && step_.part + 1 == step_.parts;
  if (step_.part == 0 && looked)
    device_->clear(diff_block_.data, diff_block_.spec.bytes());
  else if (step_.part == 0)
    clear_stale_diffs();
  if (looked) {
    // What users wrote into their arrays of diffs is taken in between.
    forward_course_.run(*device_, contexts());
    give_back(0, end, false);
    take_in(end, true);
    plan_->backward(contexts());
    give_back(end, 0, true);
    if (taken) {
      std::vector<Call> calls;
      for (const Takers::Part& part : takers_.parts) calls.push_back({part.op});
      calls.push_back({takers_.join});
      device_->run(calls.data(), calls.size(), context());
    }
  } else if (step_.part == 0) {
    (taken ? only_course_ : first_course_).run(*device_, contexts(true));
  } else {
    (taken ? last_course_ : both_course_).run(*device_, contexts());
  }
}

void Net::take_gradients(Takers takers) {
  PCC_CHECK(!takers.join || overlaps(), "the host's work cannot be recorded with a pass");
  takers_ = std::move(takers);
  make_takers_courses();
}

void Net::leave_gradients(const Op* join) {
  if (takers_.join == join) take_gradients({});
}

void Net::make_takers_courses() {
  last_course_ = only_course_ = {};
  if (!takers_.join) return;
  std::vector<int> steps;
  for (const Takers::Part& part : takers_.parts) {
    int step = 0;
    for (const int param : part.params) step = std::max(step, plan_->written_by(param));
    steps.push_back(step);
  }
  last_course_ = forward_course_;
  last_course_.add(plan_->backward_course([&](int step, Course& to) {
    for (size_t p = 0; p < steps.size(); ++p)
      if (steps[p] == step) to.add({takers_.parts[p].op}, Place::device, -1);
  }));
  last_course_.add({takers_.join}, Place::device, -1);
  only_course_ = last_course_;
}

// What no op overwrites, before the first pass of an iteration.
void Net::clear_stale_diffs() {
  if (stale_begin_ < stale_end_)
    device_->clear(diff_mirror_.block()->data() + stale_begin_, stale_end_ - stale_begin_);
}

bool Net::looked_at() const {
  return std::any_of(hosts_.begin(), hosts_.end(),
                     [](const HostBlob& host) { return host.data || host.diff; });
}

void Net::run_beside(Unit& unit, const StepBlock& rates, bool changes) {
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  set_rates(rates);
  take_in_params();
  upload_step();
  if (host_report_.halt != Halt::none) tell_device();
  device_->run(unit, context());
  if (changes) ++*params_version_;
  give_back_params();
}

void Net::set_rates(const StepBlock& rates) {
  reached_ = std::numeric_limits<int>::max();  // of iterations each pass is a whole one
  sent_down_to_ = 0;
  step_.iteration = rates.iteration;
  step_.lr = rates.lr;
  step_.momentum = rates.momentum;
  step_.weight_decay = rates.weight_decay;
  step_.part = rates.part;
  step_.parts = rates.parts;
}

void Net::clear_param_diffs() {
  const InUse::Look look(*in_use_);
  take_in_params();
  device_->clear(diff_block_.data, diff_block_.spec.bytes());
  give_back_params();
}

// Of the latest pass.
double Net::losses(int first, int last) {
  device_->download(tally_values_.data(), tally_memory_->data(), tally_memory_->bytes());
  double sum = 0;
  for (size_t i = 0; i < tally_layers_.size(); ++i)
    if (tally_layers_[i] >= first && tally_layers_[i] <= last) sum += tally_values_[i];
  return sum;
}

// What ops on the host have reported counts on the device, too.
void Net::tell_device() {
  report();
  device_->upload(report_memory_->data(), &report_, sizeof(report_));
}

const StepReport& Net::report() {
  // Where the host sees it nothing need be copied.
  if (device_->host_visible()) return *reinterpret_cast<StepReport*>(report_memory_->data());
  device_->download(&report_, report_memory_->data(), sizeof(report_));
  if (report_.halt == Halt::none && host_report_.halt != Halt::none) {
    static_cast<Trouble&>(report_) = host_report_;
  }
  return report_;
}

void Net::take_error() {
  const StepReport& said = report();
  if (said.halt != Halt::label) return;
  Trouble trouble = said;
  trouble.sample %= batch_of_op(said.site);
  const Node* const node = op_with(said.site);
  const bool indices = node && count_of_indices(node->desc, node->ins.back().shape) > 0;
  const std::string message = label_message(name_of_op(said.site), trouble, indices);
  clear_halt();
  PCC_THROW(data, message);
}

const Node* Net::op_with(uint32_t number) const {
  for (const Node& node : built_.program.nodes)
    if (node.number == number) return &node;
  return nullptr;
}

// Of the op with that number.
std::string Net::name_of_op(uint32_t number) const {
  const Node* const node = op_with(number);
  return node ? node->name : "?";
}

// Samples of one batch, as the op with that number sees them.
int64_t Net::batch_of_op(uint32_t number) const {
  const Node* const node = op_with(number);
  if (!node) return 1;
  const int64_t indices = count_of_indices(node->desc, node->ins.back().shape);
  const int64_t all = indices > 0 ? indices : node->ins[0].shape[0];
  return std::max<int64_t>(1, all / options_.batches);
}

void Net::clear_halt() {
  host_report_.halt = Halt::none;
  const Halt none = Halt::none;
  device_->upload(&reinterpret_cast<StepReport*>(report_memory_->data())->halt, &none,
                  sizeof(none));
}

void Net::rewind(int64_t passes) {
  if (passes == 0) return;
  step_.pass -= static_cast<uint64_t>(passes);
  feeds_.rewind(passes);
}

}  // namespace pcc
