#include "graph/net.h"

#include <algorithm>

#include "core/parallel.h"
#include "graph/splits.h"
#include "graph/transfer.h"
#include "ops/fill.h"

namespace pcc {

namespace {

// Whoever shares parameters shares the memory they lie in.
std::shared_ptr<Device> open_device(const Backend& backend, const NetOptions& options,
                                    const Net* share) {
  if (!share) {
    std::shared_ptr<Device> described =
        options.described ? backend.describe(options.precision) : nullptr;
    return described ? described : backend.open(device_index(options.backend), options.precision);
  }
  PCC_CONFIG(share->backend().name() == backend.name() || share->device()->host_visible(),
             "a net on backend ", backend.name(), " cannot share the parameters of one on ",
             share->backend().name());
  const Precision shared = share->device()->precision();
  PCC_CONFIG(options.precision == Precision::usual || options.precision == shared,
             "a net of precision ", name_of(options.precision),
             " cannot share the parameters of one of ", name_of(shared));
  return share->device();
}

// Whether a layer reads that top and sends it a gradient. Readers of a top with a loss_weight of
// its own do not: a Split stands between.
bool gets_gradient(const Built& built, const LayerInfo& from, size_t top) {
  for (const LayerInfo& reader : built.layers)
    for (size_t b = 0; b < reader.bottom_blobs.size(); ++b)
      if (reader.bottom_blobs[b] == from.top_blobs[top] &&
          reader.bottom_values[b] == from.top_values[top] && reader.need_backward &&
          reader.bottom_need_backward[b])
        return true;
  return false;
}

}  // namespace

Net::Net(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
         NetOptions options, std::shared_ptr<Net> share)
    : options_(std::move(options)),
      threads_(pcc::threads()),
      backend_(pcc::backend(options_.backend.empty() ? default_backend() : options_.backend)),
      share_(std::move(share)),
      in_use_(share_ ? share_->in_use_ : std::make_shared<InUse>()),
      device_(open_device(backend_, options_, share_.get())) {
  PCC_CONFIG(backend_.computes(options_.dtype), name_of(options_.dtype),
             " needs the reference backend, not ", backend_.name());
  PCC_CONFIG(!options_.fuse || !options_.keep_blobs,
             "a net that keeps every blob cannot fuse layers: fuse or keep_blobs, not both");
  PCC_CONFIG(options_.replicas >= 1, "replicas must be at least 1, not ", options_.replicas);
  PCC_CONFIG(options_.rank >= 0 && options_.rank < options_.ranks, "rank ", options_.rank, " of ",
             options_.ranks);
  const InUse::Pass pass(*in_use_);
  const ThreadScope scope(threads_);
  step_.seed = options_.seed;
  step_.net = options_.index;
  step_.share = static_cast<uint64_t>(options_.rank);
  params_version_ = share_ ? share_->params_version_ : std::make_shared<uint64_t>(1);
  step_memory_ = device_->allocate(sizeof(StepBlock));
  report_memory_ = device_->allocate(sizeof(StepReport));
  clear_halt();
  make_layers(insert_splits(specs), feeds, options_, built_);
  lower_layers(options_, input_shapes_, built_);
  make_params(share_.get());
  fill_params();
  make_plan(share_.get());
}

void Net::make_params(const Net* share) {
  std::vector<Param>& params = built_.program.params;
  offsets_.assign(params.size(), -1);
  std::map<std::pair<std::string, int>, const Param*> lent;
  std::map<std::string, size_t> lent_counts;
  if (share)
    for (const LayerInfo& layer : share->built_.layers) {
      if (!layer.params.empty()) lent_counts[layer.layer->spec().name] = layer.params.size();
      for (const int p : layer.params) {
        const Param& param = at(share->built_.program.params, p);
        lent[{param.layer, param.index}] = &at(share->built_.program.params, param.owner);
      }
    }
  for (const LayerInfo& layer : built_.layers) {
    const auto found = lent_counts.find(layer.layer->spec().name);
    PCC_CONFIG(found == lent_counts.end() || found->second == layer.params.size(),
               layer.layer->spec().title(), " has ", layer.params.size(), " parameter(s), but ",
               found->second, " in the net it shares them with");
  }
  constexpr int64_t kUnit = 16;  // elements: every parameter begins on a vector boundary
  int64_t size = 0;
  for (size_t p = 0; p < params.size(); ++p) {
    Param& param = params[p];
    if (param.owner != static_cast<int>(p)) continue;
    const auto found = lent.find({param.layer, param.index});
    if (found != lent.end()) {
      PCC_CONFIG(found->second->shape == param.shape, "layer '", param.layer, "': parameter ",
                 param.index, " has shape ", param.shape, " in this net, but ",
                 found->second->shape, " in the net it shares parameters with");
      param.data = found->second->data;
      param.diff = found->second->diff;
      param.borrowed = true;
      continue;
    }
    learnable_.push_back(static_cast<int>(p));
  }
  // Statistics, which get no gradient, lie behind all others.
  for (const bool statistic : {false, true})
    for (const int p : learnable_) {
      const Param& param = at(params, p);
      if (param.statistic != statistic) continue;
      at(offsets_, p) = size;
      size += (param.shape.count() + kUnit - 1) / kUnit * kUnit;
    }
  const TensorSpec block{Shape{size}, options_.dtype, Layout::plain};
  data_mirror_ = Mirror(device_, device_->allocate(block.bytes()));
  diff_mirror_ = Mirror(device_, device_->allocate(block.bytes()));
  data_block_ = {data_mirror_.block()->data(), block};
  diff_block_ = {diff_mirror_.block()->data(), block};
  for (const int p : learnable_) {
    Param& param = at(params, p);
    const int64_t begin = at(offsets_, p) * size_of(options_.dtype);
    param.data = {data_mirror_.block()->data() + begin, plain(param.shape, options_.dtype)};
    param.diff = {diff_mirror_.block()->data() + begin, plain(param.shape, options_.dtype)};
  }
}

Tensor Net::gradients() const {
  int64_t end = data_block_.count();
  for (const int p : learnable_)
    if (at(built_.program.params, p).statistic) end = std::min(end, at(offsets_, p));
  return {diff_block_.data, plain(Shape{end}, options_.dtype)};
}

void Net::fill_params() {
  std::vector<double> values;
  for (const int p : learnable_) {
    const Param& param = at(built_.program.params, p);
    RandomStream stream;
    stream.seed = options_.seed;
    stream.layer = hash_name(param.layer.c_str());
    stream.pass = (uint64_t{1} << 40) +
                  static_cast<uint64_t>(param.index);  // apart from the passes' own draws
    values.assign(static_cast<size_t>(param.shape.count()), 0);
    fill(param.filler, param.shape, stream, values.data());
    pcc::write(*device_, param.data, values);
  }
}

void Net::make_plan(const Net* share) {
  exchanges_.clear();
  plan_.reset();
  const bool keep = options_.keep_blobs;
  const bool gradients = options_.train || options_.force_backward || keep;
  if (options_.fuse) {
    fuse(built_.program);
    ask_for_moments(built_.program, backend_, *device_);
  }
  fallbacks_.clear();
  choose_ops(built_.program, backend_, *device_, gradients, &fallbacks_);
  for (std::string& remark : device_->take_remarks()) built_.warnings.push_back(std::move(remark));
  // A loss's weight is its diff, unless a layer sends it one: then that takes its place, as Caffe's
  // layer would overwrite it. Over replicas the gradient is the mean of what each would have alone.
  std::vector<std::pair<int, double>> seeds;
  for (const LayerInfo& layer : built_.layers)
    for (size_t t = 0; t < layer.tops.size(); ++t)
      if (layer.loss_weights[t] != 0 && !gets_gradient(built_, layer, t))
        seeds.emplace_back(
            layer.top_values[t],
            layer.loss_weights[t] / static_cast<double>(options_.replicas * options_.ranks));
  std::shared_ptr<Memory> lend = share && !keep ? share->plan_->arena() : nullptr;
  plan_ = std::make_unique<Plan>(built_.program, backend_, device_, keep, gradients, seeds,
                                 std::move(lend));
  fallbacks_.insert(fallbacks_.end(), plan_->fallbacks().begin(), plan_->fallbacks().end());
  hosts_.assign(built_.blobs.size(), {});
  feeds_ = Feeds(device_, built_.feeds, options_);
  prepared_ = 0;
  whole_.reset();
  test_sums_.reset();
  may_merge_.reset();
  merged_.reset();
  make_tally();
  // What no op overwrites is cleared in one piece, whatever lies between.
  stale_begin_ = diff_block_.spec.bytes();
  stale_end_ = 0;
  for (const int p : learnable_) {
    if (plan_->overwrites(p)) continue;
    const int64_t begin = at(offsets_, p) * size_of(options_.dtype);
    stale_begin_ = std::min(stale_begin_, begin);
    stale_end_ = std::max(stale_end_, begin + at(built_.program.params, p).diff.spec.bytes());
  }
}

// The op that sums up the losses of a pass, and the units of whole passes that end with it.
void Net::make_tally() {
  TallyDesc desc;
  OpSite site;
  site.name = "losses";
  site.device = device_.get();
  OpBuffers buffers;
  tally_layers_.clear();
  for (size_t l = 0; l < built_.layers.size(); ++l) {
    const LayerInfo& layer = built_.layers[l];
    for (size_t t = 0; t < layer.tops.size(); ++t) {
      if (layer.loss_weights[t] == 0) continue;
      // In every layout replica 0's samples come first.
      const Tensor& top = plan_->data(layer.top_values[t]);
      desc.weights.push_back(layer.loss_weights[t]);
      const int64_t parts = at(built_.blobs, layer.top_blobs[t]).parts(options_.replicas);
      desc.counts.push_back(options_.rank == 0 ? top.count() / parts : 0);
      site.in.push_back(top.spec);
      buffers.in.push_back(top);
      tally_layers_.push_back(static_cast<int>(l));
    }
  }
  const TensorSpec sums{Shape{static_cast<int64_t>(desc.weights.size())}, DType::f64,
                        Layout::plain};
  tally_memory_ = device_->allocate(sums.bytes());
  tally_values_.assign(desc.weights.size(), 0);
  site.out = {sums};
  site.want_din.assign(site.in.size(), false);
  buffers.out = {{tally_memory_->data(), sums}};
  buffers.din.resize(site.in.size());
  buffers.dout.resize(1);
  tally_ = make_beside(desc, site);
  tally_->bind(buffers);
  forward_course_ = plan_->forward_course();
  forward_course_.add({tally_.get()}, Place::device, -1);
  both_course_ = forward_course_;
  both_course_.add(plan_->backward_course());
  first_course_ = both_course_;
  make_takers_courses();
}

void Net::reshape(const std::map<std::string, Shape>& inputs, int last) {
  const InUse::Pass pass(*in_use_);
  for (const auto& [name, shape] : inputs) {
    const int blob = blob_index(name);
    PCC_CONFIG(blob >= 0 && std::count(built_.inputs.begin(), built_.inputs.end(), blob) > 0,
               "reshape: the net has no input blob '", name, "'");
  }
  const ThreadScope scope(threads_);
  const std::map<std::string, Shape> before = input_shapes_;
  lay_out_anew(
      last,
      [&] {
        for (const auto& [name, shape] : inputs) input_shapes_[name] = shape;
      },
      [&] { input_shapes_ = before; });
}

// Whether one of the first `end` layers may find in a pass that its tops have other shapes.
bool Net::varies(int end) const {
  return std::any_of(built_.layers.begin(), built_.layers.begin() + end,
                     [](const LayerInfo& info) { return info.layer->varies(); });
}

// Plans the net for other shapes, for a pass up to the layer `last`, -1: for any. Inputs, and
// arrays of blobs, that keep theirs stay.
void Net::lay_out_anew(int last, const std::function<void()>& change,
                       const std::function<void()>& undo) {
  const std::vector<HostBlob> hosts = hosts_;
  take_in(0, false);
  std::vector<OutsideData> outside = outside_data();
  change();
  try {
    lower_layers(options_, input_shapes_, built_);
    if (built_.unfit >= 0 && (last < 0 || (last >= built_.unfit && !varies(built_.unfit))))
      std::rethrow_exception(built_.why);
    make_plan(share_.get());
  } catch (...) {
    // The net goes on in its old shapes.
    undo();
    lower_layers(options_, input_shapes_, built_);
    make_plan(share_.get());
    hosts_ = hosts;
    put_back(outside);
    throw;
  }
  keep_hosts(hosts);
  put_back(outside);
}

std::vector<Net::OutsideData> Net::outside_data() const {
  std::vector<OutsideData> all;
  for (size_t b = 0; b < built_.blobs.size(); ++b) {
    const int value = built_.blobs[b].versions.front().value;
    if (!built_.program.from_outside(value)) continue;
    const Tensor tensor = plan_->data(value);
    all.push_back({b, tensor.spec, std::vector<uint8_t>(static_cast<size_t>(tensor.spec.bytes()))});
    device_->download(all.back().bytes.data(), tensor.data, tensor.spec.bytes());
  }
  return all;
}

// Inputs that kept their shape keep what the caller put there.
void Net::put_back(const std::vector<OutsideData>& outside) {
  for (const auto& [blob, spec, bytes] : outside) {
    const Tensor to = plan_->data(built_.blobs[blob].versions.front().value);
    if (to.shape() == spec.shape && to.spec.layout == spec.layout)
      device_->upload(to.data, bytes.data(), static_cast<int64_t>(bytes.size()));
  }
}

int Net::blob_index(const std::string& name) const {
  for (size_t b = 0; b < built_.blobs.size(); ++b)
    if (built_.blobs[b].name == name) return static_cast<int>(b);
  return -1;
}

int Net::param_index(const std::string& layer, int index) const {
  const std::vector<Param>& params = built_.program.params;
  for (size_t p = 0; p < params.size(); ++p)
    if (params[p].layer == layer && params[p].index == index) return static_cast<int>(p);
  return -1;
}

int Net::layer_index(const std::string& name) const {
  for (size_t l = 0; l < built_.layers.size(); ++l)
    if (built_.layers[l].layer->spec().name == name) return static_cast<int>(l);
  return -1;
}

}  // namespace pcc
