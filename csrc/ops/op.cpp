#include "ops/op.h"

#include <algorithm>
#include <cstring>

#include "ops/rules.h"

namespace pcc {

OpDesc::OpDesc() = default;
OpDesc::OpDesc(const OpDesc&) = default;
OpDesc::OpDesc(OpDesc&&) noexcept = default;
OpDesc& OpDesc::operator=(const OpDesc&) = default;
OpDesc& OpDesc::operator=(OpDesc&&) noexcept = default;
OpDesc::~OpDesc() = default;

std::shared_ptr<Device> Backend::open(int index, Precision precision) const {
  PCC_CONFIG(index == 0, "backend ", name(), " has one device, number 0; there is no ", index);
  PCC_CONFIG(precision == Precision::usual || precision == Precision::fp32, "precision ",
             name_of(precision), " is for device cuda; backend ", name(), " multiplies in fp32");
  return std::make_shared<HostDevice>();
}

std::vector<std::string> Backend::devices(std::string*) const { return {"the host"}; }

void Op::backward(const Context& context) {
  const auto came = [](const std::vector<Tensor>& parts) { return !parts.empty(); };
  if (std::any_of(buffers_.dout.begin(), buffers_.dout.end(), came)) return differentiate(context);
  for (const Tensor& din : buffers_.din)
    if (din) clear(din);
}

void Op::clear(const Tensor& tensor) {
  std::memset(tensor.data, 0, static_cast<size_t>(tensor.spec.bytes()));
}

FormChoice Backend::forms(const OpDesc& desc, const OpSite& site) const {
  const LayoutChoice choice = layouts(desc, site);
  FormChoice forms;
  const auto in_own_types = [&](const std::vector<Layout>& from, const std::vector<TensorSpec>& of,
                                std::vector<Form>& to) {
    PCC_CHECK(from.size() == of.size(), "backend ", name(), " voted for ", from.size(),
              " values of ", site.name, ", which has ", of.size());
    for (size_t i = 0; i < from.size(); ++i) to.push_back({from[i], of[i].dtype, Place::device});
  };
  in_own_types(choice.in, site.in, forms.in);
  in_own_types(choice.out, site.out, forms.out);
  return forms;
}

LayoutChoice Backend::layouts(const OpDesc&, const OpSite& site) const {
  return {std::vector<Layout>(site.in.size(), Layout::plain),
          std::vector<Layout>(site.out.size(), Layout::plain)};
}

namespace {

struct Namer {
  std::string operator()(const ConvDesc& d) const { return d.transposed ? "deconv" : "conv"; }
  std::string operator()(const PoolDesc& d) const {
    return d.method == PoolDesc::Method::max       ? "pool max"
           : d.method == PoolDesc::Method::average ? "pool ave"
                                                   : "pool stochastic";
  }
  std::string operator()(const LrnDesc& d) const { return d.across ? "lrn across" : "lrn within"; }
  std::string operator()(const NormActDesc& d) const {
    return std::string("norm") + (d.gain ? "+scale" : "") + (d.add ? "+add" : "") +
           (d.relu ? "+relu" : "");
  }
  std::string operator()(const AffineDesc& d) const {
    return d.scale ? (d.bias ? "scale+bias" : "scale") : "bias";
  }
  std::string operator()(const PointwiseDesc& d) const { return d.name(); }
  std::string operator()(const DropoutDesc&) const { return "dropout"; }
  std::string operator()(const EltwiseDesc& d) const {
    return d.operation == EltwiseDesc::Operation::sum   ? "sum"
           : d.operation == EltwiseDesc::Operation::max ? "max"
                                                        : "product";
  }
  std::string operator()(const ConcatDesc&) const { return "concat"; }
  std::string operator()(const SliceDesc&) const { return "slice"; }
  std::string operator()(const GemmDesc&) const { return "gemm"; }
  std::string operator()(const SoftmaxDesc&) const { return "softmax"; }
  std::string operator()(const SoftmaxLossDesc&) const { return "softmax loss"; }
  std::string operator()(const AccuracyDesc&) const { return "accuracy"; }
  std::string operator()(const FillDesc&) const { return "fill"; }
  std::string operator()(const TransformDesc&) const { return "transform"; }
  std::string operator()(const FieldDesc&) const { return "field"; }
  std::string operator()(const TallyDesc&) const { return "losses"; }
  std::string operator()(const AccumulateDesc&) const { return "sums over passes"; }
  std::string operator()(const AllReduceDesc&) const { return "sum over ranks"; }
  std::string operator()(const HostOpDesc&) const { return "host function"; }
  std::string operator()(const ReorderDesc&) const { return "reorder"; }
  std::string operator()(const TransferDesc& d) const {
    return d.to_host ? "copy to host" : "copy to device";
  }
  std::string operator()(const SumDesc&) const { return "sum of diffs"; }
  std::string operator()(const UpdateDesc& d) const { return update_rule(d.rule).type; }
  std::string operator()(const RecurrentDesc& d) const {
    return d.cell == RecurrentDesc::Cell::lstm ? "lstm" : "rnn";
  }
  template <typename Desc>
  std::string operator()(const Desc&) const {
    return Desc::kName;
  }
};

}  // namespace

std::string name_of(const OpDesc& desc) { return std::visit(Namer{}, desc); }

bool is_plain_on_host(const OpDesc& desc) {
  if (const auto* pool = std::get_if<PoolDesc>(&desc))
    return pool->method == PoolDesc::Method::stochastic;
  if (const auto* pointwise = std::get_if<PointwiseDesc>(&desc))
    return pointwise->function > PointwiseDesc::Function::prelu;
  return std::visit([]<typename Desc>(const Desc&) { return requires { Desc::kName; }; }, desc);
}

}  // namespace pcc
