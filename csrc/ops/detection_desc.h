// Descriptors of detection's ops, which work on boxes. How to read them: ops/desc.h.
#pragma once

#include <cstdint>
#include <vector>

namespace pcc {

// x (N, C, H, W), rois (R, 5): sample, x1, y1, x2, y2 -> y (R, C, P, Q): the maximum of each of P x
// Q parts of the box, times spatial_scale on x, both ends included; 0 of an empty part. Only x gets
// a gradient. A sample outside [0, N) raises a data error.
struct RoiPoolDesc {
  static constexpr const char* kName = "roi pool";
  double spatial_scale = 1;
};

// Faster R-CNN's proposals. ins: scores (1, 2 A, H, W), the second half those of objects; shifts
// (1, 4 A, H, W); image (1, 3): height, width, scale -> rois (post_nms, 5) [, scores (post_nms,
// 1)], best first; rows left over repeat the best. No gradient.
struct ProposalDesc {
  static constexpr const char* kName = "proposal";
  std::vector<double> anchors;  // A boxes of x1, y1, x2, y2
  int64_t stride = 16;
  double min_size = 16, nms_threshold = 0.7;
  int64_t pre_nms = 6000;
};

// SSD's detections. ins: shifts (N, P * L * 4), confidences (N, P * classes), priors (1, 2, P * 4)
// -> rows (1, 1, K, 7): sample, class, confidence, x1, y1, x2, y2; rows that are left over hold -1.
// No gradient.
struct DetectionDesc {
  static constexpr const char* kName = "detection";
  int64_t classes = 2;
  bool share_location = true;
  int64_t background = 0;
  enum class Code { corner, center_size, corner_size } code = Code::corner;
  bool variance_in_target = false;
  double nms_threshold = 0.3, eta = 1;
  int64_t top_k = -1, keep_top_k = -1;  // -1: all
  double least_confidence = 0;
};

}  // namespace pcc
