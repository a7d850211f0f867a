#include "backends/cuda/cudnn/graph.h"

namespace pcc::cudnn {
namespace {

using api::Kind;
using api::Name;
using api::Type;

constexpr int64_t kAlignment = 16;  // of every pointer, in bytes: one vector load
// Tensors between operations, which never lie in memory.
constexpr int64_t kBeforeBias = 10, kBeforeRelu = 11;

int type_of(const TensorSpec& spec) {
  switch (spec.dtype) {
    case DType::f32:
      return api::kFloat;
    case DType::bf16:
      return api::kBfloat16;
    case DType::f64:
      break;
  }
  throw Failure(api::kNotSupported, concat("no plan is asked of cuDNN for ", name_of(spec.dtype)));
}

std::vector<int64_t> strides_of(const TensorSpec& spec) {
  const auto& dims = spec.shape.dims();
  std::vector<int64_t> strides(dims.size(), 1);
  int64_t step = 1;
  const auto take = [&](size_t axis) {
    strides[axis] = step;
    step *= dims[axis];
  };
  const bool channels_last = spec.layout == Layout::nhwc;
  if (!channels_last && spec.layout != Layout::plain)
    throw Failure(api::kNotSupported, concat("cuDNN knows no layout ", name_of(spec.layout)));
  if (channels_last) take(1);
  for (size_t axis = dims.size(); axis-- > 2;) take(axis);
  if (!channels_last) take(1);
  take(0);
  return strides;
}

class Builder {
 public:
  Builder(const Convolution& convolution, const Target& target)
      : convolution_(convolution), target_(target) {}

  Graph build() {
    const Convolution& c = convolution_;
    const bool bias = c.bias.has_value();
    if ((bias || c.relu) && (c.step != Step::forward || !bias))
      throw Failure(api::kNotSupported, "cuDNN fuses a bias, with or without ReLU, forward only");
    const Descriptor& x = tensor(Role::x, c.x);
    const Descriptor& w = tensor(Role::w, c.w);
    const Descriptor& y = tensor(Role::y, c.y);
    const Descriptor& sum = bias ? between(kBeforeBias) : y;
    convolve(x, w, sum);
    if (bias) {
      const Descriptor& biased = c.relu ? between(kBeforeRelu) : y;
      pointwise(api::kAdd, sum, &bias_tensor(), biased);
      if (c.relu) pointwise(api::kReluForward, biased, nullptr, y);
    }
    std::vector<void*> operations;
    for (const Descriptor* each : operations_) operations.push_back(each->get());
    Descriptor& graph = make(Kind::graph);
    target_.tell_graph(graph);
    graph.set(Name::graph_operations, Type::descriptor, operations.data(),
              static_cast<int64_t>(operations.size()));
    graph.finalize("take the graph of a convolution");
    return std::move(graph_);
  }

 private:
  Descriptor& make(Kind kind) { return graph_.parts.emplace_back(target_.library(), kind); }

  const Descriptor& tensor(int64_t id, const Shape& shape, const std::vector<int64_t>& strides,
                           int type, bool is_virtual) {
    Descriptor& made = make(Kind::tensor);
    made.set(Name::tensor_id, id);
    made.set(Name::tensor_type, Type::data_type, type);
    made.set(Name::tensor_dimensions, shape.dims());
    made.set(Name::tensor_strides, strides);
    made.set(Name::tensor_alignment, kAlignment);
    made.set(Name::tensor_virtual, Type::boolean, &is_virtual, 1);
    made.finalize("describe a tensor");
    return made;
  }
  const Descriptor& tensor(Role role, const TensorSpec& spec) {
    return tensor(static_cast<int64_t>(role), spec.shape, strides_of(spec), type_of(spec), false);
  }
  const Descriptor& between(int64_t id) {
    return tensor(id, convolution_.y.shape, strides_of(convolution_.y), api::kFloat, true);
  }
  const Descriptor& bias_tensor() {
    Shape shape{1, convolution_.bias->shape.count()};
    while (shape.axes() < convolution_.y.shape.axes()) shape.push_back(1);
    return tensor(Role::bias, {.shape = shape, .dtype = convolution_.bias->dtype});
  }

