// Picks one of the tables that a kernel file makes, once per instruction set, as `isa::name`.
#pragma once

#include <cstring>

#include "backends/cpu/kernels/loops.h"

#if defined(__x86_64__)
#define PCC_TABLES(Type, name)                                          \
  namespace baseline {                                                  \
  extern const Type name;                                               \
  }                                                                     \
  namespace avx2 {                                                      \
  extern const Type name;                                               \
  }                                                                     \
  namespace avx512 {                                                    \
  extern const Type name;                                               \
  }                                                                     \
  static const Type& pick_##name(const char* isa) {                     \
    if (std::strcmp(isa, "avx512") == 0) return avx512::name;           \
    return std::strcmp(isa, "avx2") == 0 ? avx2::name : baseline::name; \
  }
#else
#define PCC_TABLES(Type, name) \
  namespace baseline {         \
  extern const Type name;      \
  }                            \
  static const Type& pick_##name(const char*) { return baseline::name; }
#endif
