// DetectionOutput, MultiBoxLoss, DetectionEvaluate: layers of SSD. Source: the fork's files of
// those names.
#include <algorithm>
#include <limits>

#include "layers/families.h"
#include "layers/layer_base.h"
#include "layers/loss.h"

namespace pcc {
namespace {

// A layer that tells classes of boxes apart.
template <typename Base>
class ClassesLayer : public Base {
 public:
  using Base::Base;

 protected:
  int64_t read_classes(const Attributes& params) const {
    this->require(params.has("num_classes"), "num_classes is missing");
    return this->extent("num_classes", params.get_int("num_classes"), 1);
  }
};

// What DetectionOutput and MultiBoxLoss share: shifts (N, P * L * 4), confidences (N, P * classes)
// and priors (1, 2, P * 4), L places each prior may have.
template <typename Base>
class BoxLayer : public ClassesLayer<Base> {
 public:
  using ClassesLayer<Base>::ClassesLayer;

 protected:
  // in_target: the field that says whether shifts hold the variances already.
  template <typename Desc>
  void read_boxes(const Attributes& params, const char* in_target, Desc& desc) const {
    desc.classes = this->read_classes(params);
    desc.share_location = params.get_bool("share_location");
    const std::string code = params.get_string("code_type");
    desc.code = code == "CENTER_SIZE"   ? BoxCode::center_size
                : code == "CORNER_SIZE" ? BoxCode::corner_size
                                        : BoxCode::corner;
    desc.variance_in_target = params.get_bool(in_target);
  }
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
    read_boxes(params, "variance_encoded_in_target", desc_);
    desc_.background = params.get_int("background_label_id");
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
    read_boxes(params, "encode_variance_in_target", desc_);
    desc_.background = extent("background_label_id", params.get_int("background_label_id"), 0);
    desc_.agnostic = params.get_bool("map_object_to_agnostic");
    require(!desc_.agnostic || (desc_.classes == 2 && desc_.background == 0),
            "map_object_to_agnostic needs num_classes: 2 and background_label_id: 0");
    desc_.logistic = params.get_string("conf_loss_type") == "LOGISTIC";
    require(desc_.logistic || desc_.background < desc_.classes,
            "background_label_id: ", desc_.background, " is none of the ", desc_.classes,
            " classes");
    desc_.square = params.get_string("loc_loss_type") == "L2";
    desc_.location_weight = params.get_double("loc_weight");
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

// detections, truths -> rows (1, 1, classes + K, 5): EvaluationDesc.
class DetectionEvaluateLayer : public ClassesLayer<LayerBase> {
 public:
  DetectionEvaluateLayer(LayerSpec spec, LayerContext context)
      : ClassesLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("detection_evaluate_param");
    desc_.classes = read_classes(params);
    desc_.background = extent("background_label_id", params.get_int("background_label_id"), 0);
    desc_.overlap = params.get_double("overlap_threshold");
    require(desc_.overlap > 0, "overlap_threshold: ", desc_.overlap, " must be positive");
    desc_.use_difficult = params.get_bool("evaluate_difficult_gt");
    params.ignore("name_size_file");  // the feed's business
    desc_.sizes = this->context().feed.mean;
    if (desc_.sizes) read_resize(params.sub("resize_param"));
  }
  Arity arity() const override { return {2, 2, 1, 1, false}; }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, top_); }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    keep_replicas_apart(true, "judging boxes");
    for (size_t i = 0; i < 2; ++i) {
      const int64_t numbers = i == 0 ? 7 : 8;
      const Shape& list = bottoms[i];
      require(list.axes() == 4 && list[0] == 1 && list[1] == 1 && list[3] == numbers, "expected ",
              i == 0 ? "detections" : "truths", " (1, 1, boxes, ", numbers, "); got ",
              bottom_text(i, list));
    }
    top_ = Shape{1, 1, desc_.classes + bottoms[0][2], 5};
    return {top_};
  }

 private:
  void read_resize(const Attributes& resize) {
    for (const char* field : {"prob", "pad_mode", "pad_value", "interp_mode"}) resize.ignore(field);
    const auto side = [&](const char* name) { return static_cast<double>(resize.get_int(name)); };
    const double height = side("height"), width = side("width");
    const std::string mode = resize.get_string("resize_mode");
    if (mode == "FIT_LARGE_SIZE_AND_PAD") {
      require(height > 0 && width > 0, "resize_param needs a height and a width");
      desc_.padded_ratio = width / height;
    } else if (mode == "FIT_SMALL_SIZE" && side("height_scale") > 0 && side("width_scale") > 0) {
      desc_.scaled_height = side("height_scale");
      desc_.scaled_width = side("width_scale");
    }
  }

  EvaluationDesc desc_;
  Shape top_;
};

}  // namespace

std::vector<LayerType> ssd_layers() {
  return {
      entry<DetectionOutputLayer>("DetectionOutput"),
      entry<MultiBoxLossLayer>("MultiBoxLoss"),
      entry<DetectionEvaluateLayer>("DetectionEvaluate"),
  };
}

}  // namespace pcc
