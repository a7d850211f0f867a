// Nets from prototxt text, for tests of the graph: made, filled and compared as plain doubles.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/net.h"
#include "op_harness.h"
#include "spec_text.h"

namespace pcc {

// The layers of a text of `layer { ... }` blocks, in order.
std::vector<LayerSpec> parse_layers(const std::string& text);

// An Input layer: input_layer("data", {2, 3, 4, 4}).
std::string input_layer(const std::string& name, const Shape& shape);
// A layer with one bottom and one top: layer("ReLU", "relu1", "conv1", "relu1"). more: further
// fields.
std::string layer(const std::string& type, const std::string& name, const std::string& bottom,
                  const std::string& top, const std::string& more = "");
// conv_layer("conv1", "data", 8, 3): num_output, kernel_size; pads so that the size stays (odd
// kernels). Filled by a gaussian of 0.3, so that BatchNorm sees something to normalise.
std::string conv_layer(const std::string& name, const std::string& bottom, int outputs, int kernel,
                       int stride = 1);
// BatchNorm and Scale in place on `blob`, as the report's nets have them: names blob_bn,
// blob_scale.
std::string norm_layers_on(const std::string& blob);
// An InnerProduct of `classes` outputs on `bottom` and a SoftmaxWithLoss against `label`: "loss".
std::string classifier(const std::string& bottom, int classes);

// Convolution, BatchNorm, Scale and ReLU in place, pooling, Dropout and a classifier of 5, over
// pictures of 3x6x5.
std::string small_net(int64_t batch = 4);

NetOptions reference_net();
// fuse: the fast plan, which keeps no blobs.
NetOptions net_on(const std::string& backend, bool fuse = false);
NetOptions double_net(bool fuse = false);

// Runs on one thread from here on: over a few numbers, threads only wait for each other.
std::shared_ptr<Net> make_net(const std::string& text, NetOptions options = reference_net(),
                              std::shared_ptr<Net> share = nullptr);

Values values_of(const Tensor& tensor);  // plain layout only
void set_values(const Tensor& tensor, const Values& values);

// Fills an input blob.
void feed(Net& net, const std::string& blob, const Values& values);
// Every input blob: uniform numbers in [-1, 1), or class numbers below `classes` where the blob's
// name begins with "label".
void feed_all(Net& net, int classes, uint64_t seed = 3);
Values blob_of(const Net& net, const std::string& blob);
// The index of a layer's parameter in Net::params(). Throws where there is none.
size_t param_index(Net& net, const std::string& layer, int index);
Values param_data(Net& net, const std::string& layer, int index);
Values param_diff(Net& net, const std::string& layer, int index);
// Sets every parameter that is learned to uniform numbers: gains around 1 stay away from 0. The
// numbers depend on the layer's name only, so that two nets with the same layers get the same ones.
void draw_params(Net& net, uint64_t seed = 5);

// make_net, draw_params and feed_all with 5 classes.
std::shared_ptr<Net> ready(const std::string& text, const NetOptions& options);

// What a user sees of a blob, and what is seen after the user wrote there.
Values view(Net& net, const std::string& blob, bool diff);
void write_view(Net& net, const std::string& blob, bool diff, const Values& values);

const LayerInfo& info_of(const Net& net, const std::string& layer);
// Op names after fusion, in order: "conv", "norm+scale+relu", .. (reorders are left out).
std::vector<std::string> ops_of(const Net& net);

// One pass forward and backward from cleared diffs. Returns the loss.
double pass(Net& net);
// Compares loss, the named blobs and every parameter's diff and data (running statistics) of two
// nets after a pass of each. `where` begins the messages.
void compare_passes(Net& got, Net& expected, const std::vector<std::string>& blobs,
                    double tolerance, const std::string& where = "");

}  // namespace pcc
