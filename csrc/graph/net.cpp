#include "graph/net.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "graph/splits.h"

namespace pcc {

namespace {

template <typename T>
auto& at(T& list, int index) {
  return list[static_cast<size_t>(index)];
}

double value_at(const Tensor& tensor, int64_t index) {
  return tensor.spec.dtype == DType::f32 ? tensor.as<float>()[index] : tensor.as<double>()[index];
}

TensorSpec plain(const Shape& shape, DType dtype) { return {shape, dtype, Layout::plain}; }

}  // namespace

Net::Net(const std::vector<LayerSpec>& specs, std::map<std::string, LayerFeed> feeds,
         NetOptions options, std::shared_ptr<Net> share)
    : options_(std::move(options)),
      backend_(pcc::backend(options_.backend.empty() ? default_backend() : options_.backend)),
      share_(std::move(share)),
      feeds_(std::move(feeds)),
      specs_(insert_splits(specs)) {
  PCC_CONFIG(options_.dtype == DType::f32 || backend_.name() == "reference",
             "float64 needs the reference backend, not ", backend_.name());
  PCC_CONFIG(options_.replicas >= 1, "replicas must be at least 1, not ", options_.replicas);
  state_.seed = options_.seed;
  state_.net = options_.index;
  make_layers(specs_, feeds_, options_, built_);
  lower_layers(options_, input_shapes_, built_);
  make_params(share_.get());
  fill_params();
  make_plan(share_.get());
}

void Net::make_params(const Net* share) {
  std::vector<Param>& params = built_.program.params;
  offsets_.assign(params.size(), -1);
  std::map<std::pair<std::string, int>, const Param*> lent;
  std::map<std::string, int> lent_counts;
  if (share)
    for (const LayerInfo& layer : share->built_.layers)
      for (const int p : layer.params) {
        const Param& param = at(share->built_.program.params, p);
        lent[{param.layer, param.index}] = &at(share->built_.program.params, param.owner);
        ++lent_counts[param.layer];
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
      continue;
    }
    offsets_[p] = size;
    size += (param.shape.count() + kUnit - 1) / kUnit * kUnit;
    learnable_.push_back(static_cast<int>(p));
  }
  const int64_t bytes = size * size_of(options_.dtype);
  data_memory_ = std::make_shared<Memory>(bytes);
  diff_memory_ = std::make_shared<Memory>(bytes);
  data_block_ = {data_memory_->data(), plain(Shape{size}, options_.dtype)};
  diff_block_ = {diff_memory_->data(), plain(Shape{size}, options_.dtype)};
  for (const int p : learnable_) {
    Param& param = at(params, p);
    const int64_t begin = at(offsets_, p) * size_of(options_.dtype);
    param.data = {data_memory_->data() + begin, plain(param.shape, options_.dtype)};
    param.diff = {diff_memory_->data() + begin, plain(param.shape, options_.dtype)};
  }
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
    for (size_t i = 0; i < values.size(); ++i)
      if (options_.dtype == DType::f32)
        param.data.as<float>()[i] = static_cast<float>(values[i]);
      else
        param.data.as<double>()[i] = values[i];
  }
}

void Net::make_plan(const Net* share) {
  plan_.reset();
  const bool keep = !options_.fuse;
  const bool gradients = options_.train || options_.force_backward || keep;
  if (options_.fuse) fuse(built_.program);
  fallbacks_.clear();
  choose_ops(built_.program, backend_, options_.dtype, gradients, keep, &fallbacks_);
  std::vector<std::pair<int, double>> seeds;
  for (const LayerInfo& layer : built_.layers)
    for (size_t t = 0; t < layer.tops.size(); ++t)
      if (layer.loss_weights[t] != 0)
        seeds.emplace_back(layer.top_values[t], layer.loss_weights[t]);
  std::shared_ptr<Memory> lend = share && !keep ? share->plan_->arena() : nullptr;
  plan_ = std::make_unique<Plan>(built_.program, backend_, options_.dtype, keep, gradients, seeds,
                                 std::move(lend));
  hosts_.assign(built_.blobs.size(), {});
}

void Net::reshape(const std::map<std::string, Shape>& inputs) {
  for (const auto& [name, shape] : inputs) input_shapes_[name] = shape;
  lower_layers(options_, input_shapes_, built_);
  make_plan(share_.get());
}

// --- passes
// ---------------------------------------------------------------------------------------------------------

double Net::forward(int first, int last) {
  const int end = static_cast<int>(built_.layers.size()) - 1;
  PCC_CONFIG(first >= 0 && last <= end && first <= last, "a pass over the layers ", first, " to ",
             last, ", but the net has ", end + 1);
  PCC_CONFIG(!options_.fuse || (first == 0 && last == end),
             "a pass over some layers only needs a net built with fuse=False");
  take_in(first, false);
  if (first == 0) ++state_.pass;  // a pass in parts is one pass: Dropout draws the same masks
  plan_->forward(state_, first, last);
  give_back(last, false);
  return losses(first, last);
}

