// cuDNN, opened at run time where it is installed; its errors as ours; its handle.
#pragma once

#include <filesystem>
#include <string>

#include "backends/cuda/cudnn/api.h"
#include "core/check.h"

namespace pcc::cudnn {

// A call that cuDNN refused: what() names the call, its status and its reason.
class Failure : public Error {
 public:
  Failure(int status, const std::string& message)
      : Error(ErrorKind::engine, message), status_(status) {}
  int status() const { return status_; }  // cudnnStatus_t
  // Whether cuDNN has nothing for what was asked, which says nothing of its health.
  bool unsupported() const { return status_ >= api::kBadParam && status_ < api::kInternalError; }

 private:
  int status_;
};

class Library {
 public:
  // Opens libcudnn.so.9 in a folder, or, without one, where the loader looks. Throws a config error
  // where it is missing, lacks a part of it or libcublasLt, or is older than 9.8, which first
  // planned for described devices.
  explicit Library(const std::filesystem::path& folder);
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // The process's own, opened at the first call and never closed: one that is loaded already, else
  // that in the folder that PYCAFFE_CLR_CUDNN_DIR names, else PyPI's wheel where it lies beside
  // this package, else where the loader looks. Null where there is none; problem() then says why.
  static const Library* installed();
  static const std::string& problem();

  const api::Functions& call() const { return functions_; }
  int64_t version() const { return static_cast<int64_t>(functions_.version()); }
  std::string version_text() const;  // "9.19.0"

  // Throws a Failure unless the status is success.
  void check(int status, const char* action) const;
  // cuDNN's last words on this thread, the newest of its reasons; empty: it said nothing.
  std::string last_reason() const;

 private:
  api::Functions functions_;
};

// Runs plans on the calling thread's current device, on one stream. Not for two threads at once.
class Handle {
 public:
  explicit Handle(const Library& library);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void set_stream(void* stream);  // a cudaStream_t
  const Library& library() const { return library_; }
  void* get() const { return handle_; }

 private:
  const Library& library_;
  void* handle_ = nullptr;
};

}  // namespace pcc::cudnn
