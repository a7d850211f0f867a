// Libraries of NVIDIA's that are opened when they are asked for, as their PyPI wheels bring them.
#pragma once

#include <dlfcn.h>

#include <filesystem>

#include "core/check.h"

namespace pcc::cuda {

// Where the library lies that holds a function; empty where that cannot be told.
inline std::filesystem::path folder_of(const void* function) {
  Dl_info info;
  if (!dladdr(function, &info) || !info.dli_fname) return {};
  return std::filesystem::absolute(info.dli_fname).parent_path();
}

// Where a wheel's libraries lie if it was installed beside this package; empty as above.
inline std::filesystem::path wheel_folder(const char* name) {
  const std::filesystem::path here = folder_of(reinterpret_cast<const void*>(&wheel_folder));
  return here.empty() ? here : here.parent_path() / "nvidia" / name / "lib";
}

// A function of an open library, of which file and hint tell in the error where it has none of
// that name.
template <typename Function>
void find_function(void* library, const char* name, Function& function, const char* file,
                   const char* hint) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  PCC_CONFIG(function, file, " has no function ", name, hint);
}

}  // namespace pcc::cuda
