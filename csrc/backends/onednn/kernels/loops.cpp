#include "backends/onednn/kernels/loops.h"

#include <atomic>

#include "backends/onednn/engine.h"
#include "core/check.h"

namespace pcc::onednn {

#define PCC_DECLARE_LOOPS(isa)             \
  namespace isa {                          \
  extern const NormLoops norm_loops;       \
  extern const ElementLoops element_loops; \
  extern const LrnLoops lrn_loops;         \
  }
#define PCC_LOOPS(isa) \
  Loops { #isa, isa::norm_loops, isa::element_loops, isa::lrn_loops }

PCC_DECLARE_LOOPS(baseline)
#if defined(__x86_64__)
PCC_DECLARE_LOOPS(avx2)
PCC_DECLARE_LOOPS(avx512)
#endif

namespace {

#if defined(__x86_64__)
// Whether the user lets oneDNN go that far (ONEDNN_MAX_CPU_ISA): our own kernels follow, so that
// the numbers of a net are those of one instruction set.
bool allowed(dnnl::cpu_isa isa) {
  const auto bits = [](dnnl::cpu_isa set) { return static_cast<unsigned>(set); };
  return (bits(dnnl::get_effective_cpu_isa()) & bits(isa)) == bits(isa);
}
#endif

// What the compiler may use under -march=x86-64-v3 and -v4 (isa.cmake).
std::vector<Loops> available() {
  std::vector<Loops> list = {PCC_LOOPS(baseline)};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (allowed(dnnl::cpu_isa::avx2) && __builtin_cpu_supports("avx2") &&
      __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("bmi2")) {
    list.push_back(PCC_LOOPS(avx2));
    if (allowed(dnnl::cpu_isa::avx512_core) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
      list.push_back(PCC_LOOPS(avx512));
  }
#endif
  return list;
}

const std::vector<Loops>& tables() {
  static const std::vector<Loops> list = available();
  return list;
}

std::atomic<const Loops*> chosen = nullptr;

}  // namespace

const Loops& loops() {
  const Loops* table = chosen.load();
  return table ? *table : tables().back();
}

std::vector<std::string> loop_isas() {
  std::vector<std::string> names;
  for (const Loops& table : tables()) names.emplace_back(table.isa);
  return names;
}

void select_loops(const std::string& isa) {
  for (const Loops& table : tables())
    if (table.isa == isa) {
      chosen = &table;
      return;
    }
  PCC_THROW(config, "no kernels for the instruction set '", isa, "' on this processor");
}

}  // namespace pcc::onednn
