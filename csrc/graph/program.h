// Program: a net as a list of ops over values, between the layers that meant them and the plan that
// runs them. Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "graph/layer.h"
#include "ops/backends.h"

namespace pcc {

// Values, nodes, layers and blobs are known by their places, as ints.
template <typename T>
auto& at(T& list, int index) {
  return list[static_cast<size_t>(index)];
}

// A tensor that some node makes, or that comes from outside. In-place layers make new values: "in
// place" is a matter of names.
struct Value {
  Shape shape;
  std::string blob;       // the blob it carries, or "" inside a layer
  int producer = -1;      // node, or -1: from outside
  int layer = -1;         // layer that made it
  bool gradient = false;  // some reader wants to send a gradient here
  bool gone = false;      // swallowed by a fused node, or made by its readers: has no memory
  bool keep = false;      // lives for the whole iteration, with memory of its own
  DType dtype = DType::f32;
  Layout layout = Layout::plain;
  Place place = Place::device;

  TensorSpec spec() const { return {shape, dtype, layout, place}; }
};

// A node's input: a value, maybe under another shape, and whether the gradient goes back along this
// edge.
struct Operand {
  int value = -1;
  Shape shape;
  bool want_gradient = false;
};

struct Node {
  OpDesc desc;
  std::vector<Operand> ins;
  std::vector<int> outs;    // values
  std::vector<int> params;  // into Program::params
  std::vector<int> layers;  // the layers it carries out, in order
  std::string name;
  uint32_t stream = 0;
  uint32_t number = UINT32_MAX;  // OpSite::number; of an op that the planner added: none

  std::unique_ptr<Op> op;  // made by choose_ops
  std::string backend;
  Place place = Place::device;  // where it runs
  bool backward = false;        // runs in the backward pass
};

// One use of a learnable blob. Several layers may share one, by name.
struct Param {
  std::string layer, name;  // name: the prototxt's, or ""
  int index = 0;            // among the layer's parameters
  int owner = -1;           // the Param that owns the memory; itself when not shared
  Shape shape;
  FillerDesc filler;
  bool statistic = false;
  bool borrowed = false;  // the memory is another net's
  double lr_mult = 1, decay_mult = 1;
  bool want_gradient = false;
  DType dtype = DType::f32;
  Tensor data, diff;
};

struct Program {
  std::vector<Value> values;
  std::vector<Node> nodes;  // in the order of execution
  std::vector<Param> params;

  // Whether a node makes a constant that is made once and then left alone (DummyData), so that what
  // the caller writes there stays, as in Caffe. So does its way to the device from the host.
  bool made_once(const Node& node) const;
  // What an operand looks like to its reader: as it lies, or, under another shape, plain.
  TensorSpec spec_of(const Operand& operand) const;
  // Whether a value comes from outside, or may: nothing writes over what the caller put there.
  bool from_outside(int value) const;
  // For messages: the blob that it carries, or "value 7".
  std::string name_of(int value) const;
  // Readers of a value as (node, slot), in order.
  std::vector<std::vector<std::pair<int, int>>> readers() const;
};

// graph/fuse.cpp: runs BatchNorm > Scale > Eltwise SUM > ReLU as one node where nobody else sees
// the values in between.
void fuse(Program& program);

// graph/moments.cpp: where a convolution of that backend's can tell the means and variances of its
// output, which nobody sees from outside, has the BatchNorm behind take them from there.
void ask_for_moments(Program& program, const Backend& backend, Device& device);

// graph/choose.cpp: picks layouts, inserts reorders, makes every op. `fallbacks` receives the names
// of nodes that `backend` refused and the reference backend runs instead. gradients: a backward
// pass will be run.
void choose_ops(Program& program, const Backend& backend, Device& device, bool gradients,
                std::vector<std::string>* fallbacks);

}  // namespace pcc
