// PriorBox, DetectionOutput, MultiBoxLoss: layers of SSD. Source: the fork's files of those names.
#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/families.h"
#include "layers/layer_base.h"
#include "layers/loss.h"

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

BoxCode code_of(const std::string& name) {
  if (name == "CENTER_SIZE") return BoxCode::center_size;
  return name == "CORNER_SIZE" ? BoxCode::corner_size : BoxCode::corner;
}

// What DetectionOutput and MultiBoxLoss share: shifts (N, P * L * 4), confidences (N, P * classes)
// and priors (1, 2, P * 4), L places each prior may have.
template <typename Base>
class BoxLayer : public Base {
 public:
  using Base::Base;

 protected:
  // P, once the first three bottoms agree.
  int64_t count_boxes(const std::vector<Shape>& bottoms, bool share_location,
                      int64_t classes) const {
    const Shape &shifts = bottoms[0], &scores = bottoms[1], &priors = bottoms[2];
    this->require(priors.axes() >= 3 && priors[1] == 2 && priors.count(2) % 4 == 0,
                  "expected boxes and variances (1, 2, 4 P); got ", this->bottom_text(2, priors));
    const int64_t boxes = priors.count(2) / 4, places = share_location ? 1 : classes;
    this->require(shifts.axes() >= 2 && shifts.count(1) == boxes * places * 4, "expected ",
                  boxes * places, " times 4 shifts a sample for ", boxes, " boxes; got ",
                  this->bottom_text(0, shifts));
    this->require(
        scores.axes() >= 2 && scores[0] == shifts[0] && scores.count(1) == boxes * classes,
        "expected ", boxes * classes, " confidences a sample for ", boxes, " boxes of ", classes,
        " classes; got ", this->bottom_text(1, scores));
    return boxes;
  }
};

// shifts, confidences, priors -> detections (1, 1, K, 7): DetectionDesc.
class DetectionOutputLayer : public BoxLayer<LayerBase> {
 public:
  DetectionOutputLayer(LayerSpec spec, LayerContext context)
      : BoxLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("detection_output_param");
    require(params.has("num_classes"), "num_classes is missing");
    desc_.classes = extent("num_classes", params.get_int("num_classes"), 1);
    desc_.share_location = params.get_bool("share_location");
    desc_.background = params.get_int("background_label_id");
    desc_.code = code_of(params.get_string("code_type"));
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
    const int64_t boxes = count_boxes(bottoms, desc_.share_location, desc_.classes);
    const int64_t each = desc_.top_k >= 0 ? std::min(desc_.top_k, boxes) : boxes;
    int64_t most = each * desc_.classes;
    if (desc_.keep_top_k >= 0) most = std::min(most, desc_.keep_top_k);
    top_ = Shape{1, 1, std::max<int64_t>(1, most) * bottoms[0][0], 7};
    return {top_};
  }

 private:
  DetectionDesc desc_;
  Shape top_;
};

// shifts, confidences, priors, truths -> loss: MultiBoxDesc.
class MultiBoxLossLayer : public BoxLayer<LossLayer> {
 public:
  MultiBoxLossLayer(LayerSpec spec, LayerContext context)
      : BoxLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("multibox_loss_param");
    require(params.has("num_classes"), "num_classes is missing");
    desc_.classes = extent("num_classes", params.get_int("num_classes"), 1);
    desc_.share_location = params.get_bool("share_location");
    desc_.background = extent("background_label_id", params.get_int("background_label_id"), 0);
    desc_.agnostic = params.get_bool("map_object_to_agnostic");
    require(!desc_.agnostic || (desc_.classes == 2 && desc_.background == 0),
            "map_object_to_agnostic needs num_classes: 2 and background_label_id: 0");
    desc_.logistic = params.get_string("conf_loss_type") == "LOGISTIC";
    desc_.square = params.get_string("loc_loss_type") == "L2";
    desc_.location_weight = params.get_double("loc_weight");
    desc_.code = code_of(params.get_string("code_type"));
    desc_.variance_in_target = params.get_bool("encode_variance_in_target");
    desc_.inside_only = params.get_bool("bp_inside");
    read_matching(params);
    read_mining(params);
    desc_.normalization = read_normalization(attributes().sub("loss_param"), Normalization::valid);
    // As the fork has it, the flags say what the loss itself is made of, too.
    const std::vector<bool> down = attributes().bools("propagate_down");
    desc_.locates = down.empty() || down[0];
    desc_.classifies = down.size() < 2 || down[1];
  }
  Arity arity() const override { return {4, 4, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom < 2; }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, Shape{}); }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "matching boxes");
    count_boxes(bottoms, desc_.share_location, desc_.classes);
    const Shape& truths = bottoms[3];
    require(truths.axes() > 0 && truths[truths.axes() - 1] == 8,
            "expected truths of 8 numbers each; got ", bottom_text(3, truths));
  }

 private:
  void read_matching(const Attributes& params) {
    desc_.bipartite = params.get_string("match_type") == "BIPARTITE";
    desc_.match_priors = params.get_bool("use_prior_for_matching");
    desc_.overlap = params.get_double("overlap_threshold");
    desc_.ignore_crossing = params.get_bool("ignore_cross_boundary_bbox");
    desc_.use_difficult = params.get_bool("use_difficult_gt");
  }
  void read_mining(const Attributes& params) {
    using Mining = MultiBoxDesc::Mining;
    const std::string type = params.get_string("mining_type");
    desc_.mining = type == "NONE"           ? Mining::none
                   : type == "HARD_EXAMPLE" ? Mining::hard
                                            : Mining::negatives;
    const bool mines = desc_.mining != Mining::none;
    // The old field only repeats it.
    require(!params.has("do_neg_mining") || params.get_bool("do_neg_mining") == mines,
            "do_neg_mining and mining_type: ", type, " contradict each other");
    require(!mines || desc_.share_location, "mining_type: ", type,
            " needs share_location; otherwise set mining_type: NONE");
    desc_.neg_pos_ratio = params.get_double("neg_pos_ratio");
    require(!mines || (desc_.neg_pos_ratio > 0 && desc_.neg_pos_ratio < 1e9),
            "neg_pos_ratio: ", desc_.neg_pos_ratio, " must be positive");
    desc_.neg_overlap = params.get_double("neg_overlap");
    desc_.sample_size = params.get_int("sample_size");
    require(!mines || desc_.sample_size > 0, "sample_size: ", desc_.sample_size,
            " must be positive");
    desc_.nms_priors = params.get_bool("use_prior_for_nms");
    if (!params.has("nms_param")) return;
    desc_.nms_threshold = params.sub("nms_param").get_double("nms_threshold");
    desc_.nms_most = params.sub("nms_param").get_int("top_k");
  }

  MultiBoxDesc desc_;
};

}  // namespace

std::vector<LayerType> ssd_layers() {
  return {
      entry<PriorBoxLayer>("PriorBox"),
      entry<DetectionOutputLayer>("DetectionOutput"),
      entry<MultiBoxLossLayer>("MultiBoxLoss"),
  };
}

}  // namespace pcc
