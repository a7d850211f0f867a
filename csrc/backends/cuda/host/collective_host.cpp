// Sums over the devices of several processes, through the host's sockets.
#include "backends/cuda/collective.h"
#include "backends/cuda/host/library.h"

namespace pcc::cuda {

namespace {

class HostCollective : public Collective {
 public:
  explicit HostCollective(Group& group) : group_(group) {}
  void sum(Stream& stream, float* values, int64_t count) override {
    host::ask(stream,
              [group = group_.shared_from_this(), values, count] { group->sum(values, count); });
  }

 private:
  Group& group_;
};

}  // namespace

std::unique_ptr<Collective> open_collective(Stream&, Group& group) {
  return std::make_unique<HostCollective>(group);
}

}  // namespace pcc::cuda
