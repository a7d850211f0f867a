// Products of small matrices by a whole warp, on the tensor cores, in words of 32 bits: one number
// rounded to tf32, or two to bf16. Sums are float32.
//
// C (16, 8) += A (16, 8 words) B (8 words, 8). With g = lane / 4 and t = lane % 4 a lane brings
// A's words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4) and B's (t, g), (t + 4, g), and keeps
// C's numbers (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). Source: PTX ISA, mma.m16n8k8
// (.tf32) and mma.m16n8k16 (.bf16).
#pragma once

#include "backends/cuda/kernel.h"

#ifndef __CUDACC__
#include "backends/cuda/host/mma.h"
#else

namespace pcc::cuda {

struct Tf32 {
  static constexpr int kPerWord = 1;
  __device__ static uint32_t pack(const float (&x)[1]) {
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x[0]));
    return word;
  }
  __device__ static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};

struct Bf16 {
  static constexpr int kPerWord = 2;  // the first in the lower half
  __device__ static uint32_t pack(const float (&x)[2]) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(x[1]), "f"(x[0]));
    return word;
  }
  __device__ static void multiply(const uint32_t (&a)[4], const uint32_t (&b)[2], float (&c)[4]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
};

}  // namespace pcc::cuda

#endif
