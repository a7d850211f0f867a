// What users see of a net: blobs as arrays of their own, which passes take in and write back.
#include <algorithm>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "graph/net.h"
#include "graph/transfer.h"

namespace pcc {

namespace {

// The newest version that a forward pass up to layer `last` makes, or none.
const BlobInfo::Version* newest_by(const BlobInfo& info, int last) {
  const BlobInfo::Version* newest = nullptr;
  for (const BlobInfo::Version& version : info.versions)
    if (version.layer <= last) newest = &version;
  return newest;
}

// Whether a value lies as users' arrays of that type do.
bool as_seen(const Tensor& value, DType dtype) {
  return value.spec.layout == Layout::plain && value.spec.dtype == dtype;
}

// The op that puts `from` into the form of `to`.
std::unique_ptr<Op> make_change(const Tensor& from, const Tensor& to, Device& device,
                                const Backend& backend) {
  OpSite site;
  site.name = "copy for the user";
  site.in = {from.spec};
  site.out = {to.spec};
  site.want_din = {false};
  site.device = &device;
  std::unique_ptr<Op> op = make_op(backend, ReorderDesc{}, site, nullptr).op;
  OpBuffers buffers;
  buffers.in = {from};
  buffers.out = {to};
  buffers.dout.resize(1);
  buffers.din.resize(1);
  op->bind(buffers);
  return op;
}

}  // namespace

bool Net::visible(int blob) const {
  if (options_.keep_blobs) return true;
  const int last = at(built_.blobs, blob).versions.back().value;
  const Value& value = at(built_.program.values, last);
  return !value.gone && (value.keep || built_.program.from_outside(last));
}

// Changes the form between a value of the plan and a plain array on the host. in: from the array.
// Where the device cannot read the host's memory it goes by way of plain memory of the device's.
Net::Exchange Net::make_exchange(const Tensor& value, void* array, bool in) const {
  Exchange exchange;
  Tensor user{array, plain(value.shape(), options_.dtype)};
  if (!device_->host_visible()) {
    exchange.staging = device_->allocate(user.spec.bytes());
    user.data = exchange.staging->data();
  }
  const Tensor &from = in ? user : value, &to = in ? value : user;
  exchange.op = make_change(from, to, *device_, backend_);
  return exchange;
}

void Net::run_exchange(const Exchange& exchange, const Tensor& value, void* array, bool in) const {
  const int64_t bytes = value.count() * size_of(options_.dtype);
  if (exchange.staging && in) device_->upload(exchange.staging->data(), array, bytes);
  const Call call{exchange.op.get()};
  device_->run(&call, 1, context());
  if (exchange.staging && !in) device_->download(array, exchange.staging->data(), bytes);
}

// Between a value of the plan and a plain array on the host, once.
void Net::transfer(const Tensor& value, void* array, bool in) const {
  if (!as_seen(value, options_.dtype)) {
    const ThreadScope scope(threads_);
    run_exchange(make_exchange(value, array, in), value, array, in);
  } else if (in) {
    device_->upload(value.data, array, value.spec.bytes());
  } else {
    device_->download(array, value.data, value.spec.bytes());
  }
}

// The same with the user's array of a blob, at every pass: allocates nothing after the first one.
void Net::exchange(const Tensor& value, const std::shared_ptr<Memory>& array, bool in) {
  if (array->data() == value.data) return;  // the array is the value
  if (as_seen(value, options_.dtype)) return transfer(value, array->data(), in);
  Exchange& exchange =
      exchanges_[{in ? array->data() : value.data, in ? value.data : array->data()}];
  if (!exchange.op) exchange = make_exchange(value, array->data(), in);
  run_exchange(exchange, value, array->data(), in);
}

// The blob with all others that are its data under another name: Caffe's Split shares memory, so
// what is written to one of them is read from each.
std::vector<int> Net::same_data(int blob) const {
  std::vector<int> same;
  for (size_t b = 0; b < built_.blobs.size(); ++b)
    if (built_.blobs[b].memory_of == at(built_.blobs, blob).memory_of)
      same.push_back(static_cast<int>(b));
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

// The plan's own memory of a blob, where users may look at it as it lies. Null: they need an array
// of their own.
std::shared_ptr<Memory> Net::in_plan(int blob, const Tensor& value, bool diff) const {
  if (!device_->host_visible() || !value || !as_seen(value, options_.dtype) ||
      value.shape().count() != built_.blobs[static_cast<size_t>(blob)].shape().count())
    return nullptr;
  if (!diff)
    for (const int same : same_data(blob))
      if (plan_->data(at(built_.blobs, same).versions.back().value).data != value.data)
        return nullptr;
  return plan_->lasting(value);
}

HostBlob Net::host(int blob, bool diff) {
  const InUse::Look look(*in_use_);
  const BlobInfo& info = at(built_.blobs, blob);
  if (!visible(blob) || (!options_.keep_blobs && diff)) {
    const bool gone = at(built_.program.values, info.versions.back().value).gone;
    std::string why = gone ? "has no memory of its own" : "shares memory with others";
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
    const int value = info.versions.back().value;
    const Tensor source = diff ? plan_->diff(oldest_with_diff(blob, 0)) : plan_->data(value);
    memory = in_plan(blob, source, diff);
    const bool own = !memory;
    const TensorSpec spec = plain(info.shape(), options_.dtype);
    if (own) memory = std::make_shared<HostMemory>(std::max<int64_t>(spec.bytes(), 1));
    // What the latest pass has left there: all of a blob's versions share Caffe's memory.
    const BlobInfo::Version* made = newest_by(info, reached_);
    const Tensor& left = diff   ? plan_->diff(oldest_with_diff(blob, sent_down_to_))
                         : made ? plan_->data(made->value)
                                : source;
    if (left && left.shape().count() == spec.shape.count() && (own || left.data != source.data))
      transfer(left, memory->data(), false);
    if (!diff)
      for (const int same : same_data(blob))
        at(hosts_, same) = {info.shape(), memory, at(hosts_, same).diff};
  }
  return host;
}

// After a new plan: arrays that somebody still looks at stay with their blobs, if these kept their
// shape. What others hold goes into the plan, and their memory, which may be the old plan's, is
// free.
void Net::keep_hosts(const std::vector<HostBlob>& before) {
  std::map<const Memory*, long> owners;
  for (const HostBlob& host : before)
    for (const std::shared_ptr<Memory>* array : {&host.data, &host.diff})
      if (*array) ++owners[array->get()];
  for (size_t b = 0; b < before.size(); ++b) {
    const Shape& shape = built_.blobs[b].shape();
    if (before[b].shape != shape) continue;
    hosts_[b].shape = shape;
    const auto settle = [&](const std::shared_ptr<Memory>& array, std::shared_ptr<Memory>& to,
                            const Tensor& value) {
      if (!array) return;
      if (array.use_count() > owners[array.get()])
        to = array;
      else if (value && value.shape().count() == shape.count())
        transfer(value, array->data(), true);
    };
    const int blob = static_cast<int>(b);
    settle(before[b].data, hosts_[b].data, plan_->data(built_.blobs[b].versions.back().value));
    settle(before[b].diff, hosts_[b].diff, plan_->diff(oldest_with_diff(blob, 0)));
  }
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
    const BlobInfo& info = built_.blobs[b];
    const std::vector<BlobInfo::Version>& versions = info.versions;
    if (host.data) {
      const BlobInfo::Version* newest = backward ? &versions.back() : newest_by(info, last);
      if (newest) exchange(plan_->data(newest->value), host.data, false);
    }
    if (host.diff && backward && versions.front().layer <= first) {
      const Tensor& from = plan_->diff(oldest_with_diff(static_cast<int>(b), last));
      if (from) exchange(from, host.diff, false);
    }
  }
}

std::vector<double> Net::read(int blob) const {
  const InUse::Look look(*in_use_);
  const BlobInfo& info = at(built_.blobs, blob);
  PCC_CONFIG(visible(blob), "blob '", info.name, "' is not kept in this plan");
  return read(blob, plan_->data(info.versions.back().value));
}

// From the blob's own value, or from numbers of any type that are laid out like it.
std::vector<double> Net::read(int blob, const Tensor& from) const {
  const int64_t count = from.count() / at(built_.blobs, blob).parts(options_.replicas);
  if (from.spec.layout == Layout::plain) return pcc::read(*device_, from, count);
  HostDevice host;
  const HostMemory copy(from.spec.bytes()), unfolded(from.spec.bytes());
  device_->download(copy.data(), from.data, from.spec.bytes());
  const Tensor to{unfolded.data(), plain(from.shape(), from.spec.dtype)};
  const auto op = make_change({copy.data(), from.spec}, to, host, plain_backend());
  const Call call{op.get()};
  host.run(&call, 1, context());
  return pcc::read(host, to, count);
}

void Net::write(int blob, const void* data) {
  const InUse::Look look(*in_use_);
  const Tensor to = plan_->data(at(built_.blobs, blob).versions.front().value);
  transfer(to, const_cast<void*>(data), true);
  const HostBlob& host = at(hosts_, blob);
  const int64_t bytes = plain(to.shape(), options_.dtype).bytes();
  if (host.data && host.data->data() != to.data)
    std::memcpy(host.data->data(), data, static_cast<size_t>(bytes));
}

// --- parameters

Net::HostParam Net::host_param(int param, bool diff) {
  const InUse::Look look(*in_use_);
  const Param& use = at(built_.program.params, param);
  const Param& owner = at(built_.program.params, use.owner);
  if (at(offsets_, use.owner) < 0) {
    HostParam lent = share_->host_param(share_->param_index(owner.layer, owner.index), diff);
    lent.tensor.spec.shape = use.shape;
    return lent;
  }
  HostParam own;
  own.memory = (diff ? diff_mirror_ : data_mirror_).view();
  own.tensor = {own.memory->data() + at(offsets_, use.owner) * size_of(options_.dtype),
                plain(use.shape, options_.dtype)};
  return own;
}

void Net::take_in_params() {
  if (data_mirror_.take_in()) ++*params_version_;
  diff_mirror_.take_in();
  if (share_) share_->take_in_params();
}

void Net::give_back_params() {
  data_mirror_.give_back();
  diff_mirror_.give_back();
  if (share_) share_->give_back_params();
}

double Net::magnitude(int layer, int place, bool diff) const {
  const InUse::Look look(*in_use_);
  const LayerInfo& info = at(built_.layers, layer);
  const std::vector<int>& values = diff ? info.bottom_values : info.top_values;
  PCC_CHECK(place < static_cast<int>(values.size()), info.layer->spec().title(), " has no blob ",
            place);
  const int value = at(values, place);
  const Tensor& tensor = diff ? plan_->diff(value) : plan_->data(value);
  if (!tensor || tensor.count() == 0) return std::numeric_limits<double>::quiet_NaN();
  return sum(*device_, tensor, tensor.count(), true) / static_cast<double>(tensor.count());
}

}  // namespace pcc
