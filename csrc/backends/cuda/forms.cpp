#include "backends/cuda/forms.h"

#include <algorithm>
#include <limits>

#include "backends/cuda/device.h"
#include "backends/cuda/tensor_conv.h"

namespace pcc::cuda {

namespace {

// Of a prologue: the instructions of a thread for 16 bytes that it loads, in bf16 and in tf32, and
// how many an H100 makes while it moves a byte: 132 processors of 128 lanes at 1.755 GHz, 3.35
// TB/s.
constexpr int64_t kInstructionsBf16 = 71, kInstructionsTf32 = 53, kInstructionsOfByte = 9;

constexpr Form kPlain = {Layout::plain, DType::f32};

bool is_plain(const TensorSpec& spec) {
  return spec.layout == Layout::plain && spec.dtype == DType::f32;
}
// In four of a pixel's channels at a time, or eight.
bool fits(const Shape& shape) { return shape.axes() == 4 && shape[1] % 4 == 0; }
bool is_lines(const TensorSpec& spec) { return spec.layout == Layout::nhwc && fits(spec.shape); }

// With its output's channels last; not where another way was asked for.
bool is_tensor_conv(const ConvDesc& desc, const OpSite& site) {
  const std::string choice = conv_choice(site);
  const bool asked = choice == kFirstConv || choice == kMeasuredConv || choice == kCudnnConv ||
                     choice == kTensorConv;
  return asked && fits(site.out[0].shape) &&
         TensorConv::covers(desc, site, site.device->precision());
}
DType product_type(const OpSite& site) {
  return site.device->precision() == Precision::bf16 ? DType::bf16 : DType::f32;
}

// Which inputs and outputs are images in one and the same form; the others are plain.
struct Images {
  size_t in = 0, out = 0;
};
struct Counter {
  const OpSite& site;

