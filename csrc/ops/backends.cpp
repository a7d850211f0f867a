#include "ops/backends.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "backends/cpu/cpu.h"
#include "backends/reference/reference.h"
#include "core/check.h"

namespace pcc {

namespace {

struct Entry {
  std::string name;
  BackendFactory factory;   // none: a module
  const char* needs = "";   // how to get the libraries of a module
  const char* option = "";  // of the build, that has it built
  // The library without which no device is there, and why, then; "": none.
  const char *driver = "", *no_driver = "";
  std::unique_ptr<const Backend> made;
  std::string problem;  // why the module could not be loaded when it was last asked for
  std::string remark;   // of a module that was loaded
};

constexpr const char* kPlain = "reference";

// All backends of this package, plainest first. A module lies in a library of its own, beside this
// one where it was built, and is loaded when its name is first asked for: what it needs may be
// missing.
std::vector<Entry> own_backends() {
  std::vector<Entry> list;
  list.push_back({.name = kPlain, .factory = make_reference_backend});
  list.push_back({.name = "cpu", .factory = make_cpu_backend});
  list.push_back({.name = "onednn",
                  .needs = "pip install 'onednn-cpu-gomp==2023.2.*'",
                  .option = "PYCAFFE_CLR_ONEDNN"});
  list.push_back({.name = "cuda",
                  .needs = "install the package anew",
                  .option = "PYCAFFE_CLR_CUDA",
                  .driver = "libcuda.so.1",
                  .no_driver = "no CUDA device: there is no NVIDIA driver"});
  return list;
}
constexpr const char* kDefaults[] = {"onednn", "cpu"};  // of device "cpu", the first that works

struct Registry {
  std::mutex mutex;
  std::vector<Entry> entries = own_backends();
  std::function<bool(const std::string&)> find_library;

  // Entries only ever join the list; `mutex` must be held.
  Entry* entry(const std::string& name) {
    const auto found = std::find_if(entries.begin(), entries.end(),
                                    [&](const Entry& each) { return each.name == name; });
    return found == entries.end() ? nullptr : &*found;
  }
};

// Never destroyed: nets may outlive the static objects of this file.
Registry& registry() {
  static Registry* const instance = new Registry;
  return *instance;
}

// Where the library of module `name` lies: beside the one that holds this function.
std::filesystem::path module_path(const std::string& name) {
  Dl_info here;
  if (!dladdr(reinterpret_cast<const void*>(&module_path), &here)) return {};
  return std::filesystem::path(here.dli_fname).parent_path() / ("libpycaffe_clr_" + name + ".so");
}

// Opens a module; null, and why, if that fails. Once more after `find` has helped.
void* open_module(const std::filesystem::path& path,
                  const std::function<bool(const std::string&)>& find, std::string& problem) {
  for (const bool again : {false, true}) {
    if (void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      problem.clear();
      return library;
    }
    const char* const why = dlerror();
    problem = why ? why : "it cannot be loaded";
    if (again || !find || !find(problem)) break;
  }
  return nullptr;
}

std::unique_ptr<const Backend> load(const std::filesystem::path& path, const char* needs,
                                    const std::function<bool(const std::string&)>& find,
                                    std::string& problem, std::string& remark) {
  void* const library = open_module(path, find, problem);
  if (!library) {
    problem += concat("; try: ", needs);
    return nullptr;
  }
  const auto* const module =
      static_cast<const BackendModule*>(dlsym(library, "pcc_backend_module"));
  if (!module || std::strcmp(module->version, PCC_VERSION) != 0) {
    problem = concat(path.string(), " is of version ", module ? module->version : "unknown",
                     " and the engine of ", PCC_VERSION, "; try: install the package anew");
    return nullptr;
  }
  if (module->remark) remark = module->remark();
  try {
    return module->make();
  } catch (const Error& error) {  // what it works on is not there
    problem = error.what();
    return nullptr;
  }
}

// The backend, made at the first call; null if there is none, or it cannot be loaded. The lock is
// not held while a module loads: that may run code of others, which may want it.
const Backend* find_backend(const std::string& name) {
  Registry& all = registry();
  BackendFactory factory;
  const char* needs;
  std::function<bool(const std::string&)> find;
  {
    const std::lock_guard lock(all.mutex);
    const Entry* const entry = all.entry(name);
    if (!entry) return nullptr;
    if (entry->made) return entry->made.get();
    factory = entry->factory;
    needs = entry->needs;
    find = all.find_library;
  }
  std::string problem, remark;
  std::unique_ptr<const Backend> made;
  if (factory)
    made = factory();
  else if (const auto path = module_path(name); std::filesystem::exists(path))
    made = load(path, needs, find, problem, remark);
  const std::lock_guard lock(all.mutex);
  Entry& entry = *all.entry(name);
  if (made && !entry.made) entry.made = std::move(made);
  entry.problem = problem;
  entry.remark = remark;
  return entry.made.get();
}

std::vector<std::string> listed() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::vector<std::string> names;
  for (const Entry& entry : all.entries) names.push_back(entry.name);
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

// Why a backend that lies here has no device, so that it need not be loaded to say so; "": it may
// have some.
std::string why_no_device(const std::string& name) {
  Registry& all = registry();
  const char *driver = "", *why = "";
  {
    const std::lock_guard lock(all.mutex);
    const Entry* const entry = all.entry(name);
    if (!entry || entry->made) return "";
    driver = entry->driver, why = entry->no_driver;
  }
  if (!*driver || !std::filesystem::exists(module_path(name))) return "";
  return dlopen(driver, RTLD_LAZY | RTLD_LOCAL) ? "" : why;
}

// "cuda:1" is backend cuda, on its device 1.
std::string without_index(const std::string& name) { return name.substr(0, name.find(':')); }

// What hinders a backend that was built; empty: nothing, or it was never asked for.
std::string problem_of(const std::string& name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const Entry* const entry = all.entry(name);
  if (!entry || entry->problem.empty()) return "";
  return concat("backend ", name, " cannot be loaded: ", entry->problem);
}

std::string option_of(const std::string& name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  return all.entry(name)->option;
}

}  // namespace

void register_backend(const std::string& name, BackendFactory factory) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  PCC_CONFIG(!all.entry(name), "a backend '", name, "' is there already; choose another name");
  all.entries.push_back({.name = name, .factory = std::move(factory)});
}

