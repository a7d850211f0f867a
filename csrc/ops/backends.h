// The backends by name. backends.cpp holds the one list of those that there are.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/op.h"

namespace pcc {

using BackendFactory = std::function<std::unique_ptr<const Backend>()>;

// Adds a backend, which is made when its name is first asked for. Throws a config error for a name
// that is taken.
void register_backend(const std::string& name, BackendFactory factory);

// The backend of that name, made or loaded at the first call; it lives as long as the process.
// Throws a config error that says what there is, or what the one asked for lacks.
const Backend& backend(const std::string& name);
// That of the plain loops: it answers every descriptor, on the host.
const Backend& plain_backend();
// Which of the backend's devices its name means: that behind a colon, "cuda:1", or 0. Throws a
// config error where there is something else.
int device_index(const std::string& name);
// Names of the backends that work here, plainest first. Loads what is to be loaded; whoever finds
// no device does not work.
std::vector<std::string> backend_names();
// An op from `own`, or, where that has none, from the plain loops, which `fallbacks` (if any)
// is told of; and who made it. Throws an engine error where neither has it.
struct MadeOp {
  std::unique_ptr<Op> op;
  std::string backend;
};
MadeOp make_op(const Backend& own, const OpDesc& desc, const OpSite& site,
               std::vector<std::string>* fallbacks);
// What fallbacks are told of: "conv1 (conv)".
std::string title_of(const OpDesc& desc, const OpSite& site);
// The backend of device "cpu": "onednn", and "cpu" where that one does not work.
std::string default_backend();
// The names of a backend's devices, by number, and why there are none: it may not even be there.
std::pair<std::vector<std::string>, std::string> device_names(const std::string& backend);
// The backend that a device means: a backend's name, "kernels" (our own kernels alone), or "cpu".
// Throws a config error for an unknown device and for one whose backend does not work here.
// described: its backend must be there, but no device of it (Backend::describe).
std::string backend_of(const std::string& device, bool described = false);

// One line for each backend that "cpu" would have meant, was asked for, and cannot be loaded here.
std::vector<std::string> backend_problems();
// One line for each loaded backend that has something to say of the libraries it found.
std::vector<std::string> backend_remarks();
// What to try when a backend's libraries are not found: `find` gets the loader's words and returns
// whether it has loaded what they name.
void find_libraries_by(std::function<bool(const std::string& problem)> find);

// What a module, a backend in a library of its own, shows under the name `pcc_backend_module`.
struct BackendModule {
  const char* version;  // PCC_VERSION: modules fit the engine they were built with
  std::unique_ptr<const Backend> (*make)();
  std::string (*remark)() = nullptr;  // what users should know of its libraries; "": nothing
};
// PCC_BACKEND_MODULE(make), or (make, remark).
#define PCC_BACKEND_MODULE(...)                                                                    \
  extern "C" __attribute__((visibility("default"))) const ::pcc::BackendModule pcc_backend_module; \
  extern "C" const ::pcc::BackendModule pcc_backend_module = {PCC_VERSION, __VA_ARGS__};

}  // namespace pcc
