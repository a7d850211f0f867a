// ROIPooling, Proposal: layers of the R-CNNs. Source: Fast and Faster R-CNN's files of those names.
#include <cmath>

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
    require_maps(0, x);
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

// scores, shifts, image -> boxes (R, 5) [, scores (R, 1)]: ProposalDesc. R is known when the net
// runs; until it has, post_nms_topn.
class ProposalLayer : public LayerBase {
 public:
  ProposalLayer(LayerSpec spec, LayerContext context)
      : LayerBase(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("proposal_param");
    desc_.stride = extent("feat_stride", params.get_int("feat_stride"), 1);
    desc_.min_size = static_cast<double>(extent("min_size", params.get_int("min_size"), 0));
    desc_.nms_threshold = params.get_double("nms_thresh");
    desc_.pre_nms = extent("pre_nms_topn", params.get_int("pre_nms_topn"), 1);
    desc_.post_nms = extent("post_nms_topn", params.get_int("post_nms_topn"), 1);
    read_anchors(params);
  }
  Arity arity() const override { return {3, 3, 1, 2, false}; }
  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }
  bool varies() const override { return true; }
  void set_rows(int64_t rows) override { rows_ = rows; }
  void lower(Lowering& to) const override { to.tops(to.op(desc_, bottoms(to), {}, tops())); }

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
    return tops();
  }

 private:
  std::vector<Shape> tops() const {
    const int64_t rows = rows_ < 0 ? desc_.post_nms : rows_;
    std::vector<Shape> tops{Shape{rows, 5}};
    if (top_count() > 1) tops.push_back(Shape{rows, 1});
    return tops;
  }
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
  int64_t rows_ = -1;
};

}  // namespace

std::vector<LayerType> detection_layers() {
  return {
      entry<RoiPoolingLayer>("ROIPooling"),
      entry<ProposalLayer>("Proposal"),
  };
}

}  // namespace pcc
