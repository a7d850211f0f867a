// An iteration in the steady state allocates nothing: every allocation of the process is counted.
#include <link.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/parallel.h"
#include "list_feed.h"
#include "net_text.h"
#include "solver/solver.h"
#include "testing.h"

#if defined(__SANITIZE_ADDRESS__) || !defined(__GLIBC__)
#define PCC_COUNTS_ALLOCATIONS 0
#else
#define PCC_COUNTS_ALLOCATIONS 1
#endif

namespace {

// oneDNN keeps the arguments of each call of a primitive in a map of its own: a dozen blocks of
// this size at most, which are given back when the call returns. Nothing else may allocate.
constexpr size_t kArgument = 512;  // bytes

struct Counts {
  uintptr_t dnnl_begin = 0, dnnl_end = 0;  // addresses of oneDNN's code
  std::atomic<bool> on{false};
  std::atomic<int64_t> all{0}, arguments{0};
  std::atomic<uintptr_t> first{0};  // who made the first that is no argument, for a debugger
};
Counts counts;

int find_dnnl(dl_phdr_info* info, size_t, void*) {
  if (!std::strstr(info->dlpi_name, "libdnnl")) return 0;
  counts.dnnl_begin = UINTPTR_MAX;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    counts.dnnl_begin = std::min(counts.dnnl_begin, begin);
    counts.dnnl_end = std::max(counts.dnnl_end, begin + info->dlpi_phdr[i].p_memsz);
  }
  return 0;
}

[[maybe_unused]] void note(void* caller, size_t size) {
  if (!counts.on.load(std::memory_order_relaxed)) return;
  ++counts.all;
  const auto address = reinterpret_cast<uintptr_t>(caller);
  if (address >= counts.dnnl_begin && address < counts.dnnl_end && size <= kArgument) {
    ++counts.arguments;
    return;
  }
  uintptr_t none = 0;
  counts.first.compare_exchange_strong(none, address);
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
  note(__builtin_return_address(0), size);
  return __libc_malloc(size);
}
PCC_REPLACES void* calloc(size_t count, size_t size) {
  note(__builtin_return_address(0), count * size);
  return __libc_calloc(count, size);
}
PCC_REPLACES void* realloc(void* old, size_t size) {
  note(__builtin_return_address(0), size);
  return __libc_realloc(old, size);
}
PCC_REPLACES void* aligned_alloc(size_t align, size_t size) {
  note(__builtin_return_address(0), size);
  return __libc_memalign(align, size);
}
PCC_REPLACES int posix_memalign(void** to, size_t align, size_t size) {
  note(__builtin_return_address(0), size);
  *to = __libc_memalign(align, size);
  return *to ? 0 : ENOMEM;
}
PCC_REPLACES void free(void* data) { __libc_free(data); }
}

