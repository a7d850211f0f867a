#include "backends/cuda/host/host.h"

#include "backends/cuda/cuda.h"
#include "backends/cuda/host/modes.h"
#include "backends/cuda/runtime.h"
#include "ops/backends.h"

namespace pcc {

void register_cuda_host() {
  register_backend("cuda_host", [] { return make_cuda_backend("cuda_host"); });
}

}  // namespace pcc

// For whoever loads this as a library.

#define PCC_SHOWN extern "C" __attribute__((visibility("default")))

// Called once.
PCC_SHOWN void register_cuda_host_backend() { pcc::register_cuda_host(); }
PCC_SHOWN void set_cuda_host_faults(const char* words) {
  pcc::cuda::host::set_faults(pcc::cuda::host::faults_in(words));
}
PCC_SHOWN void set_cuda_host_synchronous(int is) { pcc::cuda::set_synchronous(is != 0); }
