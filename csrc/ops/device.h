// Device: the memory of one processor, and how calls of ops run on it. The host reaches that memory
// through these functions only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/memory.h"
#include "ops/step.h"

namespace pcc {

class Op;

// What convolutions and matrix products multiply: float32 as it is, or rounded to tf32 (10 bits of
// mantissa) or bf16 (7 bits), where a backend has that. Sums are float32. usual: as the backend
// likes it best.
enum class Precision : uint8_t { usual, fp32, tf32, bf16 };
const char* name_of(Precision precision);
// "": usual. Throws a config error for a name of none.
Precision precision_named(const std::string& name);

// One call of an op.
struct Call {
  enum class Action : uint8_t { forward, backward, prepare };
  Op* op = nullptr;
  Action action = Action::forward;

  void make(const Context& context) const;
};

// Calls in order that are made again and again: a device may record them at the first run and
// replay them from then on. Nothing that the host does stands between them.
struct Unit {
  std::vector<Call> calls;
  std::shared_ptr<void> recording;  // the device's own
};

// Room on the host that is filled again and again while the device still works with what was there
// before.
class Staging {
 public:
  virtual ~Staging() = default;
  // Where to write what is sent next; waits until the device has taken what was there.
  virtual void* fill() = 0;
  // Sends it. Where it lies for what the device is asked for from now on, until the next is sent.
  virtual const void* send() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  // Zeroed. Throws an engine error where there is not as much.
  virtual std::shared_ptr<Memory> allocate(int64_t bytes) = 0;
  // All of these, and the calls, take effect in the order in which they were asked for.
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;    // from the host's memory
  virtual void download(void* to, const void* from, int64_t bytes) = 0;  // to it; waits for that
  virtual void clear(void* to, int64_t bytes) = 0;                       // to zeros
  virtual void sync() = 0;  // waits for everything asked for so far
  // After each iteration: waits while the host is more than two of them ahead, so that who stops a
  // run, or gave it so much time, need not wait for all that it has asked for.
  virtual void pace() {}
  // Whether host code may follow the device's pointers, and every function has done its work when
  // it returns: what is read often need not be copied then.
  virtual bool host_visible() const = 0;
  // In which its ops multiply; never `usual`.
  virtual Precision precision() const { return Precision::fp32; }
  // What users should know of how ops were made for it, said once each.
  virtual std::vector<std::string> take_remarks() { return {}; }
  // Of its own; 0: it works in the host's.
  virtual int64_t memory_bytes() const { return 0; }
  virtual std::unique_ptr<Staging> stage(int64_t bytes);
  // A copy of what the host holds under that key (not 0) and never changes. Whoever uses the same
  // processor shares it. Null where it takes too much of the memory beside all others.
  virtual std::shared_ptr<Memory> hold(uint64_t key, const void* from, int64_t bytes);
  virtual void run(const Call* calls, size_t count, const Context& context) = 0;
  virtual void run(Unit& unit, const Context& context) {
    run(unit.calls.data(), unit.calls.size(), context);
  }
  // Makes the calls, in order; the seconds that each took. Default: by the host's clock, which
  // waits for the end of each.
  virtual std::vector<double> time(const Call* calls, size_t count, const Context& context);
  // What each of the calls, made one behind the other, would ask a GPU for: kernels, copies and
  // fills. Nothing is done. Empty: there are none of those.
  virtual std::vector<int64_t> launches(const Call* calls, size_t count, const Context& context) {
    (void)calls, (void)count, (void)context;
    return {};
  }
  // Units, one behind the other, as if they were one; `recording` is the device's own.
  struct Part {
    Unit* unit;
    Context context;
  };
  virtual void run(std::span<const Part> parts, std::shared_ptr<void>& recording) {
    (void)recording;
    for (const Part& part : parts) run(*part.unit, part.context);
  }
};

// The processor that runs this code.
class HostDevice : public Device {
 public:
  std::shared_ptr<Memory> allocate(int64_t bytes) override;
  void upload(void* to, const void* from, int64_t bytes) override;
  void download(void* to, const void* from, int64_t bytes) override;
  void clear(void* to, int64_t bytes) override;
  void sync() override {}
  bool host_visible() const override { return true; }
  using Device::run;
  void run(const Call* calls, size_t count, const Context& context) override;
};

}  // namespace pcc
