#include "backends/cpu/kernels/norm_geometry.h"

namespace pcc::cpu {

NormGeometry::NormGeometry(const TensorSpec& spec)
    : samples_(spec.shape[0]), channels_(spec.shape[1]), area_(spec.shape.count(2)) {
  // Without a plane the plain layout has its channels last.
  last_ = spec.layout == Layout::nhwc || (spec.layout == Layout::plain && area_ == 1);
  broadcast_ = spec.layout == Layout::plain && !last_;
  items_ = last_ ? samples_ * area_ : samples_;
  width_ = last_ ? 16 : block_of(spec.layout);
}

int64_t NormGeometry::bits_bytes() const {
  if (last_) return items_ * ((channels_ + 7) / 8);
  if (broadcast_) return samples_ * channels_ * ((area_ + 7) / 8);
  return samples_ * channels_ * area_ / 8;
}

int64_t NormGeometry::tile() const {
  constexpr int64_t kTileBytes = 64 << 10;
  return std::max<int64_t>(16, kTileBytes / (channels_ * 4));
}

void NormGeometry::to_lanes(const float* channels, int64_t piece, float missing,
                            float (&lanes)[16]) const {
  const int64_t first = first_channel(piece), end = end_channel(piece);
  for (int64_t lane = 0; lane < 16; ++lane) {
    const int64_t c = broadcast_ ? first : first + lane;
    lanes[lane] = c >= end ? 0 : channels ? channels[c] : missing;
  }
}

void NormGeometry::from_lanes(const double (&a)[16], const double (&b)[16], int64_t piece,
                              Moments* to) const {
  const int64_t first = first_channel(piece), end = end_channel(piece);
  if (broadcast_) {
    for (int lane = 0; lane < 8; ++lane) {
      to[first].a += a[lane];
      to[first].b += b[lane];
    }
    return;
  }
  for (int64_t c = first; c < end; ++c) {
    to[c].a += a[c - first];
    to[c].b += b[c - first];
  }
}

std::array<NormGeometry::Place, 2> NormGeometry::views(int64_t begin, int64_t end,
                                                       int64_t piece) const {
  std::array<Place, 2> places;
  Place& main = places[0];
  main.view.rows = end - begin;
  main.view.part = 8;
  if (last_) {
    const int64_t lanes = std::min<int64_t>(16, channels_ - 16 * piece),
                  bytes = (channels_ + 7) / 8;
    main.view.rows = 1;
    main.view.steps = end - begin;
    main.view.step_stride = channels_;
    main.view.bits_step_stride = bytes;
    main.view.vectors = lanes > 8 ? 2 : 1;
    main.view.part = static_cast<int>(lanes > 8 ? lanes - 8 : lanes);
    main.at = begin * channels_ + 16 * piece;
    main.bits_at = begin * bytes + 2 * piece;
  } else if (broadcast_) {
    const int64_t bytes = (area_ + 7) / 8;
    main.view.row_stride = channels_ * area_;
    main.view.steps = area_ / 8;
    main.view.step_stride = 8;
    main.view.bits_row_stride = channels_ * bytes;
    main.view.bits_step_stride = 1;
    main.view.vectors = 1;
    main.at = (begin * channels_ + piece) * area_;
    main.bits_at = (begin * channels_ + piece) * bytes;
    if (area_ % 8 != 0) {
      Place& rest = places[1];
      rest = main;
      rest.view.steps = 1;
      rest.view.part = static_cast<int>(area_ % 8);
      rest.at += area_ / 8 * 8;
      rest.bits_at += area_ / 8;
    }
  } else {
    main.view.row_stride = channels_ * area_;
    main.view.steps = area_;
    main.view.step_stride = width_;
    main.view.bits_row_stride = main.view.row_stride / 8;
    main.view.bits_step_stride = width_ / 8;
    main.view.vectors = static_cast<int>(width_ / 8);
    main.at = (begin * channels_ + piece * width_) * area_;
    main.bits_at = main.at / 8;
  }
  return places;
}

}  // namespace pcc::cpu
