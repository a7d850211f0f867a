// How the values of a BatchNorm lie in each layout, as pieces of channels that the loops of NormLoops can walk.
#pragma once

#include <array>

#include "backends/onednn/kernels/loops.h"
#include "ops/op.h"

namespace pcc::onednn {

// An item is what statistics may be split over: a sample, or, where the channels lie last, a pixel. A piece is a set of up to
// 16 channels that share vectors; in the plain layout a single channel, broadcast over the lanes.
class NormGeometry {
 public:
  explicit NormGeometry(const TensorSpec& spec);

  int64_t channels() const { return channels_; }
  int64_t items() const { return items_; }
  int64_t pieces() const { return (channels_ + width_ - 1) / width_; }
  int64_t piece_size() const { return width_; }  // channels of a piece; the last may have fewer
  int64_t items_per_sample() const { return last_ ? area_ : 1; }
  int64_t numbers_per_item() const { return last_ ? 1 : area_; }  // of one channel
  bool channels_last() const { return last_; }
  bool broadcasts() const { return broadcast_; }
  int64_t bits_bytes() const;
  // Items that keep all channels within a share of the second-level cache; for walking channels last.
  int64_t tile() const;

  // Calls body(view, offset of its first element, offset of its first byte of bits) for one or two views that together
  // cover the piece over items [begin, end).
  template <typename Body>
  void for_views(int64_t begin, int64_t end, int64_t piece, Body&& body) const {
    const std::array<Place, 2> places = views(begin, end, piece);
    for (const Place& place : places)
      if (place.view.steps > 0) body(place.view, place.at, place.bits_at);
  }

 private:
  struct Place {
    NormView view{};
    int64_t at = 0, bits_at = 0;
  };
  std::array<Place, 2> views(int64_t begin, int64_t end, int64_t piece) const;

  int64_t samples_, channels_, area_, items_, width_;
  bool last_, broadcast_;
};

}  // namespace pcc::onednn
