#include "backends/cpu/cpu.h"

#include <type_traits>

#include "backends/cpu/makers.h"
#include "ops/field.h"
#include "ops/group.h"
#include "ops/host.h"
#include "ops/tally.h"

namespace pcc {

namespace {

using namespace cpu;

// Which maker answers which descriptor: the whole backend at a glance. Null: the planner takes the
// reference op.
struct Maker {
  const OpSite& site;
  using Made = std::unique_ptr<Op>;

  Made operator()(const ConvDesc& d) const {
    Made fast = make_fast_conv(d, site);
    return fast ? std::move(fast) : make_columns_conv(d, site);
  }
  Made operator()(const PoolDesc& d) const { return make_pool(d, site); }
  Made operator()(const LrnDesc& d) const { return make_lrn(d, site); }
  Made operator()(const NormActDesc& d) const { return make_norm_act(d, site); }
  Made operator()(const AffineDesc& d) const { return make_affine(d, site); }
  Made operator()(const PointwiseDesc& d) const { return make_pointwise(d, site); }
  Made operator()(const DropoutDesc& d) const { return make_dropout(d, site); }
  Made operator()(const EltwiseDesc& d) const { return make_eltwise(d, site); }
  Made operator()(const ConcatDesc& d) const { return make_concat(d, site); }
  Made operator()(const SliceDesc& d) const { return make_slice(d, site); }
  Made operator()(const GemmDesc& d) const { return make_gemm(d, site); }
  Made operator()(const SoftmaxDesc& d) const { return make_softmax(d, site); }
  Made operator()(const SoftmaxLossDesc& d) const { return make_softmax_loss(d, site); }
  Made operator()(const AccuracyDesc& d) const { return make_accuracy(d, site); }
  Made operator()(const FillDesc& d) const { return make_fill(d, site); }
  Made operator()(const TransformDesc& d) const { return make_transform(d, site); }
  Made operator()(const FieldDesc& d) const { return std::make_unique<HostField<float>>(d, site); }
  Made operator()(const TallyDesc& d) const { return std::make_unique<HostTally<float>>(d); }
  Made operator()(const AccumulateDesc&) const { return std::make_unique<HostAccumulate>(); }
  Made operator()(const AllReduceDesc& d) const { return make_host_all_reduce(d, site); }
  Made operator()(const HostOpDesc& d) const { return make_host_op(d, site); }
  Made operator()(const ReorderDesc& d) const { return make_reorder(d, site); }
  Made operator()(const SumDesc& d) const { return make_sum(d, site); }
  Made operator()(const UpdateDesc& d) const { return make_update(d, site); }
  Made operator()(const RecurrentDesc& d) const { return make_recurrent(d, site); }
  template <typename Desc>
  Made operator()(const Desc&) const {
    return nullptr;
  }
};

// Who asks for a layout and who takes what comes.
struct Voter {
  const OpSite& site;

  LayoutChoice operator()(const ConvDesc& d) const {
    return vote_fast_conv(d, site).value_or(vote_plain(site));
  }
  LayoutChoice operator()(const PoolDesc& d) const { return vote_pool(d, site); }
  LayoutChoice operator()(const ConcatDesc& d) const { return vote_concat(d, site); }
  LayoutChoice operator()(const SliceDesc& d) const { return vote_slice(d, site); }
  LayoutChoice operator()(const LrnDesc&) const { return vote_follow(site); }
  LayoutChoice operator()(const NormActDesc&) const { return vote_follow(site); }
  LayoutChoice operator()(const AffineDesc& d) const { return vote_affine(d, site); }
  LayoutChoice operator()(const PointwiseDesc&) const { return vote_follow(site); }
  LayoutChoice operator()(const DropoutDesc&) const { return vote_follow(site); }
  LayoutChoice operator()(const EltwiseDesc&) const { return vote_follow(site); }
  LayoutChoice operator()(const SumDesc&) const { return vote_follow(site); }
  template <typename Desc>
  LayoutChoice operator()(const Desc&) const {
    return vote_plain(site);
  }
};

class CpuBackend : public Backend {
 public:
  std::string name() const override { return "cpu"; }

  LayoutChoice layouts(const OpDesc& desc, const OpSite& site) const override {
    if (!has_kernels(site)) return vote_plain(site);
    return std::visit(Voter{site}, desc);
  }

  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    // These sum in double.
    const bool is_tally =
        std::holds_alternative<TallyDesc>(desc) || std::holds_alternative<AccumulateDesc>(desc);
    if (!is_tally && !has_kernels(site)) return nullptr;
    return std::visit(Maker{site}, desc);
  }
};

}  // namespace

std::unique_ptr<const Backend> make_cpu_backend() { return std::make_unique<CpuBackend>(); }

}  // namespace pcc