void Net::backward(int first, int last) {
  const int end = static_cast<int>(built_.layers.size()) - 1;
  PCC_CONFIG(first <= end && last >= 0 && first >= last, "a backward pass over the layers ", first,
             " down to ", last, ", but the net has ", end + 1);
  PCC_CONFIG(!options_.fuse || (first == end && last == 0),
             "a pass over some layers only needs a net built with fuse=False");
  PCC_CONFIG(options_.train || options_.force_backward || !options_.fuse,
             "this net was planned for forward passes only");
  take_in(first, true);
  plan_->backward(state_, first, last);
  give_back(last, true);
}

void Net::clear_param_diffs() {
  std::memset(diff_memory_->data(), 0, static_cast<size_t>(diff_memory_->bytes()));
}

double Net::losses(int first, int last) const {
  double sum = 0;
  for (int l = first; l <= last; ++l) {
    const LayerInfo& layer = built_.layers[static_cast<size_t>(l)];
    for (size_t t = 0; t < layer.tops.size(); ++t) {
      if (layer.loss_weights[t] == 0) continue;
      const Tensor top = plan_->data(layer.top_values[t]);
      double loss = 0;
      for (int64_t i = 0; i < top.count(); ++i) loss += value_at(top, i);
      sum += layer.loss_weights[t] * loss;
    }
  }
  return sum;
}

// --- what users see
// ---------------------------------------------------------------------------------------------------

int Net::blob_index(const std::string& name) const {
  for (size_t b = 0; b < built_.blobs.size(); ++b)
    if (built_.blobs[b].name == name) return static_cast<int>(b);
  return -1;
}

int Net::layer_index(const std::string& name) const {
  for (size_t l = 0; l < built_.layers.size(); ++l)
    if (built_.layers[l].layer->spec().name == name) return static_cast<int>(l);
  return -1;
}

bool Net::visible(int blob) const {
  if (!options_.fuse) return true;
  const Value& value = built_.program.values[static_cast<size_t>(
      built_.blobs[static_cast<size_t>(blob)].versions.back().value)];
  return !value.gone && (value.keep || value.producer < 0);
}

void Net::copy(const Tensor& from, const Tensor& to) const {
  if (from.spec.layout == to.spec.layout) {
    std::memcpy(to.data, from.data, static_cast<size_t>(from.spec.bytes()));
    return;
  }
  OpSite site;
  site.name = "copy for the user";
  site.in = {from.spec};
  site.out = {to.spec};
  site.want_din = {false};
  site.training = false;
  const std::unique_ptr<Op> op = pcc::backend("reference").make(ReorderDesc{}, site);
  OpBuffers buffers;
  buffers.in = {from};
  buffers.out = {to};
  buffers.dout.resize(1);
  buffers.din.resize(1);
  op->bind(buffers);
  op->forward(state_);
}

const HostBlob& Net::host(int blob, bool diff) {
  const BlobInfo& info = at(built_.blobs, blob);
  if (!visible(blob) || (options_.fuse && diff)) {
    std::string why = "shares memory with others";
    for (const Node& node : built_.program.nodes)
      if (node.layers.size() > 1)
        for (const BlobInfo::Version& version : info.versions)
          if (std::find(node.layers.begin(), node.layers.end(), version.layer) !=
                  node.layers.end() &&
              std::find(node.outs.begin(), node.outs.end(), version.value) == node.outs.end())
            why = "was swallowed by the fused op " + node.name;
    PCC_THROW(config, "the ", diff ? "diff" : "data", " of blob '", info.name,
              "' is not kept in this plan: it ", why,
              ". Build the net with fuse=False, or name the blob in keep=[...]");
  }
  HostBlob& host = at(hosts_, blob);
  host.shape = info.shape();
  auto& memory = diff ? host.diff : host.data;
  if (!memory) {
    const TensorSpec spec = plain(info.shape(), options_.dtype);
    memory = std::make_shared<Memory>(std::max<int64_t>(spec.bytes(), 1));
    const int value = info.versions.back().value;
    const Tensor source = diff ? plan_->diff(info.versions.front().value) : plan_->data(value);
    if (source && source.shape().count() == spec.shape.count())
      copy(source, {memory->data(), plain(source.shape(), options_.dtype)});
  }
  return host;
}

