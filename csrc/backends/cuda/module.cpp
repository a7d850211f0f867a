// The backend as a library of its own, over the GPUs of this machine.
#include "backends/cuda/cuda.h"
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
