#include "backends/cuda/cudnn/library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "backends/cuda/wheels.h"

namespace pcc::cudnn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kName = "libcudnn.so.9";
constexpr const char* kParts[] = {"libcudnn_graph.so.9", "libcudnn_heuristic.so.9",
                                  "libcudnn_engines_precompiled.so.9",
                                  "libcudnn_engines_runtime_compiled.so.9"};
constexpr int64_t kOldest = 90800;
constexpr const char* kHint = "; try: pip install nvidia-cudnn-cu13==9.19.0.56 nvidia-cublas";

void* open(const fs::path& path) { return dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); }

// Opens what cuDNN opens itself when it first plans, and ends the process where that fails. What is
// loaded already it finds.
void need(const std::string& name, const std::vector<fs::path>& places) {
  for (const fs::path& place : places) {
    std::error_code error;
    if (fs::exists(place / name, error) && open(place / name)) return;
  }
  if (!open(name)) PCC_THROW(config, "cuDNN lacks ", name, ": ", dlerror(), kHint);
}

struct Installed {
  std::unique_ptr<const Library> library;
  std::string problem;

  Installed() {
    fs::path folder;
    // One that another package has loaded is taken: the parts of two would mix.
    if (dlopen(kName, RTLD_NOW | RTLD_NOLOAD))
      folder.clear();
    else if (const char* named = std::getenv("PYCAFFE_CLR_CUDNN_DIR"); named && *named)
      folder = named;
    else if (const fs::path wheel = cuda::wheel_folder("cudnn"); !wheel.empty())
      if (std::error_code error; fs::exists(wheel / kName, error)) folder = wheel;
    try {
      library = std::make_unique<const Library>(folder);
    } catch (const std::exception& error) {
      problem = error.what();
    }
  }
};

// Never destroyed: plans may outlive every static object of this file.
const Installed& the_installed() {
  static const Installed* const one = new Installed;
  return *one;
}

}  // namespace

Library::Library(const fs::path& folder) {
  void* const library = open(folder.empty() ? fs::path(kName) : folder / kName);
  if (!library) PCC_THROW(config, "cuDNN is not here: ", dlerror(), kHint);
  const auto find = [&](auto& function, const char* name) {
    cuda::find_function(library, name, function, kName, kHint);
  };
  find(functions_.version, "cudnnGetVersion");
  const fs::path place = cuda::folder_of(reinterpret_cast<const void*>(functions_.version));
  for (const char* part : kParts) need(part, {place});
  find(functions_.cudart_version, "cudnnGetCudartVersion");
  PCC_CONFIG(version() >= kOldest, "cuDNN ", version_text(), " is older than 9.8", kHint);
  find(functions_.error_string, "cudnnGetErrorString");
  find(functions_.last_error, "cudnnGetLastErrorString");
  find(functions_.create, "cudnnCreate");
  find(functions_.destroy, "cudnnDestroy");
  find(functions_.set_stream, "cudnnSetStream");
  find(functions_.create_descriptor, "cudnnBackendCreateDescriptor");
  find(functions_.destroy_descriptor, "cudnnBackendDestroyDescriptor");
  find(functions_.finalize, "cudnnBackendFinalize");
  find(functions_.set_attribute, "cudnnBackendSetAttribute");
  find(functions_.get_attribute, "cudnnBackendGetAttribute");
  find(functions_.execute, "cudnnBackendExecute");
  const fs::path wheels = place.parent_path().parent_path();
  need(concat("libcublasLt.so.", functions_.cudart_version() / 1000),
       {place, wheels / "cu13" / "lib", wheels / "cublas" / "lib"});
}

const Library* Library::installed() { return the_installed().library.get(); }
const std::string& Library::problem() { return the_installed().problem; }

std::string Library::version_text() const {
  const int64_t all = version();
  return concat(all / 10000, '.', all / 100 % 100, '.', all % 100);
}

std::string Library::last_reason() const {
  std::string text(4096, '\0');
  functions_.last_error(text.data(), text.size());
  text.resize(text.find('\0') == std::string::npos ? text.size() : text.find('\0'));
  // Blocks of lines, the newest last; in a block what went wrong comes first, then its callers.
  std::string reason;
  bool fresh = true;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '{') {  // '{': which engine it is about
      fresh = true;
    } else if (fresh) {
      reason = line;
      fresh = false;
    }
  }
  return reason;
}

void Library::check(int status, const char* action) const {
  if (status == api::kSuccess) return;
  const std::string reason = last_reason();
  throw Failure(status, concat("cuDNN could not ", action, ": ", functions_.error_string(status),
                               reason.empty() ? "" : " (", reason, reason.empty() ? "" : ")"));
}

Handle::Handle(const Library& library) : library_(library) {
  library_.check(library_.call().create(&handle_), "use the device");
}
Handle::~Handle() { library_.call().destroy(handle_); }

void Handle::set_stream(void* stream) {
  library_.check(library_.call().set_stream(handle_, stream), "use the stream");
}

}  // namespace pcc::cudnn
