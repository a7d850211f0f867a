// The CUDA backend on the host, for tests.
#pragma once

namespace pcc {

// Registers it under the name "cuda_host". Called once.
void register_cuda_host();

}  // namespace pcc
