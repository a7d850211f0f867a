// What the backend asks of a GPU: memory, a stream of copies and kernels, and recordings of it.
// Implemented over the CUDA runtime (runtime_cuda.cu), and, for tests, on the host
// (host/runtime_host.cpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace pcc::cuda {

// Of a grid, in blocks, or of a block, in threads. Made at the place of a launch, it says where.
struct Dim {
  Dim(int64_t x, int64_t y = 1, int64_t z = 1,
      std::source_location where = std::source_location::current())
      : x(x), y(y), z(z), where(where) {}
  int64_t count() const { return x * y * z; }

  int64_t x, y, z;
  std::source_location where;
};

struct Properties {
  std::string name;
  int major = 0, minor = 0;
  int multiprocessors = 0;
  int driver = 0, runtime = 0;  // versions: 13000 is CUDA 13.0
  int64_t memory_bytes = 0;
  int64_t shared_bytes = 0;  // the most that one block may ask for
};

// How many there are; 0, and why, without a driver.
int device_count(std::string* why = nullptr);
Properties properties(int device);
// Throws a config error, with the reason, where that device is not there or cannot run this.
void require_device(int device);

// Whether each kernel is waited for and nothing recorded, so that an error names the op and the
// kernel that it comes from. At first as PYCAFFE_CLR_SYNC in the environment says: 1.
bool synchronous();
void set_synchronous(bool is);

struct Launch;

inline constexpr int64_t kCounters = 16384;

// Work recorded once, to be replayed; it may outlive its stream.
class Recording;

// Work for one device, done in the order in which it was asked for, while the host goes on: what
// goes wrong is an engine error of a later call, and of all that follow. One thread at a time.
class Stream {
 public:
  // Throws a config error where there is no such device.
  explicit Stream(int device);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // 256-byte aligned, zeroed. Throws OutOfMemory where there is not as much. Never while capturing.
  void* allocate(int64_t bytes);
  void free(void* memory) noexcept;  // after the work that was asked for
  // Memory of the host's that the device reads by itself (pinned).
  void* allocate_host(int64_t bytes);
  void free_host(void* memory) noexcept;  // after the work that was asked for

  // `from` may change once this returns.
  void upload(void* to, const void* from, int64_t bytes);
  // From memory of allocate_host, which is read when its turn comes.
  void upload_later(void* to, const void* from, int64_t bytes);
  void download(void* to, const void* from, int64_t bytes);  // waits for it
  void copy(void* to, const void* from, int64_t bytes);      // within the device
  void fill(void* to, unsigned char byte, int64_t bytes);
  void sync();

  // From now on copies within the device, fills and launches are recorded and not done. So is what
  // another stream is asked for once it waits for an event of this recording, until the end of
  // which this stream waits for it.
  void begin_capture();
  std::shared_ptr<const Recording> end_capture();
  void abandon_capture() noexcept;
  bool capturing() const;
  int device() const;
  void replay(const std::shared_ptr<const Recording>& recording);
  void launch(const Launch& what);

  // For the kernels of this stream, which count their blocks there, and put it back to zeros before
  // they end: kCounters numbers. First asked for when it does not record.
  uint32_t* counters();

  // For other libraries of CUDA's: the cudaStream_t, its device chosen for the calling thread. Null
  // on the host, where those do not work.
  void* native();

  struct State;
  State& state() { return *state_; }

 private:
  std::unique_ptr<State> state_;
  uint32_t* counters_ = nullptr;
};

// A point in the work of a stream, or of a recording, within which alone it can then be waited for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(Stream& stream);
  void wait(Stream& stream) const;  // what that stream is asked for next waits for this point
  void sync() const;                // the host does

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// A moment in the work of a stream, or in that of a recording whenever it is replayed.
class Mark {
 public:
  Mark();
  ~Mark();
  Mark(const Mark&) = delete;
  Mark& operator=(const Mark&) = delete;
  void set(Stream& stream);
  // Once the stream that this one was set in has been waited for.
  double seconds_since(const Mark& earlier) const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

// Makes it the stream that launches of this thread go to, for as long as this lives.
class CurrentStream {
 public:
  explicit CurrentStream(Stream& stream);
  ~CurrentStream();
  CurrentStream(const CurrentStream&) = delete;
  CurrentStream& operator=(const CurrentStream&) = delete;

 private:
  Stream* before_;
};
// Throws an engine error where there is none: kernels run only within a call of an op.
Stream& current_stream();

// While it lives, what this thread would ask of its stream is counted, and not done.
class Rehearsal {
 public:
  Rehearsal();
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;
  int64_t launches() const { return launches_; }  // kernels, copies and fills

 private:
  friend bool rehearsed();
  Rehearsal* before_;
  int64_t launches_ = 0;
};
// Whether a rehearsal goes on, which then counts one launch: nothing else is to be done.
bool rehearsed();
// Of the current stream; null in a rehearsal.
uint32_t* counters();

// A kernel and its parameters, their types gone.
struct Launch {
  const void* kernel;
  void (*call)(const void* kernel, void* const* params);  // one thread of it
  Dim grid, block;
  int64_t shared_bytes;  // dynamic shared memory
  void* const* params;   // where they lie now
  const size_t* sizes;
  size_t count;
};
void launch(Stream& stream, const Launch& what);
std::string name_of_kernel(const void* kernel);  // "": unknown
std::string place_of(const Launch& launch);      // of the kernel, for errors
// Throws an engine error where no device with that much shared memory could carry it out.
void check_limits(const Launch& launch, int64_t shared_bytes);

// Errors of both runtimes, in the same words.
[[noreturn]] void throw_failed(const std::string& call, const std::string& why);
[[noreturn]] void throw_out_of_memory(int device, int64_t bytes, int64_t left, int64_t total);
// Why a driver that is made for that version of CUDA, as 1000 * major + 10 * minor, will not do; 0:
// there is none.
std::string driver_problem(int version, int needed);

// Runs kernel(args...) on the thread's current stream: grid and block as in <<<grid, block>>>, with
// so many bytes of dynamic shared memory. Errors name the place of the call.
template <typename... Params, typename... Args>
void launch(void (*kernel)(Params...), const Dim& grid, const Dim& block, int64_t shared_bytes,
            const Args&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "as many arguments as the kernel has");
  static_assert((std::is_trivially_copyable_v<Params> && ...), "kernels get copies of plain data");
  std::tuple<Params...> values(static_cast<Params>(args)...);
  std::apply(
      [&](Params&... value) {
        void* const params[] = {
            static_cast<void*>(const_cast<std::remove_cv_t<Params>*>(&value))..., nullptr};
        static constexpr size_t sizes[] = {sizeof(Params)..., 0};
        const auto call = [](const void* function, void* const* at) {
          [&]<size_t... i>(std::index_sequence<i...>) {
            reinterpret_cast<void (*)(Params...)>(const_cast<void*>(function))(
                *static_cast<Params*>(at[i])...);
          }(std::index_sequence_for<Params...>{});
        };
        if (rehearsed()) return;
        launch(current_stream(), Launch{reinterpret_cast<const void*>(kernel), call, grid, block,
                                        shared_bytes, params, sizes, sizeof...(Params)});
      },
      values);
}

}  // namespace pcc::cuda
