// Layer: what a Caffe layer type means, once for all backends. It reads its attributes, infers
// shapes, declares parameters and lowers itself to op descriptors. It never loops over data and
// never sees a backend.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/spec.h"
#include "core/tensor.h"
#include "ops/desc.h"
#include "ops/records.h"

namespace pcc {

using ValueId = int;  // a tensor of the program being built
using ParamId = int;  // a parameter of the layer being lowered: its place in Layer::params()

// What Python resolved for a layer that names files, which are its business.
struct LayerFeed {
  std::shared_ptr<RecordFeed> records;  // Data, MemoryData
  std::shared_ptr<const std::vector<float>>
      mean;  // mean_file's contents, (C, H, W), or another such file's; null without one
};

// The surroundings of a layer while a net is built.
struct LayerContext {
  bool train = true;  // the net's phase
  DType dtype = DType::f32;
  int64_t ranks = 1;  // processes that train together, each with as many samples of its own
  int64_t replicas =
      1;  // data layers make replicas x batch_size samples; statistics and losses are per replica
  int64_t batches = 1;  // that data layers give in each pass, one behind the other
  LayerFeed feed;
};

struct Arity {  // -1: unbounded
  int min_bottoms = 1, max_bottoms = 1, min_tops = 1, max_tops = 1;
  bool tops_equal_bottoms = false;
};

struct ParamDecl {
  Shape shape;
  FillerDesc filler;
  bool statistic = false;  // BatchNorm's three: never learned, lr_mult and decay_mult must be 0
};

// What a layer's lower() writes into. Implemented by the net builder.
class Lowering {
 public:
  virtual ~Lowering() = default;
  virtual ValueId bottom(int index) const = 0;
  virtual const Shape& shape(ValueId value) const = 0;
  // Adds an op; returns the ids of its outputs, which have the given shapes.
  virtual std::vector<ValueId> op(OpDesc desc, std::vector<ValueId> ins,
                                  std::vector<ParamId> params, std::vector<Shape> outs) = 0;
  // The same elements under another shape; no op, no copy.
  virtual ValueId view(ValueId value, const Shape& shape) = 0;
  // Says which value is top `index`. Every top must be set once. A bottom's value may be passed on
  // (Split, Flatten, Dropout in TEST).
  virtual void top(int index, ValueId value) = 0;
  // The same for all tops, in order.
  void tops(const std::vector<ValueId>& values) {
    for (size_t i = 0; i < values.size(); ++i) top(static_cast<int>(i), values[i]);
  }
  // `samples` records of it for every pass; the number by which ops find them (Context::feeds).
  virtual int feed(std::shared_ptr<RecordFeed> records, int64_t samples) = 0;
  // A top whose contents come from outside (Input): a value without a producer.
  virtual ValueId input(const Shape& shape) = 0;

  // The common case: one op, one output, which is top 0.
  void simple(OpDesc desc, std::vector<ValueId> ins, std::vector<ParamId> params,
              const Shape& out) {
    top(0, op(std::move(desc), std::move(ins), std::move(params), {out})[0]);
  }
};

class Layer {
 public:
  Layer(LayerSpec spec, LayerContext context)
      : spec_(std::move(spec)), context_(std::move(context)) {}
  virtual ~Layer() = default;
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  const LayerSpec& spec() const { return spec_; }
  const LayerContext& context() const { return context_; }

  virtual Arity arity() const { return {}; }
  // Shapes of the tops for these bottoms; called first, and again on every reshape. Checks shapes
  // (config errors that begin with spec().title() and name bottoms and shapes) and remembers what
  // params() and lower() need.
  virtual std::vector<Shape> infer_shapes(const std::vector<Shape>& bottoms) = 0;
  virtual std::vector<ParamDecl> params() const { return {}; }
  virtual void lower(Lowering& to) const = 0;

  // Whether a gradient can flow to that bottom at all (labels: no). Asking for one by
  // propagate_down is an error.
  virtual bool differentiable(int bottom) const {
    (void)bottom;
    return true;
  }
  // Whether force_backward may ask for that bottom's gradient.
  virtual bool allow_force_backward(int bottom) const { return differentiable(bottom); }
  // Loss weight of a top where the prototxt sets none: 1 for the first top of loss layers.
  virtual double default_loss_weight(int top) const {
    (void)top;
    return 0;
  }
  // Whether that top holds numbers of replica 0 alone, as a loss does, though its bottoms hold
  // those of every replica. The gradient that comes to it counts for each of them.
  virtual bool of_first_replica(int top) const {
    (void)top;
    return false;
  }
  // Whether backward is never possible (Accuracy, ArgMax): asking is an error in Caffe.
  virtual bool has_backward() const { return true; }
  // Whether its tops are its bottom's memory under other names, as Caffe's Split has it: what is
  // written to one of them is read from each.
  virtual bool shares_memory() const { return false; }
  // Whether its tops' number of rows depends on the bottoms' values: set_rows says it, and shapes
  // are inferred anew.
  virtual bool varies() const { return false; }
  virtual void set_rows(int64_t rows) { (void)rows; }
  // For layers that do more than compute their tops. held: the pass in which it ran begins again,
  // and what it gave there it gives once more; else a new one begins.
  virtual void hold(bool held) { (void)held; }
  // Loss layers make their own top when the prototxt names none (Caffe's AutoTopBlobs).
  virtual bool auto_top() const { return false; }

 protected:
  const Attributes& attributes() const { return spec_.attributes; }
  std::string title() const { return spec_.title(); }

 private:
  LayerSpec spec_;
  LayerContext context_;
};

// The registry: one readable list per family in layers/, joined in registry.cpp, and what programs
// add at run time. All of it from any thread.
using LayerMaker = std::function<std::unique_ptr<Layer>(LayerSpec, LayerContext)>;
struct LayerType {
  std::string type;  // as in the prototxt: "Convolution"
  LayerMaker make;
};
// Throws a config error that names near and known types.
std::unique_ptr<Layer> make_layer(LayerSpec spec, LayerContext context);
// Those of the library, then those that were added.
std::vector<std::string> layer_types();
// Throws a config error if there is a type of that name.
void register_layer(LayerType type);
// Takes an added type away again; layers that it made live on. False if there is none of that name.
bool unregister_layer(const std::string& type);

// For the lists: entry<ConvolutionLayer>("Convolution").
template <typename T>
LayerType entry(const char* type) {
  return {type, [](LayerSpec spec, LayerContext context) -> std::unique_ptr<Layer> {
            return std::make_unique<T>(std::move(spec), std::move(context));
          }};
}

}  // namespace pcc
