// Products of small matrices by a whole warp, on the tensor cores, in words of 32 bits: one number
// rounded to tf32, or two to bf16. Sums are float32.
//
// C (16, 8) += A (16, 8 words) B (8 words, 8). With g = lane / 4 and t = lane % 4 a lane brings
// A's words (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4) and B's (t, g), (t + 4, g), and keeps
// C's numbers (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). Source: PTX ISA, mma.m16n8k8
// (.tf32) and mma.m16n8k16 (.bf16).
//
// load_matrices: four matrices of 8 rows of 4 words each, from shared memory: row r of matrix i
// begins, 16-byte aligned, where lane 8 i + r says. A lane takes the word (g, t) of each.
// load_transposed: the same of 16-bit numbers, 8 a row: a lane takes those at rows 2t and 2t + 1 of
// column g. Source: PTX ISA, ldmatrix.
#pragma once

#include "backends/cuda/kernel.h"
#include "core/bfloat16.h"

#ifndef __CUDACC__
#include "backends/cuda/host/mma.h"
#else

namespace pcc::cuda {

__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], const uint32_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row))));
}
__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], const uint32_t* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(row))));
}

struct Tf32 {
  using Stored = float;  // in values
  static constexpr int kPerWord = 1;
  __device__ static uint32_t pack(const float (&x)[1]) {
    uint32_t word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(x[0]));
    return word;
  }
  // A stored word's numbers.
  __device__ static void unpack(uint32_t word, float (&x)[1]) { x[0] = __uint_as_float(word); }
  // A word to be stored, of ReLUs; NaN stays NaN.
  __device__ static uint32_t rectified(const float (&x)[1]) {
    float y;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(y) : "f"(x[0]));
    return __float_as_uint(y);
  }
  // What comes from memory without pack().
  __device__ static void round(uint32_t (&words)[4]) {
    PCC_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float x[1] = {__uint_as_float(words[i])};
      words[i] = pack(x);
    }
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
  using Stored = BFloat16;
  static constexpr int kPerWord = 2;  // the first in the lower half
  __device__ static uint32_t pack(const float (&x)[2]) {
    uint32_t word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(x[1]), "f"(x[0]));
    return word;
  }
  __device__ static void unpack(uint32_t word, float (&x)[2]) {
    x[0] = __uint_as_float(word << 16);
    x[1] = __uint_as_float(word & 0xffff0000u);
  }
  __device__ static uint32_t rectified(const float (&x)[2]) {
    uint32_t word;
    asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(x[1]), "f"(x[0]));
    return word;
  }
  __device__ static void round(uint32_t (&)[4]) {}
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
