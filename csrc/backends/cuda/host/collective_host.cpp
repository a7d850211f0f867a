// Sums over the devices of several processes, through the host's sockets.
#include "backends/cuda/collective.h"
#include "backends/cuda/host/library.h"

namespace pcc::cuda {

namespace {

class HostCollective : public Collective {
 public:
  explicit HostCollective(std::shared_ptr<Group> group) : group_(std::move(group)) {}
  void sum(Stream& stream, float* values, int64_t count) override {
    host::ask(stream, [group = group_, values, count] { group->sum(values, count); });
  }

 private:
  std::shared_ptr<Group> group_;
};

}  // namespace

std::unique_ptr<Collective> open_collective(Stream&, std::shared_ptr<Group> group) {
  return std::make_unique<HostCollective>(std::move(group));
}

}  // namespace pcc::cuda