void* operator new(size_t size) {
  note(__builtin_return_address(0), size);
  void* data = __libc_malloc(size);
  if (!data) throw std::bad_alloc();
  return data;
}
void* operator new(size_t size, std::align_val_t align) {
  note(__builtin_return_address(0), size);
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

struct Allocations {
  int64_t arguments, others;
};

template <typename Work>
Allocations allocations_in(Work work) {
  static const int found = dl_iterate_phdr(find_dnnl, nullptr);
  static_cast<void>(found);
  counts.all = counts.arguments = 0;
  counts.first = 0;
  counts.on = true;
  work();
  counts.on = false;
  return {counts.arguments, counts.all - counts.arguments};
}

// A feed over 40 pictures in memory.
std::shared_ptr<RecordFeed> noise_feed(const Shape& picture) {
  std::vector<double> values(static_cast<size_t>(40 * picture.count()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i * 37 % 251);
  return std::make_shared<ListFeed>(picture, values, false, 10);
}

std::string data_layer(int crop) {
  return concat(
      "layer { name: 'data' type: 'Data' top: 'data' top: 'label' data_param { batch_size: 16 }"
      " transform_param { scale: 0.00390625 mirror: true crop_size: ",
      crop, " } }");
}

// With what else the CPU backend has kernels of its own for.
std::string lenet() {
  return data_layer(28) +
         layer("Convolution", "conv1", "data", "conv1",
               "convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: 'xavier' } "
               "}") +
         layer("Pooling", "pool1", "conv1", "pool1", "pooling_param { kernel_size: 2 stride: 2 }") +
         layer("Convolution", "conv2", "pool1", "conv2",
               "convolution_param { num_output: 50 kernel_size: 5 weight_filler { type: 'xavier' } "
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
  std::string text = data_layer(16) + conv_layer("b0", "data", 16, 3) + norm_layers_on("b0") +
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
  feed.records = noise_feed({3, 32, 32});
  return std::make_shared<Net>(parse_layers(text), std::map<std::string, LayerFeed>{{"data", feed}},
                               options, std::move(share));
}

// Allocations of two iterations, after three others.
Allocations steady(const std::string& text, const char* type, const std::string& backend,
                   bool fuse) {
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
  return allocations_in([&] { iterate(2); });
}

// Whether its device is made up for tests, of allocations, too.
bool is_simulated(const std::string& backend) { return backend == "cuda_host"; }

void check_steady(const std::string& text, const char* type, bool calls_primitives) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  for (const int threads : {1, 2})
    for (const std::string& backend : backend_names())
      for (const bool fuse : {true, false}) {
        if (threads == 2 && !fuse) continue;
        // Where an iteration is slow, one case stands for the others.
        const bool is_guarded = backend.find("guarded_") == 0 || backend.find("fussy_") == 0;
        if (is_guarded && (threads == 2 || !fuse || backend != "guarded_cpu")) continue;
        if (is_simulated(backend)) continue;
        set_threads(threads);
        const Allocations made = steady(text, type, backend, fuse);
        if (made.others || (made.arguments && !calls_primitives))
          testing::fail(__FILE__, __LINE__,
                        concat(backend, fuse ? ", fused, " : ", kept, ", threads, " thread(s): ",
                               made.others, " allocations in 2 iterations, the first from address ",
                               std::hex, counts.first.load(), std::dec, "; ", made.arguments,
                               " arguments of oneDNN's calls"));
      }
}

TEST(the_counter_counts) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  static std::vector<int>* kept = nullptr;  // so that the compiler cannot leave it out
  CHECK(allocations_in([] { kept = new std::vector<int>(10); }).others >= 2);
  delete kept;
}

// Allocations of two passes over a net of one thread, after two others.
Allocations passes(Net& net) {
  const auto run = [&] {
    net.forward();
    net.backward();
  };
  for (int i = 0; i < 2; ++i) run();
  return allocations_in([&] {
    for (int i = 0; i < 2; ++i) run();
  });
}

TEST(views_allocate_nothing) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  set_threads(1);
  for (const std::string& backend : backend_names()) {
    if (is_simulated(backend)) continue;
    const auto net = fed_net(residual(), net_on(backend));
    for (const char* blob : {"data", "b0", "b1", "b2"})
      for (const bool diff : {false, true}) net->host(net->blob_index(blob), diff);
    CHECK_EQ(passes(*net).others, 0);
  }
}

TEST(random_data_allocates_nothing) {
#if !PCC_COUNTS_ALLOCATIONS
  SKIP("the sanitizer's allocator cannot be replaced");
#endif
  set_threads(1);
  for (const std::string& backend : backend_names())
    for (const char* type : {"uniform", "gaussian", "xavier", "positive_unitball"}) {
      const std::string text =
          concat("layer { name: 'data' type: 'DummyData' top: 'data' dummy_data_param { shape { ",
                 "dim: 2 dim: 3 dim: 4 dim: 4 } data_filler { type: '", type, "' } } }") +
          layer("InnerProduct", "ip", "data", "ip",
                "loss_weight: 1 inner_product_param { num_output: 4 }");
      if (is_simulated(backend)) continue;
      const auto net = make_net(text, net_on(backend, true));
      CHECK_EQ(passes(*net).others, 0);
    }
}

TEST(lenet_allocates_nothing) { check_steady(lenet(), "SGD", false); }

TEST(a_residual_net_allocates_nothing) { check_steady(residual(), "Nesterov", true); }

}  // namespace
}  // namespace pcc
