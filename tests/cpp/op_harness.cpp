#include "op_harness.h"

#include "ops/classes.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <tuple>

#include "backends/cuda/host/modes.h"
#include "core/bfloat16.h"
#include "guarded.h"
#include "testing.h"

namespace pcc {
namespace {

constexpr int64_t kGuard = 64;  // bytes on either side of every buffer
constexpr uint8_t kGuardByte = 0xA5;
constexpr uint8_t kGarbage = 0xFF;  // four or eight of them read as NaN
constexpr double kNoise = 0.5;      // what dparams hold before backward; exact in float

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

template <typename T>
void store_as(Device& device, const Tensor& tensor, const Values& values) {
  std::vector<T> numbers(values.size());
  for (int64_t i = 0; i < tensor.count(); ++i)
    numbers[static_cast<size_t>(offset_in_layout(tensor.shape(), tensor.spec.layout, i))] =
        static_cast<T>(values[static_cast<size_t>(i)]);
  device.upload(tensor.data, numbers.data(), tensor.spec.bytes());
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
  std::vector<T> numbers(static_cast<size_t>(tensor.count()));
  device.download(numbers.data(), tensor.data, tensor.spec.bytes());
  Values values(numbers.size());
  for (int64_t i = 0; i < tensor.count(); ++i)
    values[static_cast<size_t>(i)] =
        numbers[static_cast<size_t>(offset_in_layout(tensor.shape(), tensor.spec.layout, i))];
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
  }

 private:
  Device& device_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
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

void check_that(bool right, const std::string& what) {
  if (!right) ::testing::fail(__FILE__, __LINE__, what);
}

void spoil(Device& device, const Tensor& tensor) {
  fill_bytes(device, tensor.data, kGarbage, tensor.spec.bytes());
}

std::vector<bool> all_or(const std::vector<bool>& wanted, size_t count) {
  return wanted.empty() ? std::vector<bool>(count, true) : wanted;
}

Values pick(const std::vector<Values>& given, size_t index, int64_t count, uint64_t seed) {
  return index < given.size() && !given[index].empty() ? given[index] : random_values(count, seed);
}

OpSite site_of(const OpCase& op, DType dtype) {
  OpSite site;
  site.name = "test";
  site.stream = hash_name("test");
  for (const Shape& shape : op.in) site.in.push_back({shape, dtype, Layout::plain});
  for (const Shape& shape : op.out) site.out.push_back({shape, dtype, Layout::plain});
  for (const Shape& shape : op.params) site.params.push_back({shape, dtype, Layout::plain});
  site.want_din = all_or(op.want_din, op.in.size());
  site.want_dparam = all_or(op.want_dparam, op.params.size());
  if (op.forward_only) {
    site.want_din.assign(op.in.size(), false);
    site.want_dparam.assign(op.params.size(), false);
  }
  return site;
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

Values random_values(int64_t count, uint64_t seed, double low, double high) {
  // Each variation of a case, on each backend, asks for the same ones.
  thread_local std::map<std::tuple<int64_t, uint64_t, double, double>, Values> drawn;
  if (drawn.size() > 64) drawn.clear();
  Values& values = drawn[{count, seed, low, high}];
  const RandomStream stream{.seed = seed, .layer = 99};
  for (int64_t i = static_cast<int64_t>(values.size()); i < count; ++i)
    values.push_back(
        static_cast<float>(low + (high - low) * stream.uniform(static_cast<uint64_t>(i))));
  return values;
}

Values distinct_values(int64_t count, uint64_t seed, double gap) {
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] =
        static_cast<float>((static_cast<double>(i - count / 2) + 0.5) * gap);
  const RandomStream stream{.seed = seed, .layer = 98};
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(values[static_cast<size_t>(i)],
              values[stream.bits(static_cast<uint64_t>(i)) % static_cast<uint64_t>(i + 1)]);
  return values;
}

Values nonzero_values(int64_t count, uint64_t seed, double margin) {
  Values values = random_values(count, seed);
  for (double& value : values)
    value = static_cast<float>(value < 0 ? value - margin : value + margin);
  return values;
}

Values label_values(int64_t count, int64_t classes, uint64_t seed) {
  const RandomStream stream{.seed = seed, .layer = 97};
  Values values(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    values[static_cast<size_t>(i)] =
        static_cast<double>(stream.bits(static_cast<uint64_t>(i)) % static_cast<uint32_t>(classes));
  return values;
}

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
  const bool backward = site.backward();
  PCC_CHECK(backward || needs.stash_bytes == 0, "a forward-only op needs a stash");

  OpMemory memory(*device);
  OpBuffers buffers;
  for (size_t i = 0; i < site.in.size(); ++i)
    buffers.in.push_back(memory.tensor(concat("in ", i), site.in[i]));
  for (size_t i = 0; i < site.out.size(); ++i)
    buffers.out.push_back(memory.tensor(concat("out ", i), site.out[i]));
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
        buffers.dout[i].push_back(memory.tensor(concat("dout ", i, " part ", p), site.out[i]));
    }
    for (size_t i = 0; i < site.in.size(); ++i) {
      if (!site.want_din[i]) continue;
      const bool alias = i < needs.passes_dout.size() && needs.passes_dout[i];
      const bool over_dout = op.in_place && needs.diff_in_place == static_cast<int>(i);
      if ((alias || over_dout) && !buffers.dout[0].empty() && buffers.dout[0].size() == 1)
        buffers.din[i] = buffers.dout[0][0];
      else
        buffers.din[i] = memory.tensor(concat("din ", i), site.in[i]);
    }
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
    for (const Tensor& tensor : buffers.din)
      if (tensor) spoil(*device, tensor);
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
  for (const Tensor& tensor : buffers.din)
    result.din.push_back(tensor ? load(*device, tensor) : Values{});
  for (const Tensor& tensor : buffers.dparams) {
    result.dparams.push_back(tensor ? load(*device, tensor) : Values{});
    if (!(overwrites && came))
      for (double& value : result.dparams.back()) value -= kNoise;
  }
  return result;
}

double relative_difference(const Values& got, const Values& expected) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (got.size() != expected.size()) return kInfinity;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i])) return kInfinity;
    if (std::isnan(got[i]) || got[i] == expected[i]) continue;
    difference = std::max(difference, std::abs(got[i] - expected[i]));
  }
  for (const double value : expected)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  // Below this everything is rounding: a gradient that is zero in theory has no scale of its own.
  return difference / std::max(largest, 1e-3);
}

