// Builder: from layer specs to layers, parameters, gradient flow and a Program, by the rules of
// Caffe's Net::Init.
#pragma once

#include <exception>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/program.h"

namespace pcc {

struct NetOptions {
  bool train = true;
  std::string backend;     // "" : the fastest; "cuda:1": device 1 of that backend
  bool described = false;  // made to be looked at, for a device that need not be there
  DType dtype = DType::f32;
  Precision precision = Precision::usual;
  // Every blob has memory of its own, data and diff, and can be looked at. Otherwise blobs share
  // memory over their lifetimes, all but those named in `keep`.
  bool keep_blobs = true;
  std::vector<std::string> keep;
  bool fuse = false;  // layers in a row may run as one op, without the blobs between: not kept ones
  int64_t replicas = 1;
  // Where so many processes train together: the number of this one, which has the replicas from
  // rank * replicas on, of ranks * replicas in all.
  int64_t rank = 0, ranks = 1;
  uint64_t seed = 1;
  uint32_t index = 0;  // RandomStream::net: 0 the train net, 1 + i test net i
  bool force_backward = false;
  // Data layers give so many batches one behind the other in each pass.
  int64_t batches = 1;
  // How many batches a test takes in one pass at most, where that comes to the same (merge.h). 0:
  // as many as the device gains by.
  int64_t merge = 0;
};

// A named blob: the versions that in-place layers made of it, oldest first.
struct BlobInfo {
  struct Version {
    int layer = -1, value = -1;
    Shape shape;
  };
  std::string name;
  std::vector<Version> versions;
  int memory_of = -1;  // the blob whose memory it is under another name; its own: itself
  // Holds numbers of replica 0 alone, as losses do, and not the samples of each on axis 0.
  bool first_replica = false;
  // How many equal parts it holds for so many replicas: replica 0's comes first.
  int64_t parts(int64_t replicas) const { return first_replica ? 1 : replicas; }
  const Shape& shape() const { return versions.back().shape; }
};

// What is known of each layer once the net is built.
struct LayerInfo {
  std::unique_ptr<Layer> layer;
  std::vector<std::string> bottoms, tops;
  std::vector<int> bottom_blobs, top_blobs;  // into Built::blobs
  std::vector<int> bottom_values, top_values;
  std::vector<bool> bottom_need_backward;
  bool need_backward = false;
  std::vector<double> loss_weights;  // per top
  std::vector<int> params;           // into Program::params
};

// Records that a layer takes at every pass, in so many batches.
struct FeedUse {
  std::shared_ptr<RecordFeed> records;
  int64_t samples = 0, batches = 1;
  int layer = -1;
};

struct Built {
  std::vector<LayerInfo> layers;
  std::vector<BlobInfo> blobs;
  std::vector<int> inputs, outputs;   // blobs: fed from outside; read by nobody
  std::vector<std::string> warnings;  // attributes nobody read, and the like
  std::vector<FeedUse> feeds;
  Program program;
  // Of a reshape: the first layer that does not fit the shapes before it, and why; -1: all do. It
  // and those behind it are not lowered: their tops are values of the shapes that they had.
  int unfit = -1;
  std::exception_ptr why;
};

// Makes layers and their parameters' declarations. Shapes of Input blobs may be overridden by name
// (Net::reshape).
void make_layers(const std::vector<LayerSpec>& specs, const std::map<std::string, LayerFeed>& feeds,
                 const NetOptions& options, Built& built);
// Infers all shapes, resolves gradients and lowers into built.program. Called again on a reshape;
// parameters must keep their shapes. What does not fit is an error the first time, else
// built.unfit.
void lower_layers(const NetOptions& options, const std::map<std::string, Shape>& input_shapes,
                  Built& built);

}  // namespace pcc
