// Descriptors of detection's ops, which work on boxes. How to read them: ops/desc.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/loss_desc.h"

namespace pcc {

// x (N, C, H, W), rois (R, 5): sample, x1, y1, x2, y2 -> y (R, C, P, Q): the maximum of each of P x
// Q parts of the box, times spatial_scale on x, both ends included; 0 of an empty part. Only x gets
// a gradient. A sample outside [0, N) raises a data error.
struct RoiPoolDesc {
  static constexpr const char* kName = "roi pool";
  double spatial_scale = 1;
};

// Faster R-CNN's proposals. ins: scores (1, 2 A, H, W), the second half those of objects; shifts
// (1, 4 A, H, W); image (1, 3): height, width, scale -> rois (R, 5) [, scores (R, 1)], best first;
// where there is none at all, one row of zeros. Throws RowsChanged where R, at most post_nms, is
// not the outputs' number of rows. No gradient.
struct ProposalDesc {
  static constexpr const char* kName = "proposal";
  std::vector<double> anchors;  // A boxes of x1, y1, x2, y2
  int64_t stride = 16;
  double min_size = 16, nms_threshold = 0.7;
  int64_t pre_nms = 6000, post_nms = 300;
};

// How a box is told by its shifts from another, its prior.
enum class BoxCode { corner, center_size, corner_size };

// SSD's detections. ins: shifts (N, P * L * 4), confidences (N, P * classes), priors (1, 2, P * 4)
// -> rows (1, 1, K, 7): sample, class, confidence, x1, y1, x2, y2; rows that are left over hold -1.
// Where there is none at all, one of -1 for each sample.
// No gradient.
struct DetectionDesc {
  static constexpr const char* kName = "detection";
  int64_t classes = 2;
  bool share_location = true;
  int64_t background = 0;
  using Code = BoxCode;
  Code code = Code::corner;
  bool variance_in_target = false;
  double nms_threshold = 0.3, eta = 1;
  int64_t top_k = -1, keep_top_k = -1;  // -1: all
  double least_confidence = 0;
};

// SSD's loss. ins: shifts (N, P * L * 4), confidences (N, P * classes), priors (1, 2, P * 4),
// truths
// (.., 8): sample, class, instance, x1, y1, x2, y2, difficult; those of a sample -1 do not count ->
// loss = (location_weight * that of the matched priors' shifts + that of the chosen priors'
// classes) / normalizer. The first two ins get gradients. A class outside [0, classes), the
// background's, or a box without a size raises a data error.
struct MultiBoxDesc {
  static constexpr const char* kName = "multibox";
  int64_t classes = 2;
  bool share_location = true;
  int64_t background = 0;
  BoxCode code = BoxCode::corner;
  bool variance_in_target = false;
  // Which priors a truth belongs to: the best one, and, unless `bipartite`, all that overlap it by
  // at least `overlap`; measured on the priors, or on what the shifts make of them.
  bool bipartite = false, match_priors = true, ignore_crossing = false, use_difficult = true;
  double overlap = 0.5;
  // Which priors' classes count: all; the matched ones and neg_pos_ratio times as many of those
  // that overlap by less than neg_overlap; the sample_size worst of all. The worst by their loss.
  enum class Mining { none, negatives, hard } mining = Mining::negatives;
  double neg_pos_ratio = 3, neg_overlap = 0.5;
  int64_t sample_size = 64;
  // Of those that overlap each other by more only the worst (0: all), `nms_most` at most (-1: all).
  double nms_threshold = 0;
  int64_t nms_most = -1;
  bool nms_priors = false;
  bool square = false;       // the shifts' loss: squares, not SmoothL1Loss's
  bool logistic = false;     // the classes' loss: SigmoidCrossEntropyLoss's, not SoftmaxWithLoss's
  bool agnostic = false;     // every object is of the class behind the background
  bool inside_only = false;  // sides outside the image have no loss
  bool locates = true, classifies = true;  // which of both counts at all
  double location_weight = 1;
  Normalization normalization = Normalization::valid;
};

// Which detections are right. ins: detections (1, 1, K, 7), as DetectionDesc gives them; truths
// (.., 8), as MultiBoxDesc reads them -> rows (1, 1, classes + K, 5). First one for each class but
// the background's: -1, class, number of its truths, -1, -1. Then of each detection, by sample and
// class: sample, class, confidence, 1 if it is right, 1 if it is wrong. Right is the first, the
// best first, whose nearest truth it overlaps by `overlap` or more. Rows that are left over hold
// -1. No gradient. A class outside [0, classes), or the background's, raises a data error.
struct EvaluationDesc {
  static constexpr const char* kName = "evaluation";
  int64_t classes = 2, background = 0;
  double overlap = 0.5;
  // Not: difficult truths do not count, and detections of them are neither right nor wrong.
  bool use_difficult = true;
  // Boxes are told as shares of a picture. Heights and widths of all pictures, which come in this
  // order, again and again: boxes are measured in whole pixels of theirs. Null: as they are told.
  std::shared_ptr<const std::vector<float>> sizes;
  // How those pictures had been made fit, where they had not just been stretched: padded to sides
  // of this ratio, width by height; or scaled so that boxes are shares of such a height and width.
  double padded_ratio = 0, scaled_height = 0, scaled_width = 0;
};

}  // namespace pcc
