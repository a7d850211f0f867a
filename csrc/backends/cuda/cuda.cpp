#include "backends/cuda/cuda.h"

#include "backends/cuda/conv_way.h"
#include "backends/cuda/device.h"
#include "backends/cuda/forms.h"
#include "backends/cuda/makers.h"
#include "ops/backends.h"

namespace pcc {

namespace {

using namespace cuda;

// Which maker answers which descriptor: the whole backend at a glance. Null: the host makes up for
// it.
struct Maker {
  const OpSite& site;
  using Made = std::unique_ptr<Op>;

  Made operator()(const ConvDesc& d) const { return make_conv(d, site); }
  Made operator()(const GemmDesc& d) const { return make_gemm(d, site); }
  Made operator()(const PoolDesc& d) const { return make_pool(d, site); }
  Made operator()(const LrnDesc& d) const { return make_lrn(d, site); }
  Made operator()(const NormActDesc& d) const { return make_norm_act(d, site); }
  Made operator()(const AffineDesc& d) const { return make_affine(d, site); }
  Made operator()(const PointwiseDesc& d) const { return make_pointwise(d, site); }
  Made operator()(const DropoutDesc& d) const { return make_dropout(d, site); }
  Made operator()(const EltwiseDesc& d) const { return make_eltwise(d, site); }
  Made operator()(const RecurrentDesc& d) const { return make_recurrent(d, site); }
  Made operator()(const LstmUnitDesc& d) const { return make_lstm_unit(d, site); }
  Made operator()(const ConcatDesc& d) const { return make_concat(d, site); }
  Made operator()(const SliceDesc& d) const { return make_slice(d, site); }
  Made operator()(const CropDesc& d) const { return make_crop(d, site); }
  Made operator()(const PermuteDesc& d) const { return make_permute(d, site); }
  Made operator()(const TileDesc& d) const { return make_tile(d, site); }
  Made operator()(const Im2colDesc& d) const { return make_im2col(d, site); }
  Made operator()(const BatchReindexDesc& d) const { return make_batch_reindex(d, site); }
  Made operator()(const EmbedDesc& d) const { return make_embed(d, site); }
  Made operator()(const ParameterDesc& d) const { return make_parameter(d, site); }
  Made operator()(const ReductionDesc& d) const { return make_reduction(d, site); }
  Made operator()(const ArgMaxDesc& d) const { return make_arg_max(d, site); }
  Made operator()(const MvnDesc& d) const { return make_mvn(d, site); }
  Made operator()(const NormalizeDesc& d) const { return make_normalize(d, site); }
  Made operator()(const InterpDesc& d) const { return make_interp(d, site); }
  Made operator()(const RoiPoolDesc& d) const { return make_roi_pool(d, site); }
  Made operator()(const SoftmaxDesc& d) const { return make_softmax(d, site); }
  Made operator()(const SoftmaxLossDesc& d) const { return make_softmax_loss(d, site); }
  Made operator()(const InfogainLossDesc& d) const { return make_infogain_loss(d, site); }
  Made operator()(const DistanceLossDesc& d) const { return make_distance_loss(d, site); }
  Made operator()(const SmoothLossDesc& d) const { return make_smooth_loss(d, site); }
  Made operator()(const HingeLossDesc& d) const { return make_hinge_loss(d, site); }
  Made operator()(const LogLossDesc& d) const { return make_log_loss(d, site); }
  Made operator()(const SigmoidLossDesc& d) const { return make_sigmoid_loss(d, site); }
  Made operator()(const AccuracyDesc& d) const { return make_accuracy(d, site); }
  Made operator()(const FillDesc& d) const { return make_fill(d, site); }
  Made operator()(const TransformDesc& d) const { return make_transform(d, site); }
  Made operator()(const FieldDesc& d) const { return make_field(d, site); }
  Made operator()(const ReorderDesc& d) const { return make_reorder(d, site); }
  Made operator()(const SumDesc& d) const { return make_sum(d, site); }
  Made operator()(const UpdateDesc& d) const { return make_update(d, site); }
  Made operator()(const TallyDesc& d) const { return make_tally(d, site); }
  Made operator()(const AllReduceDesc& d) const { return make_all_reduce(d, site); }
  Made operator()(const AccumulateDesc& d) const { return make_accumulate(d, site); }
  template <typename Desc>
  Made operator()(const Desc&) const {
    return nullptr;
  }
};

class CudaBackend : public Backend {
 public:
  CudaBackend(std::string name, Precision precision, std::string conv_choice)
      : name_(std::move(name)), precision_(precision), conv_choice_(std::move(conv_choice)) {}

  std::string name() const override { return name_; }

  std::shared_ptr<Device> open(int index, Precision precision) const override {
    return std::make_shared<CudaDevice>(index,
                                        precision == Precision::usual ? precision_ : precision,
                                        conv_choice_of_environment(conv_choice_));
  }

  std::vector<std::string> devices(std::string* why) const override {
    std::vector<std::string> names;
    for (int i = 0, count = device_count(why); i < count; ++i) names.push_back(properties(i).name);
    if (names.empty() && why) *why = "no CUDA device: " + *why;
    return names;
  }

  std::shared_ptr<Device> describe(Precision precision) const override {
    return std::make_shared<DescribedDevice>(precision == Precision::usual ? precision_
                                                                           : precision);
  }

  FormChoice forms(const OpDesc& desc, const OpSite& site) const override {
    return choose_forms(desc, site);
  }
  bool gives_moments(const ConvDesc& desc, const OpSite& site) const override {
    return cuda::gives_moments(desc, site);
  }
  std::optional<int64_t> prologue_cost(const ConvDesc& desc, const OpSite& site) const override {
    return cuda::prologue_cost(desc, site);
  }
  std::unique_ptr<Op> make(const OpDesc& desc, const OpSite& site) const override {
    if (!takes_forms(desc, site)) return nullptr;
    std::unique_ptr<Op> op = std::visit(Maker{site}, desc);
    if (auto* const device = dynamic_cast<CudaDevice*>(site.device); device && op)
      device->give_title(op.get(), title_of(desc, site));
    return op;
  }

 private:
  std::string name_;
  Precision precision_;
  std::string conv_choice_;
};

}  // namespace

std::unique_ptr<const Backend> make_cuda_backend(const std::string& name, Precision precision,
                                                 const std::string& conv_choice) {
  return std::make_unique<CudaBackend>(name, precision, conv_choice);
}

}  // namespace pcc
