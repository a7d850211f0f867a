// ROIPooling, Proposal, PriorBox, DetectionOutput: layers of the detection forks. Source: Fast and
// Faster R-CNN's and SSD's files of those names.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/families.h"
#include "layers/layer_base.h"

namespace pcc {
namespace {

// x (N, C, H, W), boxes (R, 5): sample, x1, y1, x2, y2 -> y (R, C, pooled_h, pooled_w): maxima of
// equal parts of each box, whose coordinates count times spatial_scale on x.
class RoiPoolingLayer : public LayerBase {
 public:
  RoiPoolingLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("roi_pooling_param");
    rows_ = extent("pooled_h", params.get_int("pooled_h"), 1);
    columns_ = extent("pooled_w", params.get_int("pooled_w"), 1);
    desc_.spatial_scale = params.get_double("spatial_scale");
  }
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom == 0; }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0), to.bottom(1)}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    const Shape &x = bottoms[0], &boxes = bottoms[1];
    keep_replicas_apart(true, "choosing boxes");
    require(x.axes() == 4, "expected a bottom of 4 axes (N, C, H, W); got ", bottom_text(0, x));
    require(boxes.axes() >= 2 && boxes.count(1) == 5, "expected boxes (R, 5); got ",
            bottom_text(1, boxes));
    top_ = Shape{boxes[0], x[1], rows_, columns_};
    return {top_};
  }

 private:
  RoiPoolDesc desc_;
  int64_t rows_ = 1, columns_ = 1;
  Shape top_;
};

// Boxes around (x, y), of a width and a height.
void add_box(double x, double y, double width, double height, std::vector<double>& boxes) {
  boxes.insert(boxes.end(), {x - (width - 1) / 2, y - (height - 1) / 2, x + (width - 1) / 2,
                             y + (height - 1) / 2});
}

