// What users see of a net: blobs as arrays of their own, which passes take in and write back.
#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "graph/net.h"

namespace pcc {

namespace {

TensorSpec plain(const Shape& shape, DType dtype) { return {shape, dtype, Layout::plain}; }

}  // namespace

bool Net::visible(int blob) const {
  if (!options_.fuse) return true;
  const int last = at(built_.blobs, blob).versions.back().value;
  const Value& value = at(built_.program.values, last);
  return !value.gone && (value.keep || built_.program.from_outside(last));
}

std::unique_ptr<Op> Net::make_copy(const Tensor& from, const Tensor& to) const {
  OpSite site;
  site.name = "copy for the user";
  site.in = {from.spec};
  site.out = {to.spec};
  site.want_din = {false};
  site.training = false;
  std::unique_ptr<Op> op = pcc::backend("reference").make(ReorderDesc{}, site);
  OpBuffers buffers;
  buffers.in = {from};
  buffers.out = {to};
  buffers.dout.resize(1);
  buffers.din.resize(1);
  op->bind(buffers);
  return op;
}

// Between any two tensors, once.
void Net::copy(const Tensor& from, const Tensor& to) const {
  if (from.spec.layout == to.spec.layout) {
    std::memcpy(to.data, from.data, static_cast<size_t>(from.spec.bytes()));
    return;
  }
  const ThreadScope scope(threads_);
  make_copy(from, to)->forward(context());
}

// Between a value of the plan and the user's array of it, at every pass: allocates nothing after
// the first one. in: from the array.
void Net::exchange(const Tensor& value, const std::shared_ptr<Memory>& array, bool in) {
  void* const from = in ? array->data() : value.data;
  void* const to = in ? value.data : array->data();
  if (value.spec.layout == Layout::plain) {
    std::memcpy(to, from, static_cast<size_t>(value.spec.bytes()));
    return;
  }
  std::unique_ptr<Op>& op = copies_[{from, to}];
  if (!op) {
    const Tensor user{array->data(), plain(value.shape(), options_.dtype)};
    op = in ? make_copy(user, value) : make_copy(value, user);
  }
  op->forward(context());
}

// The blob with all others that are its data under another name: Caffe's Split shares memory, so
// what is written to one of them is read from each.
std::vector<int> Net::same_data(int blob) const {
  const auto is_split = [](const LayerInfo& layer) { return layer.layer->spec().type == "Split"; };
  const auto holds = [](const std::vector<int>& list, int one) {
    return std::find(list.begin(), list.end(), one) != list.end();
  };
  for (auto layer = built_.layers.rbegin(); layer != built_.layers.rend(); ++layer)
    if (is_split(*layer) && holds(layer->top_blobs, blob)) blob = layer->bottom_blobs[0];
  std::vector<int> same{blob};
  for (const LayerInfo& layer : built_.layers)
    if (is_split(layer) && holds(same, layer.bottom_blobs[0]))
      same.insert(same.end(), layer.top_blobs.begin(), layer.top_blobs.end());
  return same;
}

// The value whose diff a backward pass down to layer `last` leaves in the blob: Caffe's versions in
// place share one, which the last layer to send anything down wrote.
int Net::oldest_with_diff(int blob, int last) const {
  const std::vector<BlobInfo::Version>& versions = at(built_.blobs, blob).versions;
  size_t oldest = 0;
  // In place, the layer of the next version is the one that reads this one.
  while (oldest + 1 < versions.size() &&
         (versions[oldest + 1].layer < last || !plan_->gets_diff(versions[oldest].value)))
    ++oldest;
  return versions[oldest].value;
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
    if (!diff)
      for (const int same : same_data(blob))
        at(hosts_, same) = {info.shape(), memory, at(hosts_, same).diff};
    const int value = info.versions.back().value;
    const Tensor source = diff ? plan_->diff(oldest_with_diff(blob, 0)) : plan_->data(value);
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
        const bool input = built_.program.from_outside(version.value);
        if (backward || version.layer < first || input) live = &version;
        if (!backward && input && version.layer >= first) break;
      }
      if (live) exchange(plan_->data(live->value), host.data, true);
    }
    if (host.diff && backward) {
      const BlobInfo::Version* live = nullptr;
      for (const BlobInfo::Version& version : info.versions)
        if (version.layer <= first) live = &version;
      if (live && plan_->diff(live->value)) exchange(plan_->diff(live->value), host.diff, true);
    }
  }
}

// After a pass over the layers first .. last (backward: down to last): data as of the newest
// version made by then, diffs as of the oldest version that a reader sent one to. What the pass did
// not come by stays as the user left it.
void Net::give_back(int first, int last, bool backward) {
  for (size_t b = 0; b < hosts_.size(); ++b) {
    const HostBlob& host = hosts_[b];
    const std::vector<BlobInfo::Version>& versions = built_.blobs[b].versions;
    if (host.data) {
      const BlobInfo::Version* newest = nullptr;
      for (const BlobInfo::Version& version : versions)
        if (backward || version.layer <= last) newest = &version;
      if (newest) exchange(plan_->data(newest->value), host.data, false);
    }
    if (host.diff && backward && versions.front().layer <= first) {
      const Tensor& from = plan_->diff(oldest_with_diff(static_cast<int>(b), last));
      if (from) exchange(from, host.diff, false);
    }
  }
}

std::vector<double> Net::read(int blob) const {
  const BlobInfo& info = at(built_.blobs, blob);
  PCC_CONFIG(visible(blob), "blob '", info.name, "' is not kept in this plan");
  const Tensor tensor = plan_->data(info.versions.back().value);
  std::vector<double> values(static_cast<size_t>(tensor.count()));
  const bool is_float = options_.dtype == DType::f32;
  std::vector<double> unfolded;  // in the plain layout, of either type
  const void* source = tensor.data;
  if (tensor.spec.layout != Layout::plain) {
    unfolded.resize(values.size());
    copy(tensor, {unfolded.data(), plain(tensor.shape(), options_.dtype)});
    source = unfolded.data();
  }
  for (size_t i = 0; i < values.size(); ++i)
    values[i] =
        is_float ? static_cast<const float*>(source)[i] : static_cast<const double*>(source)[i];
  values.resize(values.size() / static_cast<size_t>(info.parts(options_.replicas)));
  return values;
}

void Net::write(int blob, const void* data) {
  const Tensor to = plan_->data(at(built_.blobs, blob).versions.front().value);
  copy({const_cast<void*>(data), plain(to.shape(), options_.dtype)}, to);
  const HostBlob& host = at(hosts_, blob);
  if (host.data) std::memcpy(host.data->data(), data, static_cast<size_t>(to.spec.bytes()));
}

}  // namespace pcc
