// A test of a net: passes whose outputs are summed where the net runs, several batches in one where
// that comes to the same.
#include <algorithm>

#include "core/parallel.h"
#include "graph/merge.h"
#include "graph/net.h"
#include "graph/transfer.h"
#include "ops/rows.h"

namespace pcc {

namespace {

// Samples with which any pass is worth its launches.
constexpr int64_t kMostSamples = 4096;

}  // namespace

void Net::make_test_sums() {
  auto test = std::make_unique<TestSums>();
  OpSite site;
  site.name = "sums of a test";
  site.device = device_.get();
  OpBuffers buffers;
  for (const int blob : outputs()) {
    PCC_CONFIG(visible(blob), "blob '", at(built_.blobs, blob).name, "' is not kept in this plan");
    buffers.in.push_back(plan_->data(at(built_.blobs, blob).versions.back().value));
  }
  const Shape losses{static_cast<int64_t>(tally_layers_.size())};
  buffers.in.push_back({tally_memory_->data(), {losses, DType::f64, Layout::plain}});
  std::vector<int64_t> offsets;
  int64_t bytes = 0;
  for (const Tensor& in : buffers.in) {
    site.in.push_back(in.spec);
    site.out.push_back(in.spec);
    site.out.back().dtype = DType::f64;
    offsets.push_back(bytes);
    bytes += (site.out.back().bytes() + 63) / 64 * 64;
  }
  test->memory = device_->allocate(bytes);
  for (size_t i = 0; i < offsets.size(); ++i)
    test->sums.push_back({test->memory->data() + offsets[i], site.out[i]});
  buffers.out = test->sums;
  site.want_din.assign(site.in.size(), false);
  buffers.din.resize(site.in.size());
  buffers.dout.resize(site.out.size());
  test->op = make_beside(AccumulateDesc{}, site);
  test->op->bind(buffers);
  test->course = forward_course_;
  test->course.add({test->op.get()}, Place::device, -1);
  test_sums_ = std::move(test);
}

Net::Tested Net::test(int64_t passes, const std::function<bool()>& poll) {
  const InUse::Run run(*in_use_);
  const int64_t batches = merge(passes);
  begin_test();
  if (batches > 1) merged_->begin_test();
  Tested tested;
  while (tested.passes < passes) {
    // The last pass is always this net's own, so that its blobs hold what that gave.
    const bool many = batches > 1 && passes - tested.passes > batches;
    (many ? *merged_ : *this).test_pass(tested.passes);
    if (many) step_.pass += static_cast<uint64_t>(batches);
    tested.passes += many ? batches : 1;
    // Elsewhere to look is to wait: at the end.
    if (device_->host_visible()) take_test_errors(tested.passes);
    if (!poll()) break;
  }
  take_test_errors(tested.passes);
  add_test_sums(tested, 1);
  if (batches > 1) merged_->add_test_sums(tested, static_cast<double>(batches));
  return tested;
}

void Net::begin_test() {
  if (!test_sums_) make_test_sums();
  device_->clear(test_sums_->memory->data(), test_sums_->memory->bytes());
}

// Goes on with a test whose sums are known, in a net that has been laid out anew.
void Net::resume_test(const std::vector<std::vector<double>>& sums) {
  begin_test();
  for (size_t i = 0; i < sums.size(); ++i) {
    const Tensor& to = test_sums_->sums[i];
    // The last are the losses, whose number stays.
    PCC_CONFIG(to.count() == static_cast<int64_t>(sums[i].size()), "output '",
               at(built_.blobs, outputs()[i]).name,
               "' has another size in this pass of a test than before: they cannot be summed up");
    pcc::write(*device_, to, sums[i]);
  }
}

// One pass, which adds to the sums. before: those made.
void Net::test_pass(int64_t before) {
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  const int end = static_cast<int>(built_.layers.size()) - 1;
  step_.parts = 0;
  step_.iteration = before;  // an error says in which it was
  // A net that is laid out anew, for a pass of other shapes, goes on from these.
  std::vector<std::vector<double>> sums;
  run_pass(0, end, [&] {
    if (!test_sums_) resume_test(sums);
    try {
      test_sums_->course.run(*device_, contexts());
    } catch (const RowsChanged&) {
      sums.clear();
      for (const Tensor& each : test_sums_->sums)
        sums.push_back(pcc::read(*device_, each, each.count()));
      throw;
    }
  });
  give_back_params();
  give_back(0, end, false);
}

// Stands behind the batch that an error was in, as if none had come after it, and throws it.
void Net::take_test_errors(int64_t passes) {
  for (Net* net : {merged_.get(), this}) {
    if (!net) continue;
    const StepReport& said = net->report();
    if (said.halt != Halt::label) continue;
    rewind(passes - said.iteration - said.sample / net->batch_of_op(said.site) - 1);
    if (net != this) clear_halt();
    net->take_error();
  }
}

void Net::add_test_sums(Tested& to, double times) {
  const TestSums& test = *test_sums_;
  to.sums.resize(outputs().size());
  for (size_t o = 0; o < outputs().size(); ++o) {
    const std::vector<double> sums = read(outputs()[o], test.sums[o]);
    to.sums[o].resize(sums.size());
    for (size_t i = 0; i < sums.size(); ++i) to.sums[o][i] += times * sums[i];
  }
  for (const double loss : pcc::read(*device_, test.sums.back(), test.sums.back().count()))
    to.loss += times * loss;
}

// How many passes of such a test one pass of merged_ makes up for; 1: there is none.
int64_t Net::merge(int64_t passes) {
  if (options_.train || options_.batches > 1 || passes < 3 || built_.feeds.empty()) return 1;
  int64_t most = options_.merge;
  if (most == 0) {
    // In the memory that there is anyway, or a sixteenth of the device's.
    const int64_t all = device_->memory_bytes();
    const int64_t room = all ? std::max(all / 16, plan_->arena()->bytes()) : 0;
    most = std::min(room / std::max<int64_t>(1, plan_->arena_bytes()),
                    kMostSamples / std::max<int64_t>(1, built_.feeds[0].samples));
  }
  if (most < 2) return 1;
  // All but the last pass, and a few where they do not come out even.
  const int64_t batches = (passes - 1) / ((passes - 1 + most - 1) / most);
  if (batches < 2) return 1;
  if (merged_ && merged_->options_.batches == batches) return batches;
  std::vector<LayerSpec> specs;
  std::map<std::string, LayerFeed> feeds;
  for (const LayerInfo& info : built_.layers) {
    specs.push_back(info.layer->spec());
    feeds[specs.back().name] = info.layer->context().feed;
  }
  NetOptions options = options_;
  options.batches = batches;
  options.keep_blobs = false;
  options.keep.clear();
  if (!may_merge_) may_merge_ = pcc::may_merge(specs, feeds, options);
  if (!*may_merge_) return 1;
  merged_.reset();
  merged_ = std::make_unique<Net>(specs, feeds, options,
                                  std::shared_ptr<Net>(std::shared_ptr<Net>(), this));
  *may_merge_ = !merged_->forward_course_.visits_host();
  if (!*may_merge_) merged_.reset();
  return merged_ ? batches : 1;
}

}  // namespace pcc