// scores, shifts, image -> boxes (post_nms_topn, 5) [, scores (post_nms_topn, 1)]: ProposalDesc.
class ProposalLayer : public LayerBase {
 public:
  ProposalLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("proposal_param");
    desc_.stride = extent("feat_stride", params.get_int("feat_stride"), 1);
    desc_.min_size = static_cast<double>(extent("min_size", params.get_int("min_size"), 0));
    desc_.nms_threshold = params.get_double("nms_thresh");
    desc_.pre_nms = extent("pre_nms_topn", params.get_int("pre_nms_topn"), 1);
    most_ = extent("post_nms_topn", params.get_int("post_nms_topn"), 1);
    read_anchors(params);
  }
  Arity arity() const override { return {3, 3, 1, 2, false}; }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  void lower(Lowering& to) const override {
    std::vector<Shape> outs{Shape{most_, 5}};
    if (top_count() > 1) outs.push_back(Shape{most_, 1});
    const std::vector<ValueId> values =
        to.op(desc_, {to.bottom(0), to.bottom(1), to.bottom(2)}, {}, outs);
    for (size_t i = 0; i < values.size(); ++i) to.top(static_cast<int>(i), values[i]);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "choosing boxes");
    const Shape &scores = bottoms[0], &shifts = bottoms[1];
    const auto anchors = static_cast<int64_t>(desc_.anchors.size()) / 4;
    require(scores.axes() == 4 && scores[0] == 1 && scores[1] == 2 * anchors,
            "expected scores (1, ", 2 * anchors, ", H, W) for ", anchors, " anchors; got ",
            bottom_text(0, scores));
    require(shifts == Shape({1, 4 * anchors, scores[2], scores[3]}), "expected shifts (1, ",
            4 * anchors, ", ", scores[2], ", ", scores[3], "); got ", bottom_text(1, shifts));
    require(bottoms[2].count() >= 3, "expected an image's height, width and scale; got ",
            bottom_text(2, bottoms[2]));
    if (top_count() > 1) return {Shape{most_, 5}, Shape{most_, 1}};
    return {Shape{most_, 5}};
  }

 private:
  // As generate_anchors.py: each ratio of a square's area, rounded, at each scale.
  void read_anchors(const Attributes& params) {
    std::vector<double> ratios = params.doubles("ratio"), scales = params.doubles("scale");
    if (ratios.empty()) ratios = {0.5, 1, 2};
    if (scales.empty()) scales = {8, 16, 32};
    const auto base = static_cast<double>(extent("base_size", params.get_int("base_size"), 1));
    for (const double ratio : ratios) {
      require(ratio > 0, "ratio: ", ratio, " must be positive");
      const double width = std::nearbyint(std::sqrt(base * base / ratio));
      const double height = std::nearbyint(width * ratio);
      for (const double scale : scales)
        add_box((base - 1) / 2, (base - 1) / 2, width * scale, height * scale, desc_.anchors);
    }
  }

  ProposalDesc desc_;
  int64_t most_ = 300;
};

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
    for (size_t i = 0; i < 2; ++i)
      require(bottoms[i].axes() == 4, "expected a bottom of 4 axes (N, C, H, W); got ",
              bottom_text(i, bottoms[i]));
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
    std::vector<double> ratios{1};
    for (const double ratio : params.doubles("aspect_ratio")) {
      require(ratio > 0, "aspect_ratio: ", ratio, " must be positive");
      const auto same = [ratio](double other) { return std::abs(ratio - other) < 1e-6; };
      if (std::any_of(ratios.begin(), ratios.end(), same)) continue;
      ratios.push_back(ratio);
      if (params.get_bool("flip")) ratios.push_back(1 / ratio);
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

// shifts, confidences, priors -> detections (1, 1, K, 7): DetectionDesc.
class DetectionOutputLayer : public LayerBase {
 public:
  DetectionOutputLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("detection_output_param");
    require(params.has("num_classes"), "num_classes is missing");
    desc_.classes = extent("num_classes", params.get_int("num_classes"), 1);
    desc_.share_location = params.get_bool("share_location");
    desc_.background = params.get_int("background_label_id");
    const std::string code = params.get_string("code_type");
    desc_.code = code == "CENTER_SIZE"   ? DetectionDesc::Code::center_size
                 : code == "CORNER_SIZE" ? DetectionDesc::Code::corner_size
                                         : DetectionDesc::Code::corner;
    desc_.variance_in_target = params.get_bool("variance_encoded_in_target");
    desc_.keep_top_k = params.get_int("keep_top_k");
    if (params.has("confidence_threshold"))
      desc_.least_confidence = params.get_double("confidence_threshold");
    else
      desc_.least_confidence = -std::numeric_limits<float>::max();
    const Attributes& nms = params.sub("nms_param");
    desc_.nms_threshold = nms.get_double("nms_threshold");
    desc_.eta = nms.get_double("eta");
    require(desc_.nms_threshold >= 0, "nms_threshold: ", desc_.nms_threshold,
            " must not be negative");
    require(desc_.eta > 0 && desc_.eta <= 1, "eta: ", desc_.eta,
            " is out of range; expected (0, 1]");
    if (nms.has("top_k")) desc_.top_k = nms.get_int("top_k");
    for (const char* field : {"save_output_param", "visualize", "visualize_threshold", "save_file"})
      params.ignore(field);
  }
  Arity arity() const override { return {3, 5, 1, 1, false}; }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  void lower(Lowering& to) const override {
    to.simple(desc_, {to.bottom(0), to.bottom(1), to.bottom(2)}, {}, top_);
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "choosing boxes");
    const Shape &shifts = bottoms[0], &scores = bottoms[1], &priors = bottoms[2];
    require(priors.axes() >= 3 && priors[1] == 2 && priors.count(2) % 4 == 0,
            "expected boxes and variances (1, 2, 4 P); got ", bottom_text(2, priors));
    const int64_t boxes = priors.count(2) / 4;
    const int64_t places = desc_.share_location ? 1 : desc_.classes;
    require(shifts.axes() >= 2 && shifts.count(1) == boxes * places * 4, "expected ",
            boxes * places, " times 4 shifts a sample for ", boxes, " boxes; got ",
            bottom_text(0, shifts));
    require(
        scores.axes() >= 2 && scores[0] == shifts[0] && scores.count(1) == boxes * desc_.classes,
        "expected ", boxes * desc_.classes, " confidences a sample for ", boxes, " boxes of ",
        desc_.classes, " classes; got ", bottom_text(1, scores));
    const int64_t each = desc_.top_k >= 0 ? std::min(desc_.top_k, boxes) : boxes;
    int64_t most = each * desc_.classes;
    if (desc_.keep_top_k >= 0) most = std::min(most, desc_.keep_top_k);
    top_ = Shape{1, 1, std::max<int64_t>(1, most * shifts[0]), 7};
    return {top_};
  }

 private:
  DetectionDesc desc_;
  Shape top_;
};

}  // namespace

std::vector<LayerType> detection_layers() {
  return {
      entry<RoiPoolingLayer>("ROIPooling"),
      entry<ProposalLayer>("Proposal"),
      entry<PriorBoxLayer>("PriorBox"),
      entry<DetectionOutputLayer>("DetectionOutput"),
  };
}

}  // namespace pcc
