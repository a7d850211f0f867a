// Modules call functions of other modules through tables of addresses that the loader filled in.
// While a count lasts, the entries of the allocating functions lead to the counters below.
#include "core/allocations.h"

#include <cstdlib>

#if defined(__linux__) && defined(__GLIBC__) && defined(__LP64__)

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <deque>
#include <new>
#include <utility>

namespace pcc {

namespace {

struct Module {
  std::string name;
  uintptr_t base = 0, begin = UINTPTR_MAX, end = 0;
  uintptr_t sealed_begin = 0, sealed_end = 0;  // made read-only by the loader
  const ElfW(Dyn) * dynamic = nullptr;
  std::atomic<int64_t> calls{0};
};

// Never destroyed: another thread may still be in a counter when the count ends.
struct Counter {
  std::deque<Module> modules;
  std::atomic<int64_t> calls{0}, bytes{0}, largest{0};
};
Counter* counter = nullptr;

// operator new[] calls operator new, which calls malloc: one allocation, the first caller's.
thread_local bool inside = false;

void note(size_t size, void* caller) {
  if (inside) return;
  ++counter->calls;
  const auto bytes = static_cast<int64_t>(size);
  counter->bytes += bytes;
  int64_t largest = counter->largest.load();
  while (largest < bytes && !counter->largest.compare_exchange_weak(largest, bytes)) {
  }
  const auto address = reinterpret_cast<uintptr_t>(caller);
  for (Module& module : counter->modules)
    if (address >= module.begin && address < module.end) {
      ++module.calls;
      return;
    }
}

// The functions themselves, read before the tables change: then their names lead to the counters,
// here, too.
struct Real {
  void* (*malloc)(size_t) = ::malloc;
  void* (*calloc)(size_t, size_t) = ::calloc;
  void* (*realloc)(void*, size_t) = ::realloc;
  void* (*aligned_alloc)(size_t, size_t) = ::aligned_alloc;
  int (*posix_memalign)(void**, size_t, size_t) = ::posix_memalign;
  void* (*mmap)(void*, size_t, int, int, int, off_t) = ::mmap;
  void* (*new_one)(size_t) = ::operator new;
  void* (*new_many)(size_t) = ::operator new[];
  void* (*new_aligned)(size_t, std::align_val_t) = ::operator new;
};
Real real;

class Inside {
 public:
  ~Inside() { inside = before_; }

 private:
  bool before_ = std::exchange(inside, true);
};

#define PCC_CALLER __builtin_return_address(0)
void* count_malloc(size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.malloc(size);
}
void* count_calloc(size_t count, size_t size) {
  note(count * size, PCC_CALLER);
  const Inside guard;
  return real.calloc(count, size);
}
void* count_realloc(void* old, size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.realloc(old, size);
}
void* count_aligned_alloc(size_t align, size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.aligned_alloc(align, size);
}
int count_posix_memalign(void** to, size_t align, size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.posix_memalign(to, align, size);
}
void* count_mmap(void* at, size_t size, int protection, int flags, int file, off_t offset) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.mmap(at, size, protection, flags, file, offset);
}
void* count_new(size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.new_one(size);
}
void* count_new_many(size_t size) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.new_many(size);
}
void* count_new_aligned(size_t size, std::align_val_t align) {
  note(size, PCC_CALLER);
  const Inside guard;
  return real.new_aligned(size, align);
}

struct Function {
  const char* symbol;
  void *real, *counter;
};

template <typename F>
Function function(const char* symbol, F* real_one, F* counting) {
  return {symbol, reinterpret_cast<void*>(real_one), reinterpret_cast<void*>(counting)};
}

int add_module(dl_phdr_info* info, size_t, void*) {
  Module& module = counter->modules.emplace_back();
  const char* const slash = std::strrchr(info->dlpi_name, '/');
  module.name = slash ? slash + 1 : info->dlpi_name;
  module.base = info->dlpi_addr;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr) & part = info->dlpi_phdr[i];
    const uintptr_t begin = module.base + part.p_vaddr, end = begin + part.p_memsz;
    if (part.p_type == PT_LOAD) {
      module.begin = std::min(module.begin, begin);
      module.end = std::max(module.end, end);
    } else if (part.p_type == PT_GNU_RELRO) {
      module.sealed_begin = begin;
      module.sealed_end = end;
    } else if (part.p_type == PT_DYNAMIC) {
      module.dynamic = reinterpret_cast<const ElfW(Dyn)*>(begin);
    }
  }
  return 0;
}