  Images operator()(const NormActDesc& d) const { return {d.add ? size_t{2} : 1, 1}; }
  Images operator()(const PointwiseDesc& d) const {
    // One slope for all channels has a sum over all of x.
    const Shape& x = site.in[0].shape;
    const bool shared = d.function == PointwiseDesc::Function::prelu &&
                        (x.axes() < 2 || site.params[0].shape.count() != x[1]);
    return shared ? Images{} : Images{1, 1};
  }
  Images operator()(const DropoutDesc&) const { return {1, 1}; }
  Images operator()(const LrnDesc& d) const { return d.across ? Images{1, 1} : Images{}; }
  Images operator()(const EltwiseDesc&) const { return {site.in.size(), 1}; }
  Images operator()(const PoolDesc& d) const {
    const bool shared = d.method != PoolDesc::Method::stochastic && site.out.size() == 1;
    return shared ? Images{1, 1} : Images{};
  }
  Images operator()(const ConcatDesc& d) const {
    return d.axis == 1 ? Images{site.in.size(), 1} : Images{};
  }
  Images operator()(const SliceDesc& d) const {
    return d.axis == 1 ? Images{1, site.out.size()} : Images{};
  }
  template <typename Desc>
  Images operator()(const Desc&) const {
    return {};
  }
};

}  // namespace

FormChoice choose_forms(const OpDesc& desc, const OpSite& site) {
  FormChoice choice;
  choice.in.assign(site.in.size(), kPlain);
  choice.out.assign(site.out.size(), kPlain);
  if (const auto* conv = std::get_if<ConvDesc>(&desc)) {
    const DType dtype = product_type(site);
    if (!is_tensor_conv(*conv, site)) return choice;
    if (fits(site.in[0].shape)) choice.in[0] = {Layout::nhwc, dtype};
    if (conv->prologue) choice.in[1] = choice.in[0];
    choice.out[0] = {Layout::nhwc, dtype};
    return choice;
  }
  const Images images = std::visit(Counter{site}, desc);
  if (images.in == 0 || !is_lines(site.in[0])) return choice;
  const auto fit = [&](const std::vector<TensorSpec>& specs, size_t count) {
    return std::all_of(specs.begin(), specs.begin() + static_cast<std::ptrdiff_t>(count),
                       [&](const TensorSpec& spec) { return fits(spec.shape); });
  };
  if (!fit(site.in, images.in) || !fit(site.out, images.out)) return choice;
  const Form form = {Layout::nhwc, site.in[0].dtype};
  std::fill_n(choice.in.begin(), images.in, form);
  std::fill_n(choice.out.begin(), images.out, form);
  return choice;
}

bool gives_moments(const ConvDesc& desc, const OpSite& site) {
  const std::string choice = conv_choice(site);
  return (choice == kFirstConv || choice == kMeasuredConv) &&
         site.out[0].shape[0] % desc.moments == 0 &&
         desc.moments * site.out[0].shape[1] <= kCounters && is_tensor_conv(desc, site);
}

std::optional<int64_t> prologue_cost(const ConvDesc& desc, const OpSite& site) {
  const Prologues which = prologues_of_environment();
  const std::string choice = conv_choice(site);
  // Groups of samples that share no box are either's.
  const bool fit_moments = desc.moments <= 1 || desc.prologue == 1 || desc.moments == desc.prologue;
  if (which == Prologues::never || (choice != kFirstConv && choice != kMeasuredConv) ||
      !fit_moments || site.in[0].shape[0] % desc.prologue != 0 || !is_lines(site.in[0]) ||
      site.in[0].dtype != product_type(site) || !is_tensor_conv(desc, site))
    return std::nullopt;
  if (which == Prologues::always) return 0;
  const TensorConv conv(desc, site, site.device->precision());
  const int64_t numbers =
      conv.numbers_read(false) + (site.want_dparam[0] ? conv.numbers_read(true) : 0);
  const DType type = product_type(site);
  const int64_t each = type == DType::bf16 ? kInstructionsBf16 : kInstructionsTf32;
  return numbers * size_of(type) / 16 * each / kInstructionsOfByte;
}

bool takes_forms(const OpDesc& desc, const OpSite& site) {
  const auto small = [](const std::vector<TensorSpec>& specs) {
    return std::all_of(specs.begin(), specs.end(), [](const TensorSpec& spec) {
      return spec.shape.count() <= std::numeric_limits<uint32_t>::max();  // divide, in reduce.cuh
    });
  };
  const auto plain = [](const std::vector<TensorSpec>& specs, size_t from = 0) {
    return std::all_of(specs.begin() + static_cast<std::ptrdiff_t>(from), specs.end(), is_plain);
  };
  if (!small(site.in) || !small(site.out) || !plain(site.params)) return false;
  if (std::holds_alternative<AccumulateDesc>(desc)) return true;
  if (std::holds_alternative<TallyDesc>(desc)) return plain(site.in);  // sums in double
  if (plain(site.in) && plain(site.out)) return true;
  if (std::holds_alternative<ReorderDesc>(desc) || std::holds_alternative<SumDesc>(desc)) {
    const auto known = [](const TensorSpec& spec) {
      return spec.dtype != DType::f64 && block_of(spec.layout) == 1;
    };
    return std::all_of(site.in.begin(), site.in.end(), known) && known(site.out[0]);
  }
  if (const auto* conv = std::get_if<ConvDesc>(&desc))
    return is_tensor_conv(*conv, site) && is_lines(site.out[0]) &&
           site.out[0].dtype == product_type(site) && plain(site.out, 1) &&
           (!conv->prologue || (is_lines(site.in[1]) && site.in[1].dtype == site.out[0].dtype));
  const Images images = std::visit(Counter{site}, desc);
  if (images.in == 0) return false;
  const auto alike = [&](const std::vector<TensorSpec>& specs, size_t count) {
    return std::all_of(specs.begin(), specs.begin() + static_cast<std::ptrdiff_t>(count),
                       [&](const TensorSpec& spec) {
                         return is_lines(spec) && spec.dtype == site.in[0].dtype;
                       }) &&
           plain(specs, count);
  };
  return alike(site.in, images.in) && alike(site.out, images.out);
}

}  // namespace pcc::cuda
