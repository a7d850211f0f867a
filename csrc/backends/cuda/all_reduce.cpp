// Gradients summed over the devices of all ranks.
#include "backends/cuda/collective.h"
#include "backends/cuda/cuda_op.h"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

class AllReduceOp : public CudaOp {
 public:
  AllReduceOp(const AllReduceDesc& desc, const OpSite& site) : CudaOp(site), group_(desc.group) {}

  // The first call, which is not recorded, brings the ranks together.
  void forward(const Context&) override {
    if (!collective_) collective_ = open_collective(current_stream(), group_);
    collective_->sum(current_stream(), param(0), buffers_.params[0].count());
  }

 private:
  std::shared_ptr<Group> group_;
  std::unique_ptr<Collective> collective_;
};

}  // namespace

std::unique_ptr<Op> make_all_reduce(const AllReduceDesc& desc, const OpSite& site) {
  return std::make_unique<AllReduceOp>(desc, site);
}

}  // namespace pcc::cuda
