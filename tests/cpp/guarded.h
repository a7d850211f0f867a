// Backends over memory that the host cannot reach: every backend of this build again, under the
// name "guarded_...". What one of their devices allocates has no access rights outside of ops and
// of the device's own copies, as a GPU's memory has none: any other access ends the process.
#pragma once

#include <memory>
#include <string>

#include "ops/backends.h"

namespace pcc {

// The same ops on guarded memory, but for those whose name (name_of) begins with one of `refused`.
std::unique_ptr<const Backend> make_guarded(const std::string& inner,
                                            const std::vector<std::string>& refused = {});
// Registers one for each backend that there is.
void register_guarded();

// Gives access to a device's memory for as long as it lives, for a test that looks into it.
// Anything else stays as it is.
class GuardedAccess {
 public:
  explicit GuardedAccess(const void* address);
  ~GuardedAccess();
  GuardedAccess(const GuardedAccess&) = delete;
  GuardedAccess& operator=(const GuardedAccess&) = delete;

 private:
  std::shared_ptr<class GuardedMemory> memory_;
};

}  // namespace pcc
