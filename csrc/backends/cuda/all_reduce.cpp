// Gradients summed over the devices of all ranks, on a stream beside the one that makes them.
#include "backends/cuda/collective.h"
#include "backends/cuda/cuda_op.h"
#include "backends/cuda/device.h"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

// What the ops of a group have in common. Where the host waits in vain for what they do the group
// is given up: a rank that does nothing would keep the device of every other waiting.
struct Beside {
  Beside(Stream& main, const CudaDevice& device, Group& group)
      : stream(main.device()),
        collective(open_collective(stream, group)),
        watchdog(device.waits_since(), group.patience(), [&group] {
          group.abort(group.impatience("its device, which waits for the gradients of the others"));
        }) {}

  Stream stream;
  std::unique_ptr<Collective> collective;
  Event ready, summed;
  Watchdog watchdog;
};

class AllReduceOp : public CudaOp {
 public:
  AllReduceOp(const AllReduceDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {}

  // The first call, which is not recorded, brings the ranks together.
  void forward(const Context&) override {
    std::shared_ptr<void>& companion = desc_.group->companion();
    if (!companion)
      companion = std::make_shared<Beside>(
          current_stream(), dynamic_cast<const CudaDevice&>(*site_.device), *desc_.group);
    Beside& beside = *static_cast<Beside*>(companion.get());
    if (desc_.part != AllReduceDesc::Part::join) {
      beside.ready.record(current_stream());
      beside.ready.wait(beside.stream);
      beside.collective->sum(beside.stream, param(0), buffers_.params[0].count());
    }
    if (desc_.part != AllReduceDesc::Part::begin) {
      beside.summed.record(beside.stream);
      beside.summed.wait(current_stream());
    }
  }

 private:
  AllReduceDesc desc_;
};

}  // namespace

std::unique_ptr<Op> make_all_reduce(const AllReduceDesc& desc, const OpSite& site) {
  return std::make_unique<AllReduceOp>(desc, site);
}

}  // namespace pcc::cuda
