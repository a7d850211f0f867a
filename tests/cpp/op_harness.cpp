#include "op_harness.h"

#include <algorithm>
#include <memory>

#include "core/bfloat16.h"
#include "guarded.h"
#include "op_given.h"
#include "ops/classes.h"
#include "testing.h"

namespace pcc {
namespace {

constexpr int64_t kGuard = 64;  // bytes on either side of every buffer
constexpr uint8_t kGuardByte = 0xA5;
constexpr uint8_t kGarbage = 0xFF;  // four or eight of them read as NaN
constexpr double kNoise = 0.5;      // what is added to holds before backward; exact in float

void fill_bytes(Device& device, void* to, uint8_t byte, int64_t bytes) {
  const std::vector<uint8_t> all(static_cast<size_t>(bytes), byte);
  device.upload(to, all.data(), bytes);
}

// Memory of a device between guard bytes.
class Buffer {
 public:
  Buffer(Device& device, std::string name, int64_t bytes)
      : device_(device),
        name_(std::move(name)),
        bytes_(bytes),
        memory_(device.allocate(bytes + 2 * kGuard)) {
    fill_bytes(device_, memory_->data(), kGuardByte, memory_->bytes());
    spoil();
  }
  void* data() const { return memory_->data() + kGuard; }
  void spoil() const { fill_bytes(device_, data(), kGarbage, bytes_); }
  void check(const std::string& when) const {
    uint8_t guards[2][kGuard];
    device_.download(guards[0], memory_->data(), kGuard);
    device_.download(guards[1], memory_->data() + kGuard + bytes_, kGuard);
    for (const auto& guard : guards)
      for (const uint8_t byte : guard)
        PCC_CHECK(byte == kGuardByte, when, " writes out of the bounds of ", name_);
  }

 private:
  Device& device_;
  std::string name_;
  int64_t bytes_;
  std::shared_ptr<Memory> memory_;
};

// Of a tensor with what lies between its pixels, in elements.
int64_t span_of(const Tensor& tensor) {
  if (!tensor.pitch) return tensor.count();
  return (tensor.count() / tensor.shape()[1] - 1) * tensor.pitch + tensor.shape()[1];
}

// Where the i-th of a tensor's elements lies.
size_t place_of(const Tensor& tensor, int64_t i) {
  const int64_t at = offset_in_layout(tensor.shape(), tensor.spec.layout, i);
  if (!tensor.pitch) return static_cast<size_t>(at);
  const int64_t channels = tensor.shape()[1];
  return static_cast<size_t>(at / channels * tensor.pitch + at % channels);
}

template <typename T>
std::vector<T> numbers_of(Device& device, const Tensor& tensor) {
  std::vector<T> numbers(static_cast<size_t>(span_of(tensor)));
  device.download(numbers.data(), tensor.data, span_of(tensor) * size_of(tensor.spec.dtype));
  return numbers;
}

template <typename T>
void store_as(Device& device, const Tensor& tensor, const Values& values) {
  std::vector<T> numbers(values.size());
  if (tensor.pitch) numbers = numbers_of<T>(device, tensor);
  for (int64_t i = 0; i < tensor.count(); ++i)
    numbers[place_of(tensor, i)] = static_cast<T>(values[static_cast<size_t>(i)]);
  device.upload(tensor.data, numbers.data(), span_of(tensor) * size_of(tensor.spec.dtype));
}

void store(Device& device, const Tensor& tensor, const Values& values) {
  PCC_CHECK(static_cast<int64_t>(values.size()) == tensor.count(), "test gives ", values.size(),
            " values for shape ", tensor.shape());
  if (tensor.spec.dtype == DType::f32)
    store_as<float>(device, tensor, values);
  else if (tensor.spec.dtype == DType::bf16)
    store_as<BFloat16>(device, tensor, values);
  else
    store_as<double>(device, tensor, values);
}

template <typename T>
Values load_as(Device& device, const Tensor& tensor) {
  const std::vector<T> numbers = numbers_of<T>(device, tensor);
  Values values(static_cast<size_t>(tensor.count()));
  for (int64_t i = 0; i < tensor.count(); ++i)
    values[static_cast<size_t>(i)] = numbers[place_of(tensor, i)];
  return values;
}

Values load(Device& device, const Tensor& tensor) {
  return tensor.spec.dtype == DType::f32    ? load_as<float>(device, tensor)
         : tensor.spec.dtype == DType::bf16 ? load_as<BFloat16>(device, tensor)
                                            : load_as<double>(device, tensor);
}

// All memory of one op.
class OpMemory {
 public:
  explicit OpMemory(Device& device) : device_(device) {}
  Tensor tensor(const std::string& name, const TensorSpec& spec) {
    return {raw(name, spec.bytes()).data(), spec};
  }
  // Among the channels of a wider value, if its own lie last.
  Tensor among_others(const std::string& name, const TensorSpec& spec, int unit) {
    if (spec.layout != Layout::nhwc || unit == 0) return tensor(name, spec);
    const int64_t size = size_of(spec.dtype);
    Tensor part = {nullptr, spec, spec.shape[1] + 2 * unit};
    part.data = static_cast<char*>(
                    raw(name, spec.shape.count() / spec.shape[1] * part.pitch * size).data()) +
                unit * size;
    among_.push_back(part);
    return part;
  }
  Buffer& raw(const std::string& name, int64_t bytes) {
    buffers_.push_back(std::make_unique<Buffer>(device_, name, bytes));
    if (!access_) access_.emplace(buffers_.back()->data());
    return *buffers_.back();
  }
  // Does something during which the test has no access to memory that the host cannot reach:
  // meanwhile each copy would have to open and close it.
  void leave_to(const std::function<void()>& work) {
    access_.reset();
    work();
    access_.emplace(buffers_.front()->data());
  }
  // Of records that a feed gave: where the device finds them.
  void bring(const std::vector<RecordField>& fields, RecordBatch& batch) {
    if (device_.host_visible()) return;
    for (size_t f = 0; f < fields.size(); ++f) {
      const int64_t bytes = batch.total * fields[f].shape.count() * size_of(batch.types[f]);
      const Buffer& records = raw("records", bytes);
      device_.upload(records.data(), batch.fields[f], bytes);
      batch.fields[f] = records.data();
    }
  }
  void check(const std::string& when) const {
    for (const auto& buffer : buffers_) buffer->check(when);
    for (const Tensor& part : among_) {
      const int64_t size = size_of(part.spec.dtype), own = part.shape()[1] * size;
      std::vector<uint8_t> bytes(static_cast<size_t>(span_of(part) * size));
      device_.download(bytes.data(), part.data, span_of(part) * size);
      for (size_t i = 0; i < bytes.size(); ++i)
        if (static_cast<int64_t>(i) % (part.pitch * size) >= own)
          PCC_CHECK(bytes[i] == kGarbage, when, " writes to channels of others");
    }
  }

