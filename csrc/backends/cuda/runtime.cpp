// What both runtimes share: the current stream, the limits of a launch, and what errors say.
#include "backends/cuda/runtime.h"

#include <atomic>
#include <cstdlib>
#include <limits>

#include "core/out_of_memory.h"

namespace pcc::cuda {

namespace {

constinit thread_local Stream* current = nullptr;
constinit thread_local Rehearsal* rehearsal = nullptr;

bool asked_to_wait() {
  const char* const value = std::getenv("PYCAFFE_CLR_SYNC");
  return value && *value && std::string(value) != "0";
}
std::atomic<bool> waits{asked_to_wait()};

std::string version_text(int version) {
  return concat("CUDA ", version / 1000, ".", version % 1000 / 10);
}

}  // namespace

bool synchronous() { return waits; }
void set_synchronous(bool is) { waits = is; }

void require_device(int device) {
  std::string why;
  const int count = device_count(&why);
  PCC_CONFIG(count > 0, "no CUDA device: ", why);
  PCC_CONFIG(device >= 0 && device < count, "no CUDA device ", device, ": there ",
             count == 1 ? "is 1, number 0" : concat("are ", count, ", numbered from 0"));
  const Properties its = properties(device);
  PCC_CONFIG(its.major >= 8, "CUDA device ", device, " (", its.name, ") is of compute capability ",
             its.major, ".", its.minor, "; 8.0 is the least");
}

std::string driver_problem(int version, int needed) {
  if (version == 0) return "there is no NVIDIA driver";
  return concat("the NVIDIA driver is one for ", version_text(version), ", and ",
                version_text(needed / 1000 * 1000), " is needed: install a newer driver");
}

void throw_failed(const std::string& call, const std::string& why) {
  constexpr const char* kHint =
      ". What a kernel does wrong shows later: PYCAFFE_CLR_SYNC=1 in the environment has each one "
      "waited for, and the error name it and its op";
  PCC_THROW(engine, call, " failed: ", why, synchronous() ? "" : kHint);
}

void throw_out_of_memory(int device, int64_t bytes, int64_t left, int64_t total) {
  throw OutOfMemory(concat("out of memory on CUDA device ", device, ": ", size_text(bytes),
                           " wanted, ", size_text(left), " of ", size_text(total),
                           " left. Use a smaller batch_size"));
}

CurrentStream::CurrentStream(Stream& stream) : before_(current) { current = &stream; }
CurrentStream::~CurrentStream() { current = before_; }

Stream& current_stream() {
  PCC_CHECK(current, "work for a device outside of a call that the device makes");
  return *current;
}

Rehearsal::Rehearsal() : before_(rehearsal) { rehearsal = this; }
Rehearsal::~Rehearsal() { rehearsal = before_; }

bool rehearsed() {
  if (rehearsal) ++rehearsal->launches_;
  return rehearsal != nullptr;
}

uint32_t* counters() { return rehearsal ? nullptr : current_stream().counters(); }

uint32_t* Stream::counters() {
  constexpr int64_t kBytes = kCounters * static_cast<int64_t>(sizeof(uint32_t));
  if (!counters_) counters_ = static_cast<uint32_t*>(allocate(kBytes));
  return counters_;
}

std::string place_of(const Launch& launch) {
  const std::string name = name_of_kernel(launch.kernel);
  return concat("the kernel ", name, name.empty() ? "" : ", ", "launched at ",
                launch.grid.where.file_name(), ":", launch.grid.where.line());
}

void launch(Stream& stream, const Launch& what) {
  stream.launch(what);
  if (!synchronous() || stream.capturing()) return;
  try {
    stream.sync();
  } catch (const Error& error) {
    PCC_THROW(engine, place_of(what), ": ", error.what());
  }
}

void check_limits(const Launch& launch, int64_t shared_bytes) {
  constexpr int64_t kMost = 65535;
  const auto within = [](const Dim& dim, int64_t x, int64_t y, int64_t z) {
    return dim.x > 0 && dim.y > 0 && dim.z > 0 && dim.x <= x && dim.y <= y && dim.z <= z;
  };
  const Dim &grid = launch.grid, &block = launch.block;
  PCC_CHECK(within(grid, std::numeric_limits<int32_t>::max(), kMost, kMost), place_of(launch),
            ": no grid can be of ", grid.x, " x ", grid.y, " x ", grid.z, " blocks");
  PCC_CHECK(within(block, 1024, 1024, 64) && block.count() <= 1024, place_of(launch),
            ": no block can be of ", block.x, " x ", block.y, " x ", block.z, " threads");
  PCC_CHECK(launch.shared_bytes >= 0 && launch.shared_bytes <= shared_bytes, place_of(launch), ": ",
            launch.shared_bytes, " bytes of shared memory are asked for; the device has ",
            shared_bytes);
  size_t params = 0;
  for (size_t i = 0; i < launch.count; ++i) params += launch.sizes[i];
  PCC_CHECK(params <= 4096, place_of(launch), ": ", params, " bytes of arguments; at most 4096");
}

}  // namespace pcc::cuda
