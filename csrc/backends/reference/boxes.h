// Boxes: how far they overlap, which of them to keep, and how shifts tell one from another. Source:
// SSD's bbox_util.cpp, py-faster-rcnn's nms.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/detection_desc.h"

namespace pcc::reference {

template <typename T>
struct Box {
  T x1, y1, x2, y2;
};

// Intersection over union; `end`: 1 where a box's ends both belong to it, as pixels do.
template <typename T>
T overlap(const Box<T>& a, const Box<T>& b, T end) {
  const auto area = [end](const Box<T>& box) {
    return box.x2 < box.x1 || box.y2 < box.y1 ? T(0)
                                              : (box.x2 - box.x1 + end) * (box.y2 - box.y1 + end);
  };
  const Box<T> both = {std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2),
                       std::min(a.y2, b.y2)};
  const T shared = area(both), all = area(a) + area(b) - shared;
  return shared > 0 ? shared / all : T(0);
}

// Goes through boxes, best first, and keeps those that overlap none of the kept ones by more.
template <typename T>
std::vector<int64_t> suppress(const std::vector<int64_t>& order, const std::vector<Box<T>>& boxes,
                              T threshold, T eta, T end, int64_t most) {
  std::vector<int64_t> kept;
  for (const int64_t candidate : order) {
    if (static_cast<int64_t>(kept.size()) == most) break;
    const Box<T>& box = boxes[static_cast<size_t>(candidate)];
    const bool keep = std::all_of(kept.begin(), kept.end(), [&](int64_t k) {
      return overlap(box, boxes[static_cast<size_t>(k)], end) <= threshold;
    });
    if (!keep) continue;
    kept.push_back(candidate);
    if (eta < 1 && threshold > T(0.5)) threshold *= eta;
  }
  return kept;
}

// The places of the best scores, best first; of ties the earlier.
template <typename T>
void best_first(const std::vector<T>& scores, int64_t most, std::vector<int64_t>& order) {
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  if (most >= 0 && most < static_cast<int64_t>(order.size()))
    order.resize(static_cast<size_t>(most));
}

// The box that lies four shifts away from a prior.
template <typename T>
Box<T> decode(BoxCode code, const Box<T>& prior, const T* d) {
  const T w = prior.x2 - prior.x1, h = prior.y2 - prior.y1;
  switch (code) {
    case BoxCode::corner:
      return {prior.x1 + d[0], prior.y1 + d[1], prior.x2 + d[2], prior.y2 + d[3]};
    case BoxCode::corner_size:
      return {prior.x1 + d[0] * w, prior.y1 + d[1] * h, prior.x2 + d[2] * w, prior.y2 + d[3] * h};
    case BoxCode::center_size:
      break;
  }
  const T x = d[0] * w + (prior.x1 + prior.x2) / 2, y = d[1] * h + (prior.y1 + prior.y2) / 2;
  const T half_w = std::exp(d[2]) * w / 2, half_h = std::exp(d[3]) * h / 2;
  return {x - half_w, y - half_h, x + half_w, y + half_h};
}

// The box that a prior's shifts give. prior: its sides; `variances` numbers further its variances,
// by which the shifts count unless they hold them.
template <typename Desc, typename T>
Box<T> decode(const Desc& desc, const T* prior, int64_t variances, const T* shifts) {
  T scaled[4];
  for (int i = 0; i < 4; ++i)
    scaled[i] = shifts[i] * (desc.variance_in_target ? T(1) : prior[variances + i]);
  return decode(desc.code, Box<T>{prior[0], prior[1], prior[2], prior[3]}, scaled);
}

// Those of `count` priors, their shifts `step` numbers apart.
template <typename Desc, typename T>
std::vector<Box<T>> decode_all(const Desc& desc, const T* priors, int64_t count, const T* shifts,
                               int64_t step) {
  std::vector<Box<T>> boxes;
  for (int64_t p = 0; p < count; ++p)
    boxes.push_back(decode(desc, priors + 4 * p, 4 * count, shifts + step * p));
  return boxes;
}

// The four shifts from a prior to a box.
template <typename T>
void encode(BoxCode code, const Box<T>& prior, const Box<T>& box, T* d) {
  const T w = prior.x2 - prior.x1, h = prior.y2 - prior.y1;
  if (code == BoxCode::center_size) {
    d[0] = ((box.x1 + box.x2) - (prior.x1 + prior.x2)) / 2 / w;
    d[1] = ((box.y1 + box.y2) - (prior.y1 + prior.y2)) / 2 / h;
    d[2] = std::log((box.x2 - box.x1) / w);
    d[3] = std::log((box.y2 - box.y1) / h);
    return;
  }
  const bool scaled = code == BoxCode::corner_size;
  d[0] = (box.x1 - prior.x1) / (scaled ? w : T(1));
  d[1] = (box.y1 - prior.y1) / (scaled ? h : T(1));
  d[2] = (box.x2 - prior.x2) / (scaled ? w : T(1));
  d[3] = (box.y2 - prior.y2) / (scaled ? h : T(1));
}

}  // namespace pcc::reference
