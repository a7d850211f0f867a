// What losses share: a scalar top with a weight, which they make themselves where the prototxt
// names none; and loss_param. Source: loss_layer.cpp.
#pragma once

#include <string>
#include <vector>

#include "layers/layer_base.h"

namespace pcc {

inline Normalization normalization_of(const std::string& name) {
  if (name == "FULL") return Normalization::full;
  if (name == "BATCH_SIZE") return Normalization::batch_size;
  if (name == "NONE") return Normalization::none;
  return Normalization::valid;
}

// Of a loss_param. The old field `normalize` (true: VALID, false: BATCH_SIZE) is unread where
// normalization is set; `unset`: where neither is.
inline Normalization read_normalization(const Attributes& params, Normalization unset) {
  if (params.has("normalization")) return normalization_of(params.get_string("normalization"));
  if (!params.has("normalize")) return unset;
  return params.get_bool("normalize") ? Normalization::valid : Normalization::batch_size;
}

// Reads loss_param into a descriptor.
template <typename Desc>
void read_loss_param(const Attributes& params, Normalization unset, Desc& desc) {
  desc.has_ignore_label = params.has("ignore_label");
  if (desc.has_ignore_label) desc.ignore_label = params.get_int("ignore_label");
  desc.normalization = read_normalization(params, unset);
}

// Bottoms of one batch -> loss (scalar) [, more].
class LossLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  double default_loss_weight(int top) const override { return top == 0 ? 1 : 0; }
  bool of_first_replica(int) const override { return true; }
  bool auto_top() const override { return true; }

 protected:
  virtual void check(const std::vector<Shape>& bottoms) = 0;

  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    for (size_t i = 0; i < 2; ++i)
      require(bottoms[i].axes() > 0 && bottoms[i][0] == bottoms[0][0],
              "bottoms must agree on axis 0; ", bottom_text(0, bottoms[0]), " and ",
              bottom_text(1, bottoms[1]), " do not");
    require(bottoms[0][0] % replicas() == 0, "the batch of ", bottom_text(0, bottoms[0]),
            " does not divide into ", replicas(), " replicas");
    check(bottoms);
    std::vector<Shape> tops{Shape{}};
    if (top_count() > 1) tops.push_back(bottoms[0]);
    return tops;
  }

  template <typename Desc>
  void read_loss(Desc& desc, Normalization unset) const {
    read_loss_param(attributes().sub("loss_param"), unset, desc);
  }
};

}  // namespace pcc
