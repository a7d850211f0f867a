#include "ops/device.h"

#include <cstring>

#include "ops/op.h"

namespace pcc {

void Call::make(const Context& context) const {
  switch (action) {
    case Action::forward:
      return op->forward(context);
    case Action::backward:
      return op->backward(context);
    case Action::prepare:
      return op->prepare(context);
  }
}

std::shared_ptr<Memory> HostDevice::allocate(int64_t bytes) {
  return std::make_shared<HostMemory>(bytes);
}

void HostDevice::download(void* to, const void* from, int64_t bytes) { upload(to, from, bytes); }

void HostDevice::upload(void* to, const void* from, int64_t bytes) {
  if (bytes > 0) std::memmove(to, from, static_cast<size_t>(bytes));
}

void HostDevice::clear(void* to, int64_t bytes) {
  if (bytes > 0) std::memset(to, 0, static_cast<size_t>(bytes));
}

void HostDevice::run(const Call* calls, size_t count, const Context& context) {
  for (const Call* call = calls; call != calls + count; ++call) call->make(context);
}

}  // namespace pcc
