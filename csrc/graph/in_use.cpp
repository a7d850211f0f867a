#include "graph/in_use.h"

#include "core/check.h"

namespace pcc {

void InUse::refuse_others() const {
  PCC_CHECK(runs_ == 0 || thread_ == std::this_thread::get_id(),
            "this net is running in another thread: wait for the end of that, or give each thread "
            "a net of its own (nets that share parameters count as one)");
}

InUse::Run::Run(InUse& use) : use_(use) {
  const std::lock_guard lock(use_.mutex_);
  use_.refuse_others();
  PCC_CHECK(!use_.in_pass_,
            "this net is in the middle of a pass: what the pass calls back may look at the net's "
            "values, but neither run nor change the net, or one that shares its parameters");
  use_.thread_ = std::this_thread::get_id();
  ++use_.runs_;
}

InUse::Run::~Run() {
  const std::lock_guard lock(use_.mutex_);
  --use_.runs_;
}

InUse::Pass::Pass(InUse& use) : use_(use), run_(use) {
  const std::lock_guard lock(use_.mutex_);
  use_.in_pass_ = true;
}

InUse::Pass::~Pass() {
  const std::lock_guard lock(use_.mutex_);
  use_.in_pass_ = false;
}

InUse::Look::Look(InUse& use) : lock_(use.mutex_) { use.refuse_others(); }

}  // namespace pcc
