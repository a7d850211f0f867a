// An iteration in the steady state allocates nothing: every allocation of the process is counted,
// by the module that makes it.
#include <link.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"

#if defined(__SANITIZE_ADDRESS__) || !defined(__GLIBC__)
#define PCC_COUNTS_ALLOCATIONS 0
#else
#define PCC_COUNTS_ALLOCATIONS 1
#endif

namespace {

// Addresses of one module's code: ours lies in the program; oneDNN and OpenMP keep books of their
// own.
struct Module {
  uintptr_t begin = 0, end = 0;
  bool holds(uintptr_t address) const { return address >= begin && address < end; }
};

struct Counts {
  Module dnnl, gomp;
  std::atomic<bool> on{false};
  std::atomic<int64_t> ours{0}, foreign{0};
  std::atomic<uintptr_t> first{0};  // who made our first one, for a debugger
};
Counts counts;

int find_modules(dl_phdr_info* info, size_t, void*) {
  Module* module = std::strstr(info->dlpi_name, "libdnnl")   ? &counts.dnnl
                   : std::strstr(info->dlpi_name, "libgomp") ? &counts.gomp
                                                             : nullptr;
  if (!module) return 0;
  module->begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    module->begin = std::min(module->begin, begin);
    module->end = std::max(module->end, begin + info->dlpi_phdr[i].p_memsz);
  }
  return 0;
}

[[maybe_unused]] void note(void* caller) {
  if (!counts.on.load(std::memory_order_relaxed)) return;
  const auto address = reinterpret_cast<uintptr_t>(caller);
  if (counts.dnnl.holds(address) || counts.gomp.holds(address)) {
    ++counts.foreign;
    return;
  }
  uintptr_t none = 0;
  counts.first.compare_exchange_strong(none, address);
  ++counts.ours;
}

}  // namespace

#if PCC_COUNTS_ALLOCATIONS
// The C library's own functions under the names that it keeps for this.
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

#define PCC_REPLACES __attribute__((visibility("default")))
PCC_REPLACES void* malloc(size_t size) {
  note(__builtin_return_address(0));
  return __libc_malloc(size);
}
PCC_REPLACES void* calloc(size_t count, size_t size) {
  note(__builtin_return_address(0));
  return __libc_calloc(count, size);
}
PCC_REPLACES void* realloc(void* old, size_t size) {
  note(__builtin_return_address(0));
  return __libc_realloc(old, size);
}
PCC_REPLACES void* aligned_alloc(size_t align, size_t size) {
  note(__builtin_return_address(0));
  return __libc_memalign(align, size);
}
PCC_REPLACES int posix_memalign(void** to, size_t align, size_t size) {
  note(__builtin_return_address(0));
  *to = __libc_memalign(align, size);
  return *to ? 0 : ENOMEM;
}
PCC_REPLACES void free(void* data) { __libc_free(data); }
}

void* operator new(size_t size) {
  note(__builtin_return_address(0));
  void* data = __libc_malloc(size);
  if (!data) throw std::bad_alloc();
  return data;
}
void* operator new(size_t size, std::align_val_t align) {
  note(__builtin_return_address(0));
  void* data = __libc_memalign(static_cast<size_t>(align), size);
  if (!data) throw std::bad_alloc();
  return data;
}
void operator delete(void* data) noexcept { __libc_free(data); }
void operator delete(void* data, size_t) noexcept { __libc_free(data); }
void operator delete(void* data, std::align_val_t) noexcept { __libc_free(data); }
void operator delete(void* data, size_t, std::align_val_t) noexcept { __libc_free(data); }
#endif

namespace pcc {
namespace {

template <typename Work>
int64_t allocations_in(Work work) {
  static const int found = dl_iterate_phdr(find_modules, nullptr);
  static_cast<void>(found);
  counts.ours = counts.foreign = 0;
  counts.first = 0;
  counts.on = true;
  work();
  counts.on = false;
  return counts.ours;
}

// A feed over pictures in memory.
class NoiseFeed : public RecordFeed {
 public:
  explicit NoiseFeed(const Shape& shape) : shape_(shape), records_(kTotal * shape.count()) {
    for (size_t i = 0; i < records_.size(); ++i) records_[i] = static_cast<uint8_t>(i * 37 % 251);
    for (size_t i = 0; i < labels_.size(); ++i) labels_[i] = static_cast<int32_t>(i % 10);
  }
  Shape record_shape() const override { return shape_; }
  RecordBatch next(int64_t count) override {
    const RecordBatch batch{records_.data(), false, labels_.data(), position_, kTotal};
    position_ = (position_ + count) % kTotal;
    return batch;
  }
  int64_t position() const override { return position_; }
  void seek(int64_t position) override { position_ = position; }

