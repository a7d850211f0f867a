#include "net_text.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/parallel.h"
#include "guarded.h"
#include "testing.h"

namespace pcc {

std::vector<LayerSpec> parse_layers(const std::string& text) {
  std::vector<LayerSpec> layers;
  size_t at = 0;
  while ((at = text.find("layer", at)) != std::string::npos) {
    const size_t open = text.find('{', at);
    size_t end = open;
    for (int depth = 0; end < text.size(); ++end) {
      depth += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
      if (depth == 0) break;
    }
    if (end >= text.size()) throw std::runtime_error("a layer { is not closed");
    layers.push_back(parse_layer(text.substr(open + 1, end - open - 1)));
    at = end;
  }
  return layers;
}

std::string input_layer(const std::string& name, const Shape& shape) {
  std::string dims;
  for (const int64_t dim : shape.dims()) dims += concat(" dim: ", dim);
  return concat("layer { name: '", name, "' type: 'Input' top: '", name, "' input_param { shape {",
                dims, " } } }\n");
}

std::string layer(const std::string& type, const std::string& name, const std::string& bottom,
                  const std::string& top, const std::string& more) {
  return concat("layer { name: '", name, "' type: '", type, "' bottom: '", bottom, "' top: '", top,
                "' ", more, " }\n");
}

std::string conv_layer(const std::string& name, const std::string& bottom, int outputs, int kernel,
                       int stride) {
  return layer("Convolution", name, bottom, name,
               concat("convolution_param { num_output: ", outputs, " kernel_size: ", kernel,
                      " pad: ", kernel / 2, " stride: ", stride,
                      " weight_filler { type: 'gaussian' std: 0.3 } }"));
}

std::string norm_layers_on(const std::string& blob) {
  return layer("BatchNorm", blob + "_bn", blob, blob) +
         layer("Scale", blob + "_scale", blob, blob, "scale_param { bias_term: true }");
}

std::string classifier(const std::string& bottom, int classes) {
  return layer("InnerProduct", "ip", bottom, "ip",
               concat("inner_product_param { num_output: ", classes,
                      " weight_filler { type: 'gaussian' std: 0.3 } }")) +
         "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' "
         "}\n";
}

std::string small_net(int64_t batch) {
  return input_layer("data", {batch, 3, 6, 5}) + input_layer("label", {batch}) +
         conv_layer("conv", "data", 8, 3) + norm_layers_on("conv") +
         layer("ReLU", "relu", "conv", "conv") +
         layer("Pooling", "pool", "conv", "pool", "pooling_param { kernel_size: 2 stride: 2 }") +
         layer("Dropout", "drop", "pool", "pool") + classifier("pool", 5);
}

NetOptions reference_net() { return net_on("reference"); }

NetOptions net_on(const std::string& backend, bool fuse) {
  NetOptions options;
  options.backend = backend;
  options.fuse = fuse;
  options.keep_blobs = !fuse;
  return options;
}

NetOptions double_net(bool fuse) {
  NetOptions options = net_on("reference", fuse);
  options.dtype = DType::f64;
  return options;
}

std::shared_ptr<Net> make_net(const std::string& text, NetOptions options,
                              std::shared_ptr<Net> share) {
  set_threads(1);
  return std::make_shared<Net>(parse_layers(text), std::map<std::string, LayerFeed>{},
                               std::move(options), std::move(share));
}

Values values_of(const Tensor& tensor) {
  PCC_CHECK(tensor && tensor.spec.layout == Layout::plain, "a plain tensor is needed");
  const GuardedAccess access(tensor.data);
  Values values(static_cast<size_t>(tensor.count()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = tensor.spec.dtype == DType::f32 ? tensor.as<float>()[i] : tensor.as<double>()[i];
  return values;
}

void set_values(const Tensor& tensor, const Values& values) {
  PCC_CHECK(static_cast<int64_t>(values.size()) == tensor.count(), values.size(),
            " numbers for a tensor of shape ", tensor.shape());
  const GuardedAccess access(tensor.data);
  for (size_t i = 0; i < values.size(); ++i)
    if (tensor.spec.dtype == DType::f32)
      tensor.as<float>()[i] = static_cast<float>(values[i]);
    else
      tensor.as<double>()[i] = values[i];
}

void feed(Net& net, const std::string& blob, const Values& values) {
  const int index = net.blob_index(blob);
  PCC_CHECK(index >= 0, "no blob ", blob);
  if (net.options().dtype == DType::f64) return net.write(index, values.data());
  const std::vector<float> floats(values.begin(), values.end());
  net.write(index, floats.data());
}

void feed_all(Net& net, int classes, uint64_t seed) {
  for (const int blob : net.inputs()) {
    const BlobInfo& info = net.blobs()[static_cast<size_t>(blob)];
    const int64_t count = info.versions.front().shape.count();
    feed(net, info.name,
         info.name.compare(0, 5, "label") == 0
             ? label_values(count, classes, seed)
             : random_values(count, seed + hash_name(info.name.c_str())));
  }
}

Values blob_of(const Net& net, const std::string& blob) {
  const int index = net.blob_index(blob);
  PCC_CHECK(index >= 0, "no blob ", blob);
  return net.read(index);
}

size_t param_index(Net& net, const std::string& layer, int index) {
  const int found = net.param_index(layer, index);
  if (found < 0) throw std::runtime_error("layer " + layer + " has no such parameter");
  return static_cast<size_t>(found);
}

Values param_data(Net& net, const std::string& layer, int index) {
  const Param& param = net.params()[param_index(net, layer, index)];
  return values_of(net.params()[static_cast<size_t>(param.owner)].data);
}

Values param_diff(Net& net, const std::string& layer, int index) {
  const Param& param = net.params()[param_index(net, layer, index)];
  return values_of(net.params()[static_cast<size_t>(param.owner)].diff);
}

void draw_params(Net& net, uint64_t seed) {
  for (const int p : net.learnable()) {
    const Param& param = net.params()[static_cast<size_t>(p)];
    if (param.statistic) continue;
    const LayerInfo& info = info_of(net, param.layer);
    const bool gain = info.layer->spec().type == "Scale" && param.index == 0;
    const uint64_t own = seed + hash_name(param.layer.c_str()) + static_cast<uint64_t>(param.index);
    set_values(param.data,
               random_values(param.shape.count(), own, gain ? 0.5 : -0.5, gain ? 1.5 : 0.5));
  }
}

std::shared_ptr<Net> ready(const std::string& text, const NetOptions& options) {
  auto net = make_net(text, options);
  draw_params(*net);
  feed_all(*net, 5);
  return net;
}

namespace {

Tensor viewed(Net& net, const std::string& blob, bool diff) {
  const HostBlob& host = net.host(net.blob_index(blob), diff);
  const auto& memory = diff ? host.diff : host.data;
  return {memory->data(), {host.shape, net.options().dtype, Layout::plain}};
}

}  // namespace

Values view(Net& net, const std::string& blob, bool diff) {
  return values_of(viewed(net, blob, diff));
}

void write_view(Net& net, const std::string& blob, bool diff, const Values& values) {
  set_values(viewed(net, blob, diff), values);
}

const LayerInfo& info_of(const Net& net, const std::string& layer) {
  const int index = net.layer_index(layer);
  PCC_CHECK(index >= 0, "no layer ", layer);
  return net.layers()[static_cast<size_t>(index)];
}

std::vector<std::string> ops_of(const Net& net) {
  std::vector<std::string> ops;
  for (const PlanRow& row : net.plan_rows())
    if (row.op != "reorder") ops.push_back(row.op);
  return ops;
}

double pass(Net& net) {
  net.clear_param_diffs();
  const double loss = net.forward();
  net.backward();
  return loss;
}

void compare_passes(Net& got, Net& expected, const std::vector<std::string>& blobs,
                    double tolerance, const std::string& where) {
  const std::string title = concat(where, where.empty() ? "" : ", ", got.backend().name(),
                                   got.options().fuse ? ", fused: " : ", kept: ");
  const double loss = pass(got), expected_loss = pass(expected);
  if (!(std::abs(loss - expected_loss) <= tolerance * std::fmax(1, std::abs(expected_loss))))
    testing::fail(__FILE__, __LINE__, concat(title, "loss ", loss, " for ", expected_loss));
  // Gradients that are zero in theory (of a bias under a BatchNorm) are as exact as the others.
  double largest = 0;
  for (const int p : expected.learnable())
    for (const double diff : values_of(expected.params()[static_cast<size_t>(p)].diff))
      largest = std::max(largest, std::abs(diff));
  const auto compare = [&](const std::string& what, const Values& a, const Values& b,
                           double scale = 0) {
    double own = 0, difference = 0;
    for (const double value : b) own = std::max(own, std::abs(value));
    for (size_t i = 0; i < b.size(); ++i) difference = std::fmax(difference, std::abs(a[i] - b[i]));
    difference /= std::max({own, scale, 1e-3});
    if (a.size() != b.size() || !(difference <= tolerance))
      testing::fail(__FILE__, __LINE__, concat(title, what, " differs by ", difference));
  };
  for (const std::string& blob : blobs)
    compare("blob " + blob, blob_of(got, blob), blob_of(expected, blob));
  for (const int p : expected.learnable()) {
    const Param& param = expected.params()[static_cast<size_t>(p)];
    const std::string what = concat("parameter ", param.index, " of ", param.layer);
    compare("the diff of " + what, param_diff(got, param.layer, param.index),
            param_diff(expected, param.layer, param.index), 0.1 * largest);
    compare(what, param_data(got, param.layer, param.index),
            param_data(expected, param.layer, param.index));
  }
}

}  // namespace pcc