  void convolve(const Descriptor& x, const Descriptor& w, const Descriptor& y) {
    const Convolution& c = convolution_;
    Descriptor& shape = make(Kind::convolution);
    shape.set(Name::convolution_compute_type, Type::data_type, api::kFloat);
    shape.set(Name::convolution_mode, Type::convolution_mode, api::kCrossCorrelation);
    shape.set(Name::convolution_spatial_dims, static_cast<int64_t>(c.stride.size()));
    shape.set(Name::convolution_strides, c.stride);
    shape.set(Name::convolution_dilations, c.dilation);
    shape.set(Name::convolution_pre_paddings, c.pad);
    shape.set(Name::convolution_post_paddings, c.pad);
    shape.finalize("describe a convolution");

    const auto [kind, first] = c.step == Step::forward ? std::pair{Kind::forward, Name::forward}
                               : c.step == Step::data
                                   ? std::pair{Kind::backward_data, Name::backward_data}
                                   : std::pair{Kind::backward_filter, Name::backward_filter};
    const auto at = [first = first](int place) {
      return static_cast<Name>(static_cast<int>(first) + place);
    };
    Descriptor& operation = make(kind);
    operation.set(at(0), 1.0f);                 // of the product
    operation.set(at(1), c.add ? 1.0f : 0.0f);  // of what is there
    operation.set(at(2), shape);
    operation.set(at(3), w);
    operation.set(at(4), x);
    operation.set(at(5), y);
    operation.finalize("compute such a convolution");
    operations_.push_back(&operation);
  }

  void pointwise(int mode, const Descriptor& x, const Descriptor* b, const Descriptor& y) {
    Descriptor& function = make(Kind::pointwise);
    function.set(Name::pointwise_mode, Type::pointwise_mode, mode);
    function.set(Name::pointwise_compute_type, Type::data_type, api::kFloat);
    function.finalize("describe a function of elements");
    Descriptor& operation = make(Kind::pointwise_operation);
    operation.set(Name::pointwise_descriptor, function);
    operation.set(Name::pointwise_x, x);
    if (b) operation.set(Name::pointwise_b, *b);
    operation.set(Name::pointwise_y, y);
    operation.finalize("add a bias or ReLU");
    operations_.push_back(&operation);
  }

  const Convolution& convolution_;
  const Target& target_;
  Graph graph_;
  std::vector<const Descriptor*> operations_;
};

}  // namespace

Convolution convolution_of(const ConvDesc& desc, const OpSite& site, Step step) {
  Convolution c{.step = step,
                .x = site.in[0],
                .w = site.params[0],
                .y = site.out[0],
                .stride = desc.stride,
                .pad = desc.pad,
                .dilation = desc.dilation};
  if (desc.transposed) {
    std::swap(c.x, c.y);
    if (step != Step::weights) c.step = step == Step::forward ? Step::data : Step::forward;
  } else if (desc.bias && step == Step::forward) {
    c.bias = site.params[1];
  }
  c.w.dtype = c.x.dtype;
  c.w.layout = c.x.layout;
  if (c.bias) c.bias->dtype = c.x.dtype;
  return c;
}

std::string text_of(const Convolution& c) {
  const auto list = [](const std::vector<int64_t>& values) { return Shape(values).str(); };
  return concat(name_of(c.step), ' ', c.x, " * ", c.w, " -> ", c.y, ", stride ", list(c.stride),
                ", pad ", list(c.pad), ", dilation ", list(c.dilation), c.bias ? " + bias" : "",
                c.relu ? " + relu" : "", c.add ? ", added" : "");
}

Graph graph_of(const Convolution& convolution, const Target& target) {
  return Builder(convolution, target).build();
}

}  // namespace pcc::cudnn