bool same_bits(const OpResult& a, const OpResult& b) {
  const auto same = [](const Values& x, const Values& y) {
    return x.size() == y.size() &&
           (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(double)) == 0);
  };
  const auto all = [&](const std::vector<Values>& x, const std::vector<Values>& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), same);
  };
  return all(a.out, b.out) && all(a.params, b.params) && all(a.din, b.din) &&
         all(a.dparams, b.dparams);
}

namespace {

void compare_all(const char* what, const std::vector<Values>& got,
                 const std::vector<Values>& expected, double tolerance, const std::string& where) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = relative_difference(got[i], expected[i]);
    check_that(difference <= tolerance,
               concat(where, ": ", what, " ", i, " differs from the reference by ", difference));
  }
}

// The simulated device must give the same bits in whatever order threads and blocks run, and
// whenever a stream does its work: what differs is a race.
// With everything wanted both other orders are tried, and one of them, in turn, with each
// variation.
void check_order_is_free(const OpCase& op, size_t variation, const FormChoice& choice,
                         const OpResult& expected) {
  using namespace cuda::host;
  const Modes before = modes();
  std::vector<Modes> others = {Modes{Order::reversed, Streams::late}, Modes{Order::shuffled}};
  if (variation > 0) others = {others[variation % 2]};
  for (const Modes& other : others) {
    set_modes(other);
    const OpResult got = run_op(op, "cuda_host", DType::f32, choice);
    check_that(same_bits(got, expected),
               concat(name_of(op.desc), " on cuda_host: the order of threads makes a difference"));
  }
  set_modes(before);
}

std::string form_text(const FormChoice& choice) {
  std::string text;
  for (const Form& form : choice.in) text += concat(name_of(form.layout), " ");
  text += "->";
  for (const Form& form : choice.out) text += concat(" ", name_of(form.layout));
  return text;
}

// The variations of what is asked of an op: parts, wanted gradients, in place, forward only.
std::vector<OpCase> variations(const OpCase& op) {
  std::vector<OpCase> list = {op};
  const auto vary = [&](const std::function<void(OpCase&)>& change) {
    list.push_back(op);
    change(list.back());
  };
  vary([](OpCase& c) { c.forward_only = true; });
  vary([](OpCase& c) {
    c.forward_only = true;
    c.in_place = true;
  });
  if (!site_of(op, DType::f32).backward()) return list;
  vary([](OpCase& c) { c.dout_parts.assign(1, 2); });
  vary([](OpCase& c) { c.dout_parts.assign(c.out.size(), 0); });
  vary([](OpCase& c) { c.in_place = true; });
  vary([](OpCase& c) { c.steps = 2; });
  vary([](OpCase& c) { c.first = true; });
  const std::vector<bool> din = all_or(op.want_din, op.in.size());
  const std::vector<bool> dparam = all_or(op.want_dparam, op.params.size());
  for (size_t i = 0; i < din.size(); ++i)
    if (din[i])
      vary([&](OpCase& c) { c.want_din = din, c.want_din[i] = false, c.want_dparam = dparam; });
  for (size_t i = 0; i < dparam.size(); ++i)
    if (dparam[i]) vary([&](OpCase& c) { c.want_dparam = dparam, c.want_dparam[i] = false; });
  return list;
}

}  // namespace

