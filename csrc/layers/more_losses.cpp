// EuclideanLoss, SmoothL1Loss, ContrastiveLoss, HingeLoss, MultinomialLogisticLoss, InfogainLoss,
// SigmoidCrossEntropyLoss. Each is a scalar, the mean over the samples unless it says otherwise.
// Source: Caffe's files of those names, loss_layer.cpp; SmoothL1Loss is py-faster-rcnn's.
#include "layers/families.h"
#include "layers/loss.h"

namespace pcc {
namespace {

// sum of (a - b)^2 / (2 N). Both bottoms get a gradient.
class EuclideanLossLayer : public LossLayer {
 public:
  using LossLayer::LossLayer;
  void lower(Lowering& to) const override {
    to.simple(DistanceLossDesc{.groups = replicas()}, bottoms(to), {}, Shape{});
  }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].count(1) == bottoms[1].count(1), "bottoms must have samples of one size; ",
            bottom_text(0, bottoms[0]), " and ", bottom_text(1, bottoms[1]), " do not");
  }
};

// a, b [, inside [, outside]], all of one shape: SmoothLossDesc. a and b get a gradient.
class SmoothL1LossLayer : public LossLayer {
 public:
  SmoothL1LossLayer(LayerSpec spec, LayerContext context)
      : LossLayer(std::move(spec), std::move(context)) {
    desc_.sigma = attributes().sub("smooth_l1_loss_param").get_double("sigma");
    require(desc_.sigma > 0 && desc_.sigma < 1e9, "sigma: ", desc_.sigma, " must be positive");
    desc_.groups = replicas();
  }
  Arity arity() const override { return {2, 4, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom < 2; }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, Shape{}); }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    for (size_t i = 1; i < bottoms.size(); ++i)
      require(bottoms[i].count() == bottoms[0].count() && bottoms[i][0] == bottoms[0][0],
              "bottoms must have one shape; ", bottom_text(0, bottoms[0]), " and ",
              bottom_text(i, bottoms[i]), " do not");
  }

 private:
  SmoothLossDesc desc_;
};

// a, b (N, D), similar (N): pairs that are similar are drawn together, others pushed margin apart.
class ContrastiveLossLayer : public LossLayer {
 public:
  ContrastiveLossLayer(LayerSpec spec, LayerContext context)
      : LossLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("contrastive_loss_param");
    desc_.kind = params.get_bool("legacy_version") ? DistanceLossDesc::Kind::legacy
                                                   : DistanceLossDesc::Kind::contrastive;
    desc_.margin = params.get_double("margin");
    desc_.groups = replicas();
  }
  Arity arity() const override { return {3, 3, 1, 1, false}; }
  bool differentiable(int bottom) const override { return bottom < 2; }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, Shape{}); }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    for (size_t i = 0; i < 2; ++i)
      require(bottoms[i].axes() >= 2 && bottoms[i].count() == bottoms[i][0] * bottoms[i][1],
              "expected a bottom (N, C); got ", bottom_text(i, bottoms[i]));
    require(bottoms[0][1] == bottoms[1][1], "bottoms must have samples of one size; ",
            bottom_text(0, bottoms[0]), " and ", bottom_text(1, bottoms[1]), " do not");
    require(bottoms[2].count() == bottoms[0][0], "expected one number for each of the ",
            bottoms[0][0], " pairs; got ", bottom_text(2, bottoms[2]));
  }

 private:
  DistanceLossDesc desc_;
};

// A class for each sample.
class ClassLossLayer : public LossLayer {
 public:
  using LossLayer::LossLayer;
  bool differentiable(int bottom) const override { return bottom == 0; }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    require(bottoms[1].count() == bottoms[0][0], "expected one label for each of the ",
            bottoms[0][0], " samples; got ", bottom_text(1, bottoms[1]));
  }
};

// norm: L1: sum of max(0, 1 - t x), t 1 for the label's class and -1 for the others; L2: of
// squares.
class HingeLossLayer : public ClassLossLayer {
 public:
  HingeLossLayer(LayerSpec spec, LayerContext context)
      : ClassLossLayer(std::move(spec), std::move(context)) {
    desc_.squared = attributes().sub("hinge_loss_param").get_string("norm") == "L2";
    desc_.groups = replicas();
  }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, Shape{}); }

 private:
  HingeLossDesc desc_;
};

