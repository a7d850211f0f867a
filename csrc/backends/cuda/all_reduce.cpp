// Gradients summed over the devices of all ranks, on a stream beside the one that makes them.
#include "backends/cuda/collective.h"
#include "backends/cuda/cuda_op.h"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

// What the ops of a group have in common.
struct Beside {
  explicit Beside(Stream& main, Group& group)
      : stream(main.device()), collective(open_collective(stream, group)) {}

  Stream stream;
  std::unique_ptr<Collective> collective;
  Event ready, summed;
};

class AllReduceOp : public CudaOp {
 public:
  AllReduceOp(const AllReduceDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {}

  // The first call, which is not recorded, brings the ranks together.
  void forward(const Context&) override {
    std::shared_ptr<void>& companion = desc_.group->companion();
    if (!companion) companion = std::make_shared<Beside>(current_stream(), *desc_.group);
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
