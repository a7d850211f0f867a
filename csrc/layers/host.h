// Layers whose meaning lies outside the library: written in Python, or in a program that links it.
#pragma once

#include <memory>
#include <vector>

#include "graph/layer.h"
#include "ops/host.h"

namespace pcc {

class HostLayerFunction : public HostFunction {
 public:
  // Shapes of the tops for bottoms of these shapes: when a net is built, before all else, and
  // whenever it gets other shapes.
  virtual std::vector<Shape> reshape(const std::vector<Shape>& bottoms) = 0;
  // Asked after the first reshape; always the same.
  virtual std::vector<ParamDecl> params() const { return {}; }
  // As Layer::hold. forward may throw RowsChanged where its tops' shapes came to be others: reshape
  // then gives those.
  virtual void hold(bool held) { (void)held; }
};

// The layer for it: for makers that are given to register_layer. Any number of bottoms and tops; a
// top of a bottom's name is in place, as in Caffe.
std::unique_ptr<Layer> make_host_layer(LayerSpec spec, LayerContext context,
                                       std::shared_ptr<HostLayerFunction> function);
// What make_host_layer was given; null for layers of the library.
HostLayerFunction* function_of(const Layer& layer);

}  // namespace pcc
