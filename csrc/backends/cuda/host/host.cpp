#include "backends/cuda/host/host.h"

#include "backends/cuda/cuda.h"
#include "ops/backends.h"

namespace pcc {

void register_cuda_host() {
  register_backend("cuda_host", [] { return make_cuda_backend("cuda_host"); });
}

}  // namespace pcc

// For whoever loads this as a library. Called once.
extern "C" __attribute__((visibility("default"))) void register_cuda_host_backend() {
  pcc::register_cuda_host();
}
