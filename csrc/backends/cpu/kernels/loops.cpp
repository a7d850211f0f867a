#include "backends/cpu/kernels/loops.h"

#include <atomic>
#include <cctype>
#include <cstdlib>

#include "backends/cpu/kernels/tables.h"
#include "core/check.h"

namespace pcc::cpu {

PCC_TABLES(NormLoops, norm_loops)
PCC_TABLES(ElementLoops, element_loops)
PCC_TABLES(LrnLoops, lrn_loops)
PCC_TABLES(UpdateLoops, update_loops)

namespace {

#if defined(__x86_64__)
// How far the user lets vectors go by the variables that oneDNN reads, too: the numbers of a net
// are then those of one instruction set. 0: baseline, 1: AVX2, 2: AVX-512. Sets that are neither
// (AVX, SSE41) lie below AVX2; words that oneDNN does not know allow everything, as there.
int most_allowed() {
  for (const char* variable : {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}) {
    const char* const value = std::getenv(variable);
    if (!value) continue;
    std::string word;
    for (const char* c = value; *c; ++c)
      word += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
    if (word == "SSE41" || word == "AVX") return 0;
    return word == "AVX2" || word.starts_with("AVX2_") ? 1 : 2;
  }
  return 2;
}

// Whether this processor has what the compiler may use under -march=x86-64-v3 or -v4 (isa.cmake),
// and the user allows it.
bool usable(const std::string& isa) {
  if (isa == "baseline") return true;
  __builtin_cpu_init();
  const bool avx2 = most_allowed() >= 1 && __builtin_cpu_supports("avx2") &&
                    __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
  if (isa == "avx2") return avx2;
  return avx2 && most_allowed() >= 2 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#else
bool usable(const std::string&) { return true; }
#endif

std::vector<Loops> available() {
  std::vector<Loops> list;
#define PCC_ADD_LOOPS(isa, ...)                                                                  \
  if (usable(#isa))                                                                              \
    list.push_back({#isa, pick_norm_loops(#isa), pick_element_loops(#isa), pick_lrn_loops(#isa), \
                    pick_update_loops(#isa)});
  PCC_EACH_ISA(PCC_ADD_LOOPS, )
#undef PCC_ADD_LOOPS
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

bool has_vectors() { return std::strcmp(loops().isa, "baseline") != 0; }

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

}  // namespace pcc::cpu