 private:
  Device& device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<Tensor> among_;
  std::optional<GuardedAccess> access_;
};

// What a device's calls are given, in its memory.
class OpContext {
 public:
  OpContext(Device& device, size_t feeds, bool first)
      : device_(device),
        step_(device.allocate(sizeof(StepBlock))),
        report_(device.allocate(sizeof(StepReport))),
        feeds_(device.allocate(static_cast<int64_t>(feeds * sizeof(RecordBatch)))) {
    context_ = {reinterpret_cast<const StepBlock*>(step_->data()),
                reinterpret_cast<StepReport*>(report_->data()),
                reinterpret_cast<const RecordBatch*>(feeds_->data()), first};
  }
  void write(const StepBlock& step, const std::vector<RecordBatch>& batches) {
    device_.upload(step_->data(), &step, sizeof(step));
    device_.upload(feeds_->data(), batches.data(), feeds_->bytes());
  }
  StepReport report() const {
    StepReport report;
    device_.download(&report, report_->data(), sizeof(report));
    return report;
  }
  void run(const Call& call) {
    device_.run(&call, 1, context_);
    device_.sync();
  }

 private:
  Device& device_;
  std::shared_ptr<Memory> step_, report_, feeds_;
  Context context_;
};

void spoil(Device& device, const Tensor& tensor) {
  fill_bytes(device, tensor.data, kGarbage, span_of(tensor) * size_of(tensor.spec.dtype));
}

// Cuts a gradient into parts whose sum it is.
std::vector<Values> parts_of(const Values& whole, int parts, uint64_t seed) {
  std::vector<Values> cut(static_cast<size_t>(parts), Values(whole.size()));
  const Values draws = random_values(static_cast<int64_t>(whole.size()) * (parts - 1), seed);
  for (size_t i = 0; i < whole.size(); ++i) {
    double rest = whole[i];
    for (int p = 0; p + 1 < parts; ++p) {
      const double part = draws[i * static_cast<size_t>(parts - 1) + static_cast<size_t>(p)];
      cut[static_cast<size_t>(p)][i] = part;
      rest -= part;
    }
    cut.back()[i] = rest;
  }
  return cut;
}

}  // namespace

bool fits_layout(const Shape& shape, Layout layout) {
  return layout == Layout::plain || (shape.axes() == 4 && shape[1] % block_of(layout) == 0);
}

int64_t offset_in_layout(const Shape& shape, Layout layout, int64_t index) {
  if (layout == Layout::plain) return index;
  const int64_t channels = shape[1], plane = shape[2] * shape[3];
  const int64_t p = index % plane, c = index / plane % channels, n = index / plane / channels;
  if (layout == Layout::nhwc) return (n * plane + p) * channels + c;
  const int64_t block = block_of(layout);
  return ((n * (channels / block) + c / block) * plane + p) * block + c % block;
}

FormChoice in_layouts(const LayoutChoice& layouts, DType dtype) {
  FormChoice forms;
  for (const Layout layout : layouts.in) forms.in.push_back({layout, dtype});
  for (const Layout layout : layouts.out) forms.out.push_back({layout, dtype});
  return forms;
}

OpResult run_op(const OpCase& op, const std::string& backend_name, DType dtype,
                const LayoutChoice& layouts) {
  return run_op(op, backend_name, dtype, in_layouts(layouts, dtype));
}

OpResult run_op(const OpCase& op, const std::string& backend_name, DType dtype,
                const std::optional<FormChoice>& forms) {
  OpSite site = site_of(op, dtype);
  const auto give = [](std::vector<TensorSpec>& specs, const std::vector<Form>& list) {
    for (size_t i = 0; i < specs.size(); ++i) {
      specs[i].layout = list[i].layout;
      specs[i].dtype = list[i].dtype;
    }
  };
  if (forms) {
    give(site.in, forms->in);
    give(site.out, forms->out);
  }
  OpResult result;
  const bool plain = backend_name == "reference";
  const std::shared_ptr<Device> device =
      backend(backend_name).open(0, plain ? Precision::fp32 : op.precision);
  site.device = device.get();
  const std::unique_ptr<Op> made = backend(backend_name).make(op.desc, site);
  if (!made) return result;
  result.made = true;
  result.implementation = made->implementation();
  const OpNeeds needs = made->needs();
  result.offers_among_others = needs.channel_unit > 0;
  const bool backward = site.backward();
  PCC_CHECK(backward || needs.stash_bytes == 0, "a forward-only op needs a stash");

  OpMemory memory(*device);
  OpBuffers buffers;
  const auto tensor = [&](const std::string& name, const TensorSpec& spec) {
    return memory.among_others(name, spec, op.among_others ? needs.channel_unit : 0);
  };
  for (size_t i = 0; i < site.in.size(); ++i)
    buffers.in.push_back(tensor(concat("in ", i), site.in[i]));
  for (size_t i = 0; i < site.out.size(); ++i)
    buffers.out.push_back(tensor(concat("out ", i), site.out[i]));
  const bool over_input = op.in_place && needs.in_place >= 0;
  if (over_input) {
    PCC_CHECK(site.in[static_cast<size_t>(needs.in_place)] == site.out[0],
              "in place between different specs");
    buffers.out[0] = buffers.in[static_cast<size_t>(needs.in_place)];
  }
  for (size_t i = 0; i < site.params.size(); ++i) {
    buffers.params.push_back(memory.tensor(concat("param ", i), site.params[i]));
    store(*device, buffers.params[i],
          pick(op.param_values, i, buffers.params[i].count(), op.seed + 200 + i));
  }

  // Gradients. Parts are summed here where the op does not take them, as the planner's SumDesc
  // would.
  buffers.din.resize(site.in.size());
  buffers.dparams.resize(site.params.size());
  buffers.dout.resize(site.out.size());
  std::vector<std::vector<Values>> dout(site.out.size());
  bool passes = false;
  for (size_t i = 0; i < needs.passes_dout.size(); ++i)
    passes |= needs.passes_dout[i] && site.want_din[i];
  if (backward) {
    for (size_t i = 0; i < site.out.size(); ++i) {
      int parts = i < op.dout_parts.size() ? op.dout_parts[i] : 1;
      if (parts == 0) continue;
      if (passes || !needs.sums_parts || parts > needs.max_parts) parts = 1;
      const Values whole = pick(op.dout_values, i, site.out[i].shape.count(), op.seed + 400 + i);
      dout[i] = parts_of(whole, parts, op.seed + 500);
      for (int p = 0; p < parts; ++p)
        buffers.dout[i].push_back(tensor(concat("dout ", i, " part ", p), site.out[i]));
    }
    for (size_t i = 0; i < site.in.size(); ++i) {
      if (!site.want_din[i]) continue;
      const bool alias = i < needs.passes_dout.size() && needs.passes_dout[i];
      const bool over_dout = op.in_place && needs.diff_in_place == static_cast<int>(i);
      if ((alias || over_dout) && !buffers.dout[0].empty() && buffers.dout[0].size() == 1)
        buffers.din[i] = buffers.dout[0][0];
      else
        buffers.din[i] = tensor(concat("din ", i), site.in[i]);
    }
    if (op.among_others) buffers.adds = needs.adds_din;
    buffers.adds.resize(site.in.size());
    for (size_t i = 0; i < site.params.size(); ++i) {
      if (!site.want_dparam[i]) continue;
      buffers.dparams[i] = memory.tensor(concat("dparam ", i), site.params[i]);
    }
  }
  Buffer& stash = memory.raw("stash", needs.stash_bytes);
  Buffer& scratch = memory.raw("scratch", needs.forward_scratch);
  Buffer& backward_scratch = memory.raw("backward scratch", needs.backward_scratch);
  buffers.stash = stash.data();
  buffers.scratch = scratch.data();
  buffers.backward_scratch = backward_scratch.data();
  Buffer& prepared = memory.raw("prepared", needs.prepared_bytes);
  buffers.prepared = prepared.data();
  const bool overwrites = op.first && needs.overwrites_dparams;
  buffers.first.assign(site.params.size(), overwrites);
  memory.leave_to([&] { made->bind(buffers); });

  StepBlock state = op.state;
  // Without any gradient that comes, the parameters' stay what they are.
  const bool came = std::any_of(buffers.dout.begin(), buffers.dout.end(),
                                [](const std::vector<Tensor>& parts) { return !parts.empty(); });
  std::vector<RecordBatch> batches(op.feeds.size());
  OpContext context(*device, batches.size(), op.first);
  const auto run = [&](Call::Action action) {
    memory.leave_to([&] { context.run({made.get(), action}); });
  };
  context.write(state, batches);
  run(Call::Action::prepare);
  memory.check("prepare");
  for (int step = 0; step < op.steps; ++step) {
    for (size_t i = 0; i < site.in.size(); ++i)
      store(*device, buffers.in[i],
            pick(op.in_values, i, buffers.in[i].count(), op.seed + 100 + i));
    for (size_t i = 0; i < site.out.size(); ++i)
      if (!(i == 0 && over_input)) spoil(*device, buffers.out[i]);
    scratch.spoil();
    for (size_t f = 0; f < batches.size(); ++f) {
      batches[f] = op.feeds[f]->next(op.out[0][0]);
      memory.bring(op.feeds[f]->fields(), batches[f]);
    }
    context.write(state, batches);
    run(Call::Action::forward);
    memory.check("forward");
    const StepReport report = context.report();
    if (report.halt == Halt::label) {
      const bool indices = count_of_indices(op.desc, op.in.back()) > 0;
      throw Error(ErrorKind::data, label_message(site.name, report, indices));
    }
    result.out.clear();
    for (const Tensor& tensor : buffers.out) result.out.push_back(load(*device, tensor));
    if (!backward) {
      ++state.pass;
      continue;
    }

    // Whatever backward has not asked for may be gone by then.
    const auto keeps = [](const std::vector<bool>& list, size_t i) {
      return i < list.size() && list[i];
    };
    for (size_t i = 0; i < site.in.size(); ++i)
      if (!keeps(needs.in, i) &&
          !(over_input && needs.in_place == static_cast<int>(i) && keeps(needs.out, 0)))
        spoil(*device, buffers.in[i]);
    for (size_t i = 0; i < site.out.size(); ++i)
      if (!keeps(needs.out, i) &&
          !(i == 0 && over_input && keeps(needs.in, static_cast<size_t>(needs.in_place))))
        spoil(*device, buffers.out[i]);
    for (size_t i = 0; i < buffers.din.size(); ++i)
      if (const Tensor& din = buffers.din[i]; din && buffers.adds[i])
        store(*device, din, Values(static_cast<size_t>(din.count()), kNoise));
      else if (din)
        spoil(*device, din);
    for (size_t i = 0; i < buffers.dout.size(); ++i)
      for (size_t p = 0; p < buffers.dout[i].size(); ++p)
        store(*device, buffers.dout[i][p], dout[i][p]);
    for (const Tensor& tensor : buffers.dparams)
      if (tensor && overwrites && came)
        spoil(*device, tensor);
      else if (tensor)
        store(*device, tensor, Values(static_cast<size_t>(tensor.count()), kNoise));
    backward_scratch.spoil();
    run(Call::Action::backward);
    memory.check("backward");
    ++state.pass;
  }
  for (const Tensor& tensor : buffers.params) result.params.push_back(load(*device, tensor));
  for (size_t i = 0; i < buffers.din.size(); ++i) {
    result.din.push_back(buffers.din[i] ? load(*device, buffers.din[i]) : Values{});
    if (backward && buffers.adds[i])
      for (double& value : result.din.back()) value -= kNoise;
  }
  for (const Tensor& tensor : buffers.dparams) {
    result.dparams.push_back(tensor ? load(*device, tensor) : Values{});
    if (!(overwrites && came))
      for (double& value : result.dparams.back()) value -= kNoise;
  }
  return result;
}

}  // namespace pcc
