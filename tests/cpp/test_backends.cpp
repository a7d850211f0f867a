// The registry of backends: names, what is made when, and what device words mean.
#include <algorithm>

#include "ops/backends.h"
#include "testing.h"

using pcc::Backend;

namespace {

class Idle : public Backend {
 public:
  std::string name() const override { return "idle"; }
  std::unique_ptr<pcc::Op> make(const pcc::OpDesc&, const pcc::OpSite&) const override {
    return nullptr;
  }
};

bool has(const std::string& name) {
  const std::vector<std::string> names = pcc::backend_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

TEST(a_backend_is_made_once_and_when_it_is_asked_for) {
  static int made = 0;
  const std::string before = pcc::default_backend();
  pcc::register_backend("idle", [] {
    ++made;
    return std::make_unique<Idle>();
  });
  CHECK_EQ(made, 0);
  const Backend& idle = pcc::backend("idle");
  CHECK_EQ(idle.name(), "idle");
  CHECK(&pcc::backend("idle") == &idle);
  CHECK(has("idle"));
  CHECK_EQ(made, 1);
  CHECK_EQ(pcc::backend_of("idle"), "idle");
  // The default is a name, whoever came last.
  CHECK_EQ(pcc::default_backend(), before);
  CHECK_EQ(pcc::backend_of("cpu"), before);
  CHECK_THROWS_WITH("'idle' is there already", pcc::register_backend("idle", nullptr));
  CHECK_THROWS_WITH("'cpu' is there already", pcc::register_backend("cpu", nullptr));
}

TEST(plain_loops_and_our_own_kernels_are_in_every_build) {
  CHECK(has("reference"));
  CHECK(has("cpu"));
  CHECK_EQ(pcc::backend_of("kernels"), "cpu");
  CHECK_EQ(pcc::backend_of("reference"), "reference");
  CHECK_EQ(pcc::default_backend(), has("onednn") ? "onednn" : "cpu");
  CHECK(pcc::backend_problems().empty());
  for (const std::string& remark : pcc::backend_remarks())
    CHECK(remark.rfind("backend onednn: oneDNN 3.", 0) == 0 &&
          remark.find("oneDNN 3.2.") == std::string::npos);
}

TEST(unknown_names_are_told_what_there_is) {
  CHECK_THROWS_WITH("no backend 'none'; it has: reference, cpu", pcc::backend("none"));
  CHECK_THROWS_WITH("device \"none\" is unknown; known: cpu, reference, kernels",
                    pcc::backend_of("none"));
  CHECK_THROWS_WITH("no GPU backend", pcc::backend_of("gpu"));
  CHECK_THROWS_WITH("\"cpu:x\": behind the colon comes a number", pcc::backend_of("cpu:x"));
  // Where there is no GPU, one line says why.
  if (!has("cuda")) CHECK_THROWS_WITH("device \"cuda:1\": ", pcc::backend_of("cuda:1"));
}

TEST(a_device_may_have_a_number) {
  CHECK_EQ(pcc::device_index("cuda"), 0);
  CHECK_EQ(pcc::device_index("cuda:3"), 3);
  CHECK_EQ(pcc::backend_of("cuda_host:1"), "cuda_host:1");
  CHECK_EQ(pcc::backend("cuda_host:1").name(), "cuda_host");
  CHECK_THROWS_WITH("has one device, number 0", pcc::backend("cpu:1").open(1));
}
