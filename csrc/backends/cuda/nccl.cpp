// Sums over the devices of several processes by NCCL, opened at run time where it is installed.
// Declarations after nccl.h of NCCL 2.28, which keeps them stable over its versions.
#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <mutex>

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
    stream.native();  // its device becomes this thread's
    Comm comm = nullptr;
    check(nccl().init_rank(&comm, group_.ranks(), id, group_.rank()), "bring the ranks together");
    comm_ = comm;
    group_.on_abort([this] { abort(); });
  }
  // Not in good order, for which NCCL would wait for the others.
  ~NcclCollective() override {
    group_.on_abort({});
    abort();
  }

  void sum(Stream& stream, float* values, int64_t count) override {
    const std::lock_guard lock(mutex_);
    PCC_CHECK(comm_, "the run's processes were stopped");
    check(nccl().all_reduce(values, values, static_cast<size_t>(count), kFloat32, kSum, comm_,
                            stream.native()),
          "sum over the ranks");
  }

 private:
  void check(int status, const char* action) const {
    if (status == kSuccess) return;
    const char* const reason = nccl().last_error(comm_);
    PCC_THROW(engine, "NCCL could not ", action, ": ", nccl().error_string(status),
              reason && *reason ? concat(" (", reason, ")") : "",
              "; NCCL_DEBUG=INFO in the environment shows more");
  }
  // From any thread: kernels that wait for a rank that is gone end.
  void abort() noexcept {
    const std::lock_guard lock(mutex_);
    if (comm_) nccl().abort(comm_);
    comm_ = nullptr;
  }

  Group& group_;
  std::mutex mutex_;
  Comm comm_ = nullptr;
};

}  // namespace

std::unique_ptr<Collective> open_collective(Stream& stream, Group& group) {
  return std::make_unique<NcclCollective>(stream, group);
}

}  // namespace pcc::cuda