int device_index(const std::string& name) {
  const size_t colon = name.find(':');
  if (colon == std::string::npos) return 0;
  const std::string digits = name.substr(colon + 1);
  const bool is_number = !digits.empty() && digits.size() <= 4 &&
                         digits.find_first_not_of("0123456789") == std::string::npos;
  PCC_CONFIG(is_number, "device \"", name, "\": behind the colon comes a number, as in cuda:1");
  return std::stoi(digits);
}

const Backend& backend(const std::string& whole_name) {
  const std::string name = without_index(whole_name);
  if (const Backend* const found = find_backend(name)) return *found;
  const std::string problem = problem_of(name);
  PCC_CONFIG(problem.empty(), problem);
  PCC_THROW(config, "this build has no backend '", name, "'; it has: ", joined(backend_names()));
}

const Backend& plain_backend() { return backend(kPlain); }

std::string title_of(const OpDesc& desc, const OpSite& site) {
  return concat(site.name, " (", name_of(desc), ")");
}

MadeOp make_op(const Backend& own, const OpDesc& desc, const OpSite& site,
               std::vector<std::string>* fallbacks) {
  MadeOp made{own.make(desc, site), own.name()};
  if (made.op) return made;
  const Backend& plain = plain_backend();
  made = {plain.make(desc, site), plain.name()};
  PCC_CHECK(made.op, "no backend can run ", title_of(desc, site));
  if (fallbacks) fallbacks->push_back(title_of(desc, site));
  return made;
}

std::vector<std::string> backend_names() {
  std::vector<std::string> names = listed();
  std::erase_if(names, [](const std::string& name) {
    if (!why_no_device(name).empty()) return true;
    const Backend* const found = find_backend(name);
    return !found || found->devices().empty();
  });
  return names;
}

std::string default_backend() {
  for (const char* name : kDefaults)
    if (find_backend(name)) return name;
  return kPlain;
}

std::string backend_of(const std::string& device, bool described) {
  const int index = device_index(device);
  if (device == "cpu" || device == "cpu:0") return default_backend();
  const std::string word = without_index(device), name = word == "kernels" ? "cpu" : word;
  std::vector<std::string> devices = listed();
  std::replace(devices.begin(), devices.end(), std::string("cpu"), std::string("kernels"));
  devices.insert(devices.begin(), "cpu");
  const bool known = std::find(devices.begin(), devices.end(), word) != devices.end();
  const char* const hint =
      device == "gpu" ? "; there is no GPU backend of that name: cuda is one" : "";
  PCC_CONFIG(known, "device \"", device, "\" is unknown; known: ", joined(devices), hint);
  const std::string lacks = described ? "" : why_no_device(name);
  PCC_CONFIG(lacks.empty(), "device \"", device, "\": ", lacks);
  if (const Backend* const found = find_backend(name)) {
    std::string why;
    const bool there = described || !found->devices(&why).empty();
    PCC_CONFIG(there, "device \"", device, "\": ", why);
    return index == 0 ? name : concat(name, ":", index);
  }
  const std::string problem = problem_of(name);
  PCC_CONFIG(problem.empty(), "device \"", device, "\": ", problem);
  PCC_THROW(config, "device \"", device, "\": this build has no ", name,
            " backend; it has: ", joined(backend_names()),
            ". Leave the device out, or install a build with it (", option_of(name),
            "=ON says what it lacks)");
}

std::pair<std::vector<std::string>, std::string> device_names(const std::string& name) {
  std::string why = why_no_device(name);
  if (!why.empty()) return {{}, why};
  if (const Backend* const found = find_backend(name)) return {found->devices(&why), why};
  why = problem_of(name);
  return {{}, why.empty() ? concat("this build has no ", name, " backend") : why};
}

std::vector<std::string> backend_problems() {
  std::vector<std::string> problems;
  for (const std::string name : kDefaults)
    if (std::string problem = problem_of(name); !problem.empty())
      problems.push_back(std::move(problem));
  return problems;
}

std::vector<std::string> backend_remarks() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::vector<std::string> remarks;
  for (const Entry& entry : all.entries)
    if (!entry.remark.empty())
      remarks.push_back(concat("backend ", entry.name, ": ", entry.remark));
  return remarks;
}

void find_libraries_by(std::function<bool(const std::string&)> find) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.find_library = std::move(find);
}

}  // namespace pcc
