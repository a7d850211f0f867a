// How the values of a BatchNorm lie in each layout, as pieces of channels that the loops of
// NormLoops can walk.
#pragma once

#include <algorithm>
#include <array>

#include "backends/cpu/kernels/loops.h"
#include "ops/op.h"

namespace pcc::cpu {

// Two sums per channel.
struct Moments {
  double a = 0, b = 0;
};

// An item is what statistics may be split over: a sample, or, where the channels lie last, a pixel.
// A piece is a set of up to 16 channels that share vectors; in the plain layout a single channel,
// broadcast over the lanes.
class NormGeometry {
 public:
  explicit NormGeometry(const TensorSpec& spec);

  int64_t channels() const { return channels_; }
  int64_t items() const { return items_; }
  int64_t pieces() const { return (channels_ + width_ - 1) / width_; }
  int64_t numbers_per_item() const { return last_ ? 1 : area_; }  // of one channel
  bool channels_last() const { return last_; }
  int64_t bits_bytes() const;

  int64_t first_channel(int64_t piece) const { return piece * width_; }
  int64_t end_channel(int64_t piece) const { return std::min(channels_, (piece + 1) * width_); }
  // Spreads numbers per channel over the lanes of a piece's vectors; null: all `missing`. Lanes
  // without a channel get 0.
  void to_lanes(const float* channels, int64_t piece, float missing, float (&lanes)[16]) const;
  // Adds sums per lane to those of the channels.
  void from_lanes(const double (&a)[16], const double (&b)[16], int64_t piece, Moments* to) const;

  // body(first item, end, piece): all pieces over the items [begin, end). Where the channels lie
  // last, all pieces of a few pixels come before the next pixels.
  template <typename Body>
  void for_tiles(int64_t begin, int64_t end, Body&& body) const {
    const int64_t tile = last_ ? this->tile() : end - begin;
    for (int64_t first = begin; first < end; first += tile)
      for (int64_t piece = 0; piece < pieces(); ++piece)
        body(first, std::min(end, first + tile), piece);
  }

  // Calls body(view, offset of its first element, offset of its first byte of bits) for one or two
  // views that together cover the piece over items [begin, end).
  template <typename Body>
  void for_views(int64_t begin, int64_t end, int64_t piece, Body&& body) const {
    const std::array<Place, 2> places = views(begin, end, piece);
    for (const Place& place : places)
      if (place.view.steps > 0) body(place.view, place.at, place.bits_at);
  }

 private:
  // Items that keep all channels within a share of the second-level cache.
  int64_t tile() const;
  struct Place {
    NormView view{};
    int64_t at = 0, bits_at = 0;
  };
  std::array<Place, 2> views(int64_t begin, int64_t end, int64_t piece) const;

  int64_t samples_, channels_, area_, items_, width_;
  bool last_, broadcast_;
};

}  // namespace pcc::cpu
