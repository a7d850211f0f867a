// PriorBox: where SSD looks for objects. Source: the fork's prior_box_layer.cpp.
#include <algorithm>
#include <cmath>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// features (N, C, H, W), image (N, C, rows, columns) -> (1, 2, H * W * K * 4): for each position K
// boxes, as shares of the image, and their variances. No gradient.
class PriorBoxLayer : public LayerBase {
 public:
  PriorBoxLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("prior_box_param");
    read_sizes(params);
    clip_ = params.get_bool("clip");
    offset_ = params.get_double("offset");
    variances_ = params.doubles("variance");
    if (variances_.empty()) variances_ = {0.1};
    require(variances_.size() == 1 || variances_.size() == 4, "variance is given ",
            variances_.size(), " times; expected once, or 4 times");
    for (const double variance : variances_)
      require(variance > 0, "variance: ", variance, " must be positive");
    image_ = pair(params, "img_size", "img");
    step_ = pair(params, "step", "step");
  }
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  void lower(Lowering& to) const override {
    FillDesc fill;
    fill.filler.values = values_;
    to.simple(fill, {}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    for (size_t i = 0; i < 2; ++i) require_maps(i, bottoms[i]);
    keep_replicas_apart(true, "a set of boxes for all samples");
    const int64_t rows = bottoms[0][2], columns = bottoms[0][3];
    const auto boxes = static_cast<int64_t>(sizes_.size());
    require(rows * columns <= kMaxCount / (8 * boxes), "too many boxes for ",
            bottom_text(0, bottoms[0]));
    top_ = Shape{1, 2, rows * columns * boxes * 4};
    const Pair image = {image_.x > 0 ? image_.x : static_cast<double>(bottoms[1][3]),
                        image_.y > 0 ? image_.y : static_cast<double>(bottoms[1][2])};
    const Pair step = {step_.x > 0 ? step_.x : image.x / static_cast<double>(columns),
                       step_.y > 0 ? step_.y : image.y / static_cast<double>(rows)};
    std::vector<double> values;
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        for (const Pair& size : sizes_) {
          const double x = (static_cast<double>(column) + offset_) * step.x;
          const double y = (static_cast<double>(row) + offset_) * step.y;
          for (const double side : {(x - size.x / 2) / image.x, (y - size.y / 2) / image.y,
                                    (x + size.x / 2) / image.x, (y + size.y / 2) / image.y})
            values.push_back(clip_ ? std::clamp(side, 0.0, 1.0) : side);
        }
    for (size_t i = 0, count = values.size(); i < count; ++i)
      values.push_back(variances_[i % variances_.size()]);
    values_ = std::make_shared<const std::vector<double>>(std::move(values));
    return {top_};
  }

 private:
  struct Pair {
    double x = 0, y = 0;
  };
  // A positive setting for both sides, or one for each; 0: not set.
  Pair pair(const Attributes& params, const std::string& field, const std::string& prefix) const {
    const auto read = [&](const std::string& name) {
      const double value = !params.has(name) ? 0
                           : prefix == "img" ? static_cast<double>(params.get_int(name))
                                             : params.get_double(name);
      require(!params.has(name) || value > 0, name, ": ", value, " must be positive");
      return value;
    };
    const double both = read(field), x = read(prefix + "_w"), y = read(prefix + "_h");
    require(both == 0 || (x == 0 && y == 0), "give either ", field, " or ", prefix, "_h and ",
            prefix, "_w; not both");
    return both > 0 ? Pair{both, both} : Pair{x, y};
  }
  // The boxes' widths and heights: for each min_size a square, one between it and its max_size, and
  // the same area at each other ratio.
  void read_sizes(const Attributes& params) {
    const std::vector<double> least = params.doubles("min_size"), most = params.doubles("max_size");
    require(!least.empty(), "min_size is missing");
    require(most.empty() || most.size() == least.size(), "max_size is given ", most.size(),
            " times; expected none, or one for each of the ", least.size(), " min_sizes");
    const bool flip = params.get_bool("flip");
    std::vector<double> ratios{1};
    for (const double ratio : params.doubles("aspect_ratio")) {
      require(ratio > 0, "aspect_ratio: ", ratio, " must be positive");
      const auto same = [ratio](double other) { return std::abs(ratio - other) < 1e-6; };
      if (std::any_of(ratios.begin(), ratios.end(), same)) continue;
      ratios.push_back(ratio);
      if (flip) ratios.push_back(1 / ratio);
    }
    for (size_t i = 0; i < least.size(); ++i) {
      require(least[i] > 0, "min_size: ", least[i], " must be positive");
      sizes_.push_back({least[i], least[i]});
      if (!most.empty()) {
        require(most[i] > least[i], "max_size: ", most[i],
                " must be larger than min_size: ", least[i]);
        sizes_.push_back({std::sqrt(least[i] * most[i]), std::sqrt(least[i] * most[i])});
      }
      for (size_t r = 1; r < ratios.size(); ++r)
        sizes_.push_back({least[i] * std::sqrt(ratios[r]), least[i] / std::sqrt(ratios[r])});
    }
  }

  bool clip_ = false;
  double offset_ = 0.5;
  Pair image_, step_;
  std::vector<Pair> sizes_;
  std::vector<double> variances_;
  std::shared_ptr<const std::vector<double>> values_;
  Shape top_;
};

}  // namespace

std::vector<LayerType> prior_box_layers() { return {entry<PriorBoxLayer>("PriorBox")}; }

}  // namespace pcc