// An entry that leads to `from` where nothing was changed, and to `to` during a count.
struct Entry {
  void** slot;
  void *from, *to;
  bool sealed;
};

void find_entries(const Module& module, const std::vector<Function>& functions,
                  std::vector<Entry>& entries) {
  const ElfW(Sym)* symbols = nullptr;
  const char* names = nullptr;
  const ElfW(Rela) * tables[2] = {};
  size_t bytes[2] = {};
  for (const ElfW(Dyn)* entry = module.dynamic; entry && entry->d_tag != DT_NULL; ++entry) {
    const auto address = entry->d_un.d_ptr;
    if (entry->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(address);
    if (entry->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(address);
    if (entry->d_tag == DT_RELA) tables[0] = reinterpret_cast<const ElfW(Rela)*>(address);
    if (entry->d_tag == DT_JMPREL) tables[1] = reinterpret_cast<const ElfW(Rela)*>(address);
    if (entry->d_tag == DT_RELASZ) bytes[0] = entry->d_un.d_val;
    if (entry->d_tag == DT_PLTRELSZ) bytes[1] = entry->d_un.d_val;
  }
  // The kernel's own module has addresses that are not absolute, and calls nobody.
  if (!symbols || !names || reinterpret_cast<uintptr_t>(symbols) < module.begin) return;
  for (int t = 0; t < 2; ++t)
    for (size_t i = 0; tables[t] && i < bytes[t] / sizeof(ElfW(Rela)); ++i) {
      const ElfW(Rela) & place = tables[t][i];
      const size_t symbol = ELF64_R_SYM(place.r_info);
      if (symbol == 0) continue;
      const char* const name = names + symbols[symbol].st_name;
      for (const Function& function : functions) {
        if (std::strcmp(name, function.symbol) != 0) continue;
        auto** const slot = reinterpret_cast<void**>(module.base + place.r_offset);
        const auto address = reinterpret_cast<uintptr_t>(slot);
        // `real` is filled in by the loader, too.
        const uintptr_t own = address - reinterpret_cast<uintptr_t>(&real);
        // An entry that was never used leads to a stub of its module, which would fill it in.
        const auto target = reinterpret_cast<uintptr_t>(*slot);
        const bool unused = t == 1 && target >= module.begin && target < module.end;
        if ((*slot == function.real || unused) && own >= sizeof(real))
          entries.push_back({slot, *slot, function.counter,
                             address >= module.sealed_begin && address < module.sealed_end});
      }
    }
}

void write(const Entry& entry, void* value) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  void* const begin =
      reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(entry.slot) / page * page);
  if (entry.sealed && mprotect(begin, page, PROT_READ | PROT_WRITE) != 0) return;
  std::atomic_ref<void*>(*entry.slot).store(value);
  if (entry.sealed) mprotect(begin, page, PROT_READ);
}

}  // namespace

std::optional<Allocations> count_allocations(const std::function<void()>& work) {
  static auto* const counters = new std::deque<Counter>;
  counter = &counters->emplace_back();
  dl_iterate_phdr(add_module, nullptr);
  const std::vector<Function> functions = {
      function("malloc", real.malloc, count_malloc),
      function("calloc", real.calloc, count_calloc),
      function("realloc", real.realloc, count_realloc),
      function("aligned_alloc", real.aligned_alloc, count_aligned_alloc),
      function("posix_memalign", real.posix_memalign, count_posix_memalign),
      function("mmap", real.mmap, count_mmap),
      function("_Znwm", real.new_one, count_new),
      function("_Znam", real.new_many, count_new_many),
      function("_ZnwmSt11align_val_t", real.new_aligned, count_new_aligned)};
  std::vector<Entry> entries;
  for (const Module& module : counter->modules) find_entries(module, functions, entries);
  struct Restore {
    const std::vector<Entry>& entries;
    ~Restore() {
      for (const Entry& entry : entries) write(entry, entry.from);
    }
  };
  {
    const Restore restore{entries};
    for (const Entry& entry : entries) write(entry, entry.to);
    work();
  }
  Allocations made{counter->calls, counter->bytes, counter->largest, {}};
  for (const Module& module : counter->modules)
    if (module.calls > 0) made.from.push_back({module.name, module.calls});
  return made;
}

}  // namespace pcc

#else

namespace pcc {

std::optional<Allocations> count_allocations(const std::function<void()>& work) {
  work();
  return std::nullopt;
}

}  // namespace pcc

#endif
