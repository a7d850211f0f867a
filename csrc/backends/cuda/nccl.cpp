// Sums over the devices of several processes by NCCL, opened at run time where it is installed.
// Declarations after nccl.h of NCCL 2.28, which keeps them stable over its versions.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>
#include <utility>

#include "backends/cuda/collective.h"
#include "backends/cuda/wheels.h"
#include "core/check.h"

namespace pcc::cuda {

namespace {

namespace fs = std::filesystem;

struct ncclComm;
using Comm = ncclComm*;
struct UniqueId {
  char bytes[128];
};
constexpr int kSuccess = 0, kFloat32 = 7, kSum = 0;
constexpr const char* kName = "libnccl.so.2";
constexpr const char* kHint = "; try: pip install nvidia-nccl-cu13";

struct Functions {
  int (*unique_id)(UniqueId*);
  int (*init_rank)(Comm*, int, UniqueId, int);
  int (*all_reduce)(const void*, void*, size_t, int, int, Comm, void*);
  int (*abort)(Comm);
  const char* (*error_string)(int);
  const char* (*last_error)(Comm);
};

// One that another package has loaded; else that in the folder that PYCAFFE_CLR_NCCL_DIR names, the
// wheel's, or where the loader looks. It is never closed.
void* open_library() {
  if (void* const loaded = dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return loaded;
  const char* const named = std::getenv("PYCAFFE_CLR_NCCL_DIR");
  for (const fs::path& folder : {fs::path(named ? named : ""), wheel_folder("nccl")})
    if (std::error_code error; !folder.empty() && fs::exists(folder / kName, error))
      if (void* const library = dlopen((folder / kName).c_str(), RTLD_NOW | RTLD_LOCAL))
        return library;
  void* const library = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (!library) PCC_THROW(config, "several GPUs need NCCL, which is not here: ", dlerror(), kHint);
  return library;
}

Functions open_functions() {
  void* const library = open_library();
  Functions all;
  const auto find = [&](auto& function, const char* name) {
    find_function(library, name, function, kName, kHint);
  };
  find(all.unique_id, "ncclGetUniqueId");
  find(all.init_rank, "ncclCommInitRank");
  find(all.all_reduce, "ncclAllReduce");
  find(all.abort, "ncclCommAbort");
  find(all.error_string, "ncclGetErrorString");
  find(all.last_error, "ncclGetLastError");
  return all;
}

const Functions& nccl() {
  static const Functions all = open_functions();
  return all;
}

class NcclCollective : public Collective {
 public:
  NcclCollective(Stream& stream, Group& group) : group_(group) {
    // Whoever lacks the library says so before the others wait for it inside.
    nccl();
    float all_here = 1;
    group_.sum(&all_here, 1);
    UniqueId id = {};
    if (group_.rank() == 0) check(nccl().unique_id(&id), "make an id");
    group_.broadcast(&id, sizeof(id));
    comm_ = meet(stream, id);
    group_.on_abort([this] { abort(std::chrono::seconds(0)); });
  }
  // Not in good order, for which NCCL would wait for the others.
  ~NcclCollective() override {
    group_.on_abort({});
    abort(std::chrono::seconds(5));
  }

  void sum(Stream& stream, float* values, int64_t count) override {
    group_.check();
    const Comm comm = comm_;
    check(nccl().all_reduce(values, values, static_cast<size_t>(count), kFloat32, kSum, comm,
                            stream.native()),
          "sum over the ranks", comm);
  }

 private:
  // In a thread of its own, as NCCL waits for ranks that are gone, too.
  Comm meet(Stream& stream, const UniqueId& id) const {
    using Met = std::pair<int, Comm>;
    std::promise<Met> promise;
    std::future<Met> met = promise.get_future();
    const int ranks = group_.ranks(), rank = group_.rank();
    std::thread([&stream, id, ranks, rank, promise = std::move(promise)]() mutable {
      stream.native();  // its device becomes this thread's
      Comm comm = nullptr;
      const int status = nccl().init_rank(&comm, ranks, id, rank);
      promise.set_value({status, comm});
    }).detach();
    for (int64_t tenths = 0;
         met.wait_for(std::chrono::milliseconds(100)) != std::future_status::ready; ++tenths) {
      group_.check();
      if (group_.patience() > 0 && static_cast<double>(tenths) > 10 * group_.patience())
        PCC_THROW(engine, group_.impatience("NCCL, which brings the ranks together"));
    }
    const auto [status, comm] = met.get();
    check(status, "bring the ranks together", comm);
    return comm;
  }
  static void check(int status, const char* action, Comm comm = nullptr) {
    if (status == kSuccess) return;
    const char* const reason = nccl().last_error(comm);
    PCC_THROW(engine, "NCCL could not ", action, ": ", nccl().error_string(status),
              reason && *reason ? concat(" (", reason, ")") : "",
              "; NCCL_DEBUG=INFO in the environment shows more");
  }
  // From any thread, also while another is within NCCL: kernels that wait for a rank that is gone
  // end at once. NCCL itself goes on, in a thread of its own, for as long as a recording knows of
  // it: that is not waited for any longer than `patience`.
  void abort(std::chrono::seconds patience) noexcept {
    const Comm comm = comm_.exchange(nullptr);
    if (!comm) return;
    try {
      std::promise<void> done;
      const std::future<void> ended = done.get_future();
      std::thread([comm, done = std::move(done)]() mutable {
        nccl().abort(comm);
        done.set_value();
      }).detach();
      ended.wait_for(patience);
    } catch (const std::exception&) {  // no thread is to be had: the process's end does it
    }
  }

  Group& group_;
  std::atomic<Comm> comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Collective> open_collective(Stream& stream, Group& group) {
  return std::make_unique<NcclCollective>(stream, group);
}

}  // namespace pcc::cuda