// -log of the label's probability; the bottom holds probabilities.
class MultinomialLossLayer : public ClassLossLayer {
 public:
  using ClassLossLayer::ClassLossLayer;
  void lower(Lowering& to) const override {
    to.simple(LogLossDesc{replicas()}, bottoms(to), {}, Shape{});
  }
};

// Targets of 0 to 1 for each score; a target that is loss_param.ignore_label does not count.
// loss_param.normalization: BATCH_SIZE unless set.
class SigmoidLossLayer : public LossLayer {
 public:
  SigmoidLossLayer(LayerSpec spec, LayerContext context)
      : LossLayer(std::move(spec), std::move(context)) {
    read_loss(desc_, Normalization::batch_size);
    desc_.groups = replicas();
  }
  bool differentiable(int bottom) const override { return bottom == 0; }
  void lower(Lowering& to) const override { to.simple(desc_, bottoms(to), {}, Shape{}); }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    require(bottoms[0].count() == bottoms[1].count(), "expected a target for each score; ",
            bottom_text(0, bottoms[0]), " and ", bottom_text(1, bottoms[1]),
            " differ in their number");
  }

 private:
  SigmoidLossDesc desc_;
};

// scores, labels [, gains (C, C)] -> loss [, probabilities]: -log of every class's probability
// times the gain that the label has from it. Gains that are no bottom come from the file
// infogain_loss_param.source.
class InfogainLossLayer : public LossLayer {
 public:
  InfogainLossLayer(LayerSpec spec, LayerContext context)
      : LossLayer(std::move(spec), std::move(context)) {
    const Attributes& params = attributes().sub("infogain_loss_param");
    params.ignore("source");
    axis_ = params.get_int("axis");
    read_loss(desc_.scores, Normalization::valid);
    desc_.scores.groups = replicas();
  }
  Arity arity() const override { return {2, 3, 1, 2, false}; }
  bool differentiable(int bottom) const override { return bottom == 0; }
  bool of_first_replica(int top) const override { return top == 0; }

  void lower(Lowering& to) const override {
    std::vector<ValueId> ins = bottoms(to);
    if (ins.size() == 2) {
      FillDesc fill;
      const std::vector<float>& gains = *context().feed.mean;
      fill.filler.values = std::make_shared<const std::vector<double>>(gains.begin(), gains.end());
      ins.push_back(to.op(fill, {}, {}, {Shape{classes_, classes_}})[0]);
    }
    std::vector<Shape> outs{Shape{}};
    if (top_count() > 1) outs.push_back(to.shape(ins[0]));
    to.tops(to.op(desc_, ins, {}, outs));
  }

 protected:
  void check(const std::vector<Shape>& bottoms) override {
    const Shape& scores = bottoms[0];
    desc_.scores.axis = axis_in(scores, axis_, "axis");
    keep_replicas_apart(desc_.scores.axis == 0, "axis: 0");
    classes_ = scores[desc_.scores.axis];
    require(bottoms[1].count() * classes_ == scores.count(),
            "expected one label for each prediction of ", bottom_text(0, scores),
            " with its classes on axis ", desc_.scores.axis, "; got ", bottom_text(1, bottoms[1]));
    const bool given = bottoms.size() > 2;
    require(given || context().feed.mean, "needs its gains as a third bottom, or the file of them ",
            "as infogain_loss_param { source: ... }");
    const int64_t gains =
        given ? bottoms[2].count() : static_cast<int64_t>(context().feed.mean->size());
    require(gains == classes_ * classes_, "expected ", classes_, "x", classes_, " gains for ",
            bottom_text(0, scores), "; got ", gains);
  }

 private:
  int64_t axis_ = 1, classes_ = 1;
  InfogainLossDesc desc_;
};

}  // namespace

std::vector<LayerType> more_loss_layers() {
  return {
      entry<EuclideanLossLayer>("EuclideanLoss"),
      entry<SmoothL1LossLayer>("SmoothL1Loss"),
      entry<ContrastiveLossLayer>("ContrastiveLoss"),
      entry<HingeLossLayer>("HingeLoss"),
      entry<MultinomialLossLayer>("MultinomialLogisticLoss"),
      entry<InfogainLossLayer>("InfogainLoss"),
      entry<SigmoidLossLayer>("SigmoidCrossEntropyLoss"),
  };
}

}  // namespace pcc
