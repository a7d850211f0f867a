#include "graph/splits.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

namespace pcc {

namespace {

using Top = std::pair<size_t, size_t>;  // layer, index

std::string split_layer_name(const LayerSpec& layer, const std::string& blob, size_t index) {
  return blob + "_" + layer.name + "_" + std::to_string(index) + "_split";
}

std::string split_blob_name(const LayerSpec& layer, const std::string& blob, size_t index,
                            int reader) {
  return split_layer_name(layer, blob, index) + "_" + std::to_string(reader);
}

// As written: Caffe does not look at the weight that loss layers have of their own.
double loss_weight(const LayerSpec& layer, size_t top) {
  const std::vector<double> weights = layer.attributes.doubles("loss_weight");
  return top < weights.size() ? weights[top] : 0;
}

// Names that are close to `name`: a shared beginning, for the error about a missing bottom.
std::string made_so_far(const std::map<std::string, Top>& last, const std::string& name) {
  std::string near;
  int count = 0;
  for (const auto& [blob, top] : last)
    if (count < 5 && !name.empty() && blob.compare(0, 2, name, 0, 2) == 0) {
      near += (count++ ? ", " : "") + blob;
    }
  return near.empty() ? "" : concat("; near names: ", near);
}

}  // namespace

std::vector<LayerSpec> insert_splits(const std::vector<LayerSpec>& layers) {
  std::map<std::string, Top> last;                  // blob -> the top that made it last
  std::map<std::pair<size_t, size_t>, Top> source;  // (layer, bottom) -> top
  std::map<Top, int> readers;
  for (size_t l = 0; l < layers.size(); ++l) {
    for (size_t b = 0; b < layers[l].bottoms.size(); ++b) {
      const auto found = last.find(layers[l].bottoms[b]);
      PCC_CONFIG(found != last.end(), layers[l].title(), ": bottom '", layers[l].bottoms[b],
                 "' is not the top of any earlier layer of this phase",
                 made_so_far(last, layers[l].bottoms[b]),
                 ". Check the spelling, and the include rules of the layer that makes it");
      source[{l, b}] = found->second;
      ++readers[found->second];
    }
    for (size_t t = 0; t < layers[l].tops.size(); ++t) last[layers[l].tops[t]] = {l, t};
  }
  std::map<Top, bool> loss;
  for (auto& [top, count] : readers)
    if (count > 0 && loss_weight(layers[top.first], top.second) != 0) {
      loss[top] = true;
      ++count;
    }

  std::vector<LayerSpec> out;
  std::map<Top, int> used;
  for (size_t l = 0; l < layers.size(); ++l) {
    LayerSpec layer = layers[l];
    for (size_t b = 0; b < layer.bottoms.size(); ++b) {
      const Top top = source[{l, b}];
      if (readers[top] > 1)
        layer.bottoms[b] =
            split_blob_name(layers[top.first], layer.bottoms[b], top.second, used[top]++);
    }
    std::vector<LayerSpec> splits;
    for (size_t t = 0; t < layers[l].tops.size(); ++t) {
      const Top top{l, t};
      const auto count = readers.find(top);
      if (count == readers.end() || count->second <= 1) continue;
      LayerSpec split;
      split.type = "Split";
      split.name = split_layer_name(layers[l], layers[l].tops[t], t);
      split.where = layers[l].where;
      split.bottoms.push_back(layers[l].tops[t]);
      for (int reader = 0; reader < count->second; ++reader)
        split.tops.push_back(split_blob_name(layers[l], layers[l].tops[t], t, reader));
      if (loss.count(top)) {
        // The weight moves to the Split's first top, so that the loss is counted once.
        for (int reader = 0; reader < count->second; ++reader)
          split.attributes.append("loss_weight", reader ? 0.0 : loss_weight(layers[l], t));
        std::vector<double> weights;
        for (size_t i = 0; i < layers[l].tops.size(); ++i)
          weights.push_back(i == t ? 0 : loss_weight(layers[l], i));
        layer.attributes.clear("loss_weight");
        for (const double weight : weights) layer.attributes.append("loss_weight", weight);
        used[top] = 1;
      }
      splits.push_back(std::move(split));
    }
    out.push_back(std::move(layer));
    for (LayerSpec& split : splits) out.push_back(std::move(split));
  }
  return out;
}

}  // namespace pcc
