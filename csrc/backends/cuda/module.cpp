// The backend as a library of its own, over the GPUs of this machine.
#include "backends/cuda/cuda.h"
#include "backends/cuda/runtime.h"
#include "core/check.h"
#include "ops/backends.h"

namespace pcc {

namespace {

std::unique_ptr<const Backend> make() {
  return make_cuda_backend("cuda", Precision::tf32, "measured");
}

}  // namespace

}  // namespace pcc

PCC_BACKEND_MODULE(pcc::make)

// Versions of the runtime and of the driver, as 1000 * major + 10 * minor, where there is a device.
extern "C" __attribute__((visibility("default"))) void pcc_cuda_versions(int* runtime, int* driver);
extern "C" void pcc_cuda_versions(int* runtime, int* driver) {
  const pcc::cuda::Properties of_device = pcc::cuda::properties(0);
  *runtime = of_device.runtime;
  *driver = of_device.driver;
}