// Before a pass: what the user may have written goes to the values that the pass reads.
void Net::take_in(int first, bool backward) {
  for (size_t b = 0; b < hosts_.size(); ++b) {
    const HostBlob& host = hosts_[b];
    const BlobInfo& info = built_.blobs[b];
    if (host.data) {
      // Forward: the version that lives when layer `first` begins. Backward: the last one.
      const BlobInfo::Version* live = nullptr;
      for (const BlobInfo::Version& version : info.versions) {
        const bool input = built_.program.values[static_cast<size_t>(version.value)].producer < 0;
        if (backward || version.layer < first || input) live = &version;
        if (!backward && input && version.layer >= first) break;
      }
      if (live) {
        const Tensor to = plan_->data(live->value);
        copy({host.data->data(), plain(to.shape(), options_.dtype)}, to);
      }
    }
    if (host.diff && backward) {
      const BlobInfo::Version* live = nullptr;
      for (const BlobInfo::Version& version : info.versions)
        if (version.layer <= first) live = &version;
      const Tensor to = live ? plan_->diff(live->value) : Tensor{};
      if (to) copy({host.diff->data(), plain(to.shape(), options_.dtype)}, to);
    }
  }
}

// After a pass that ended at layer `last`: data as of the newest version made by then, diffs of the
// oldest version reached.
void Net::give_back(int last, bool backward) {
  for (size_t b = 0; b < hosts_.size(); ++b) {
    const HostBlob& host = hosts_[b];
    const BlobInfo& info = built_.blobs[b];
    const BlobInfo::Version *newest = nullptr, *oldest = nullptr;
    for (const BlobInfo::Version& version : info.versions) {
      if (backward || version.layer <= last) newest = &version;
      if (!oldest && version.layer >= last) oldest = &version;
    }
    if (host.data && newest) {
      const Tensor from = plan_->data(newest->value);
      copy(from, {host.data->data(), plain(from.shape(), options_.dtype)});
    }
    if (host.diff && backward && oldest) {
      const Tensor from = plan_->diff(oldest->value);
      if (from) copy(from, {host.diff->data(), plain(from.shape(), options_.dtype)});
    }
  }
}

std::vector<double> Net::read(int blob) const {
  const BlobInfo& info = built_.blobs[static_cast<size_t>(blob)];
  PCC_CONFIG(visible(blob), "blob '", info.name, "' is not kept in this plan");
  const Tensor tensor = plan_->data(info.versions.back().value);
  std::vector<double> values(static_cast<size_t>(tensor.count()));
  const Tensor* source = &tensor;
  std::vector<double> buffer;
  Tensor straight;
  if (tensor.spec.layout != Layout::plain) {
    buffer.resize(values.size());
    straight = {buffer.data(), plain(tensor.shape(), options_.dtype)};
    copy(tensor, straight);
    source = &straight;
  }
  for (size_t i = 0; i < values.size(); ++i) values[i] = value_at(*source, static_cast<int64_t>(i));
  return values;
}

void Net::write(int blob, const void* data) {
  const Tensor to = plan_->data(at(built_.blobs, blob).versions.front().value);
  copy({const_cast<void*>(data), plain(to.shape(), options_.dtype)}, to);
  const HostBlob& host = at(hosts_, blob);
  if (host.data) std::memcpy(host.data->data(), data, static_cast<size_t>(to.spec.bytes()));
}

// --- what the plan is
// ---------------------------------------------------------------------------------------------------

std::vector<PlanRow> Net::plan_rows() const {
  std::vector<PlanRow> rows;
  for (const Node& node : built_.program.nodes) {
    PlanRow row;
    row.op = name_of(node.desc);
    row.implementation = node.op->implementation();
    row.backend = node.backend;
    row.backward = node.backward;
    for (const int l : node.layers)
      row.layers.push_back(built_.layers[static_cast<size_t>(l)].layer->spec().name);
    for (const Operand& in : node.ins)
      row.ins.push_back(concat(
          in.shape, " ", name_of(built_.program.values[static_cast<size_t>(in.value)].layout)));
    for (const int out : node.outs) {
      const Value& value = built_.program.values[static_cast<size_t>(out)];
      row.outs.push_back(concat(value.shape, " ", name_of(value.layout)));
      row.out_bytes += value.shape.count() * size_of(options_.dtype);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

int64_t Net::memory_bytes() const {
  return plan_->arena_bytes() + plan_->persistent_bytes() + data_memory_->bytes() +
         diff_memory_->bytes();
}

std::vector<Net::NodeTime> Net::time_nodes() {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  std::vector<NodeTime> times;
  take_in(0, false);
  ++state_.pass;
  for (const Node& node : built_.program.nodes) {
    NodeTime row;
    row.name = node.name;
    row.op = name_of(node.desc);
    row.layers = node.layers;
    const auto begin = Clock::now();
    node.op->forward(state_);
    row.forward = seconds(begin);
    times.push_back(std::move(row));
  }
  for (const BackwardStep& step : plan_->backward_steps()) {
    const auto begin = Clock::now();
    if (step.node < 0) {
      step.sum->forward(state_);
      // Summing a diff is part of its reader's backward; readers come after, so charge the value's
      // producer.
      const int producer = built_.program.values[static_cast<size_t>(step.value)].producer;
      if (producer >= 0) at(times, producer).backward += seconds(begin);
      continue;
    }
    at(built_.program.nodes, step.node).op->backward(state_);
    at(times, step.node).backward += seconds(begin);
  }
  return times;
}

}  // namespace pcc