 private:
  static constexpr int64_t kTotal = 40;
  Shape shape_;
  std::vector<uint8_t> records_;
  std::vector<int32_t> labels_ = std::vector<int32_t>(kTotal);
  int64_t position_ = 0;
};

std::string data_layer() {
  return "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 16 }"
         " transform_param { scale: 0.00390625 mirror: true crop_size: 16 } }";
}

std::string lenet() {
  return data_layer() +
         layer("Convolution", "conv1", "data", "conv1",
               "convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: 'xavier' } "
               "}") +
         layer("Pooling", "pool1", "conv1", "pool1", "pooling_param { kernel_size: 2 stride: 2 }") +
         layer("Convolution", "conv2", "pool1", "conv2",
               "convolution_param { num_output: 50 kernel_size: 3 weight_filler { type: 'xavier' } "
               "}") +
         layer("LRN", "lrn", "conv2", "lrn") +
         layer("Pooling", "pool2", "lrn", "pool2",
               "pooling_param { kernel_size: 2 stride: 2 pool: AVE }") +
         layer("InnerProduct", "ip1", "pool2", "ip1",
               "inner_product_param { num_output: 50 weight_filler { type: 'xavier' } }") +
         layer("ReLU", "relu1", "ip1", "ip1") + layer("Dropout", "drop", "ip1", "ip1") +
         classifier("ip1", 10) +
         "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' }";
}

std::string residual() {
  std::string text = data_layer() + conv_layer("b0", "data", 16, 3) + norm_layers_on("b0") +
                     layer("ReLU", "b0_relu", "b0", "b0");
  for (int i = 1; i <= 2; ++i) {
    const std::string below = concat("b", i - 1), name = concat("b", i);
    const int stride = i, outputs = 16 * i;
    text += conv_layer(name + "p", below, outputs, 1, stride) + norm_layers_on(name + "p") +
            conv_layer(name + "a", below, outputs, 3, stride) + norm_layers_on(name + "a") +
            layer("ReLU", name + "a_relu", name + "a", name + "a") +
            conv_layer(name + "c", name + "a", outputs, 3) + norm_layers_on(name + "c") +
            "layer { name: '" + name + "' type: 'Eltwise' bottom: '" + name + "p' bottom: '" +
            name + "c' top: '" + name + "' }" + layer("ReLU", name + "_relu", name, name);
  }
  return text +
         layer("Pooling", "pool", "b2", "pool",
               "pooling_param { pool: AVE global_pooling: true }") +
         "layer { name: 'cat' type: 'Concat' bottom: 'pool' bottom: 'pool' top: 'cat' }" +
         "layer { name: 'cut' type: 'Slice' bottom: 'cat' top: 'left' top: 'right' }" +
         "layer { name: 'max' type: 'Eltwise' bottom: 'left' bottom: 'right' top: 'max' "
         "eltwise_param { operation: MAX } }" +
         layer("Scale", "own", "max", "own", "scale_param { bias_term: true }") +
         classifier("own", 10) +
         "layer { name: 'acc' type: 'Accuracy' bottom: 'ip' bottom: 'label' top: 'acc' }";
}

std::shared_ptr<Net> fed_net(const std::string& text, const NetOptions& options,
                             std::shared_ptr<Net> share = nullptr) {
  LayerFeed feed;
  feed.records = std::make_shared<NoiseFeed>(Shape{3, 20, 20});
  return std::make_shared<Net>(parse_layers(text), std::map<std::string, LayerFeed>{{"data", feed}},
                               options, std::move(share));
}

void check_steady(const std::string& text, const char* type) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  for (const std::string& backend : backend_names())
    for (const bool fuse : {true, false}) {
      const auto net = fed_net(text, net_on(backend, fuse));
      NetOptions test = net_on(backend, fuse);
      test.train = false;
      const auto test_net = fed_net(text, test, net);
      SolverParams params;
      params.type = type;
      params.schedule.lr_policy = "1cycle";
      params.schedule.base_lr = 0.001f;
      params.schedule.max_lr = 0.01f;
      params.schedule.stepsize = 5;
      params.schedule.momentum = 0.95f;
      params.schedule.cyclical_momentum = {0.8f, 5};
      params.weight_decay = 0.001f;
      params.clip_gradients = 5;
      params.iter_size = 2;
      Solver solver(net, params);
      const auto iterate = [&](int count) {
        for (int i = 0; i < count; ++i) {
          solver.forward_backward();
          solver.apply_update();
          test_net->forward();
        }
      };
      iterate(3);
      const int64_t ours = allocations_in([&] { iterate(2); });
      if (ours)
        testing::fail(__FILE__, __LINE__,
                      concat(backend, fuse ? ", fused" : ", kept", ": ", ours,
                             " allocations in 2 iterations, the first from address ", std::hex,
                             counts.first.load()));
    }
}

TEST(the_counter_counts) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  static std::vector<int>* kept = nullptr;  // so that the compiler cannot leave it out
  CHECK(allocations_in([] { kept = new std::vector<int>(10); }) >= 2);
  delete kept;
}

TEST(lenet_allocates_nothing) { check_steady(lenet(), "SGD"); }

TEST(a_residual_net_allocates_nothing) { check_steady(residual(), "Nesterov"); }

}  // namespace
}  // namespace pcc