std::vector<std::string> compare_with_reference(const OpCase& op, const std::string& backend_name,
                                                double tolerance) {
  std::vector<std::string> implementations;
  const std::vector<OpCase> variants = variations(op);
  const std::shared_ptr<Device> device = backend(backend_name).open(0, op.precision);
  for (size_t v = 0; v < variants.size(); ++v) {
    const OpCase& variant = variants[v];
    const OpResult expected = run_op(variant, "reference", DType::f64);
    check_that(expected.made, concat(name_of(op.desc), ": not in the reference backend"));
    if (!expected.made) return {};
    std::vector<FormChoice> tried;
    for (const Layout start : {Layout::plain, Layout::nhwc, Layout::c8, Layout::c16}) {
      OpSite site = site_of(variant, DType::f32);
      for (TensorSpec& spec : site.in)
        if (fits_layout(spec.shape, start)) spec.layout = start;
      site.device = device.get();
      const FormChoice choice = backend(backend_name).forms(op.desc, site);
      const bool seen = std::any_of(tried.begin(), tried.end(), [&](const FormChoice& other) {
        return other.in == choice.in && other.out == choice.out;
      });
      if (seen) continue;
      tried.push_back(choice);
      const OpResult got = run_op(variant, backend_name, DType::f32, choice);
      check_that(got.made, concat(name_of(op.desc), " on ", backend_name, ": refused in the forms ",
                                  "that it asked for, ", form_text(choice)));
      if (!got.made) continue;
      if (std::find(implementations.begin(), implementations.end(), got.implementation) ==
          implementations.end())
        implementations.push_back(got.implementation);
      const std::string where =
          concat(name_of(op.desc), " on ", backend_name, " (", got.implementation, "), ",
                 form_text(choice), variant.forward_only ? ", forward only" : "",
                 variant.in_place ? ", in place" : "", variant.dout_parts.empty() ? "" : ", parts",
                 variant.steps > 1 ? ", second step" : "", variant.first ? ", first" : "");
      compare_all("output", got.out, expected.out, tolerance, where);
      compare_all("parameter", got.params, expected.params, tolerance, where);
      compare_all("input gradient", got.din, expected.din, tolerance, where);
      compare_all("parameter gradient", got.dparams, expected.dparams, tolerance, where);
      if (backend_name == "cuda_host") check_order_is_free(variant, v, choice, got);
    }
  }
  return implementations;
}

void check_gradient(const OpCase& given, const GradientCheck& check) {
  // Fix every value, so that one of them can be moved.
  OpCase op = given;
  op.in_values.resize(op.in.size());
  op.param_values.resize(op.params.size());
  op.dout_values.resize(op.out.size());
  for (size_t i = 0; i < op.in.size(); ++i)
    op.in_values[i] = pick(given.in_values, i, op.in[i].count(), op.seed + 100 + i);
  for (size_t i = 0; i < op.params.size(); ++i)
    op.param_values[i] = pick(given.param_values, i, op.params[i].count(), op.seed + 200 + i);
  for (size_t i = 0; i < op.out.size(); ++i)
    op.dout_values[i] = pick(given.dout_values, i, op.out[i].count(), op.seed + 400 + i);

  const OpResult analytic = run_op(op, "reference", DType::f64);
  check_that(analytic.made, concat(name_of(op.desc), ": not in the reference backend"));
  if (!analytic.made) return;

  OpCase forward = op;
  forward.forward_only = true;
  const auto objective = [&] {
    const OpResult result = run_op(forward, "reference", DType::f64);
    double sum = 0;
    for (size_t i = 0; i < result.out.size(); ++i) {
      if (i < op.dout_parts.size() && op.dout_parts[i] == 0) continue;
      for (size_t k = 0; k < result.out[i].size(); ++k)
        sum += result.out[i][k] * op.dout_values[i][k];
    }
    return sum;
  };
  const auto check_all = [&](const char* what, size_t index, Values& values,
                             const Values& gradient) {
    int failures = 0;
    for (size_t k = 0; k < gradient.size(); ++k) {
      const double value = values[k];
      if (std::abs(value - check.kink) <= check.kink_range) continue;
      values[k] = value + check.step;
      const double above = objective();
      values[k] = value - check.step;
      const double below = objective();
      values[k] = value;
      const double numeric = (above - below) / (2 * check.step);
      const double scale = std::max({std::abs(numeric), std::abs(gradient[k]), check.floor});
      const bool right = std::abs(numeric - gradient[k]) <= check.tolerance * scale;
      if (!right && ++failures > 3) continue;  // a few say enough
      check_that(right, concat(name_of(op.desc), ": gradient of ", what, " ", index, " at ", k,
                               " is ", gradient[k], ", finite differences give ", numeric));
    }
  };
  for (size_t i = 0; i < op.in.size(); ++i)
    check_all("input", i, forward.in_values[i], analytic.din[i]);
  for (size_t i = 0; i < op.params.size(); ++i)
    check_all("parameter", i, forward.param_values[i], analytic.dparams[i]);
}

}  // namespace pcc
