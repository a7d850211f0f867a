// Tables that a kernel file makes once per instruction set, as `isa::name`, and the choice of one.
#pragma once

#include <cstring>

#include "backends/cpu/kernels/loops.h"

// The instruction sets of isa.cmake, plainest first: X(isa, what else is given).
#if defined(__x86_64__)
#define PCC_EACH_ISA(X, ...) X(baseline, __VA_ARGS__) X(avx2, __VA_ARGS__) X(avx512, __VA_ARGS__)
#else
#define PCC_EACH_ISA(X, ...) X(baseline, __VA_ARGS__)
#endif

#define PCC_DECLARE_TABLE(isa, Type, name) \
  namespace isa {                          \
  extern const Type name;                  \
  }
#define PCC_TABLE_IF(isa, Type, name) \
  if (std::strcmp(wanted, #isa) == 0) return isa::name;

// Declares the tables `name`, and pick_name(isa), which returns one of them.
#define PCC_TABLES(Type, name)                         \
  PCC_EACH_ISA(PCC_DECLARE_TABLE, Type, name)          \
  static const Type& pick_##name(const char* wanted) { \
    PCC_EACH_ISA(PCC_TABLE_IF, Type, name)             \
    return baseline::name;                             \
  }
