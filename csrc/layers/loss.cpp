// SoftmaxWithLoss and Accuracy. Source: Caffe's softmax_loss_layer.cpp, loss_layer.cpp,
// accuracy_layer.cpp.
#include "layers/loss.h"

#include "layers/families.h"

namespace pcc {
namespace {

// Scores (outer.., C, inner..) with the classes on one axis, and one label for each (outer, inner).
class LabelledLayer : public LayerBase {
 public:
  using LayerBase::LayerBase;
  Arity arity() const override { return {2, 2, 1, 2, false}; }
  bool differentiable(int bottom) const override { return bottom == 0; }
  bool of_first_replica(int) const override { return true; }

 protected:
  // Checks the labels against the scores; returns the axis of the classes.
  int class_axis(const std::vector<Shape>& bottoms, int64_t axis_field,
                 const std::string& field) const {
    const Shape &scores = bottoms[0], &labels = bottoms[1];
    const int axis = axis_in(scores, axis_field, field);
    keep_replicas_apart(axis == 0, field + ": 0");
    require(scores[0] % replicas() == 0, "the batch of ", bottom_text(0, scores),
            " does not divide into ", replicas(), " replicas");
    const int64_t predictions = scores.count(0, axis) * scores.count(axis + 1);
    require(labels.count() == predictions, "expected ", predictions,
            " labels, one for each prediction of ", bottom_text(0, scores),
            " with its classes on axis ", axis, "; got ", bottom_text(1, labels));
    return axis;
  }
};

// scores, labels -> loss (scalar) [, probabilities, like the scores].
//   loss = sum of -log(max(p[label], FLT_MIN)) / normalizer, p the softmax of the scores along
//   softmax_param.axis; labels equal to loss_param.ignore_label do not count. The normalizer, by
//   loss_param.normalization: FULL all predictions, VALID those not ignored (1 at least),
//   BATCH_SIZE the samples, NONE 1. The old field `normalize` (true: VALID, false: BATCH_SIZE) is
//   unread where normalization is set.
class SoftmaxLossLayer : public LabelledLayer {
 public:
  SoftmaxLossLayer(LayerSpec spec, LayerContext context)
      : LabelledLayer(std::move(spec), std::move(context)) {
    read_loss_param(attributes().sub("loss_param"), Normalization::valid, desc_);
    desc_.groups = replicas();
    const Attributes& softmax = attributes().sub("softmax_param");
    axis_ = softmax.get_int("axis");
  }

  double default_loss_weight(int top) const override { return top == 0 ? 1 : 0; }
  // The probabilities are those of every sample.
  bool of_first_replica(int top) const override { return top == 0; }
  bool auto_top() const override { return true; }

  void lower(Lowering& to) const override {
    std::vector<Shape> outs{Shape{}};
    if (top_count() > 1) outs.push_back(to.shape(to.bottom(0)));
    to.tops(to.op(desc_, {to.bottom(0), to.bottom(1)}, {}, outs));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    desc_.axis = class_axis(bottoms, axis_, "softmax_param.axis");
    require(bottoms[1].axes() > 0 && bottoms[0][0] == bottoms[1][0],
            "scores and labels must agree on axis 0; ", bottom_text(0, bottoms[0]), " and ",
            bottom_text(1, bottoms[1]), " do not");
    if (top_count() > 1) return {Shape{}, bottoms[0]};
    return {Shape{}};
  }

 private:
  SoftmaxLossDesc desc_;
  int64_t axis_ = 1;
};

// scores, labels -> share of labels among the top_k scores (scalar) [, the same for each class
// (C)]. A wrong class that ties with the true one counts as better. Labels equal to ignore_label do
// not count. No gradient.
class AccuracyLayer : public LabelledLayer {
 public:
  AccuracyLayer(LayerSpec spec, LayerContext context)
      : LabelledLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("accuracy_param");
    desc_.top_k = extent("top_k", params.get_int("top_k"), 1);
    desc_.has_ignore_label = params.has("ignore_label");
    if (desc_.has_ignore_label) desc_.ignore_label = params.get_int("ignore_label");
    desc_.groups = replicas();
    axis_ = params.get_int("axis");
  }

  bool differentiable(int) const override { return false; }
  bool has_backward() const override { return false; }

  void lower(Lowering& to) const override {
    std::vector<Shape> outs{Shape{}};
    if (top_count() > 1) outs.push_back(Shape{to.shape(to.bottom(0))[desc_.axis]});
    to.tops(to.op(desc_, {to.bottom(0), to.bottom(1)}, {}, outs));
  }

 protected:
  std::vector<Shape> infer(const std::vector<Shape>& bottoms) override {
    desc_.axis = class_axis(bottoms, axis_, "axis");
    const int64_t classes = bottoms[0][desc_.axis];
    require(desc_.top_k <= classes, "top_k: ", desc_.top_k, " exceeds the ", classes,
            " classes of ", bottom_text(0, bottoms[0]));
    if (top_count() > 1) return {Shape{}, Shape{classes}};
    return {Shape{}};
  }

 private:
  AccuracyDesc desc_;
  int64_t axis_ = 1;
};

}  // namespace

std::vector<LayerType> loss_layers() {
  return {
      entry<SoftmaxLossLayer>("SoftmaxWithLoss"),
      entry<AccuracyLayer>("Accuracy"),
  };
}

}  // namespace pcc
