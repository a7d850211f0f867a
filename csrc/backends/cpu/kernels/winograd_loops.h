// Inner loops of 3x3 convolutions (stride 1, padding 1) by Winograd's F(2x2, 3x3): four results for
// 16 products instead of 36 (Lavin and Gray, "Fast algorithms for convolutional neural networks",
// 2016). Values lie in blocks of channels. Letters: a tile is a 2x2 patch of the output; V
// transformed inputs, Y transformed output gradients, U transformed weights, M products; all of
// them are 16 planes, one per element of a transformed 4x4 tile.
#pragma once

#include <cstdint>

namespace pcc::cpu {

struct WinogradShape {
  int64_t inputs, outputs, height, width;

  int64_t tiles_down() const { return (height + 1) / 2; }
  int64_t tiles_across() const { return (width + 1) / 2; }
};

// Tiles that are transformed at once, so that V and M (or Y) stay in the second cache. For weight
// gradients twice as many where there are enough channels, as each chunk reads and writes the whole
// sum (measured on Zen 3).
constexpr int64_t kWinogradTiles = 24;
constexpr int64_t winograd_sum_tiles(const WinogradShape& s) {
  return s.inputs * s.outputs >= 512 ? 2 * kWinogradTiles : kWinogradTiles;
}

// Floats from one plane to the next: a few more than it holds, or all 16 would fall into the same
// lines of the first cache.
constexpr int64_t winograd_plane(int64_t tiles, int64_t channels) { return tiles * channels + 16; }
// Scratch memory of the functions below, in floats.
constexpr int64_t winograd_scratch(const WinogradShape& s, int64_t tiles) {
  return 16 * (winograd_plane(tiles, s.inputs) + winograd_plane(tiles, s.outputs));
}

struct WinogradLoops {
  int64_t lanes;  // channels per block: the layout it works on
  // U of the outputs [begin, end) from w (outputs, inputs, 3, 3). The gradient of the input is the
  // same convolution with the roles of inputs and outputs exchanged and the kernel turned about:
  // `turned`, where shape is already exchanged and [begin, end) counts its outputs. begin and end
  // are multiples of 2 * lanes, or `outputs`.
  void (*pack)(const WinogradShape&, bool turned, int64_t begin, int64_t end, const float* w,
               float* u);
  // y of the tiles [begin, end), counted through samples, rows and columns. scratch: of
  // kWinogradTiles; zeros: a row of x.
  void (*forward)(const WinogradShape&, int64_t begin, int64_t end, const float* x, const float* u,
                  const float* bias, float* scratch, const float* zeros, float* y);
  // Adds the tiles' share of the gradient to du (16 x inputs x outputs) and, where not null, of the
  // bias to db. scratch: of winograd_sum_tiles.
  void (*backward_weights)(const WinogradShape&, int64_t begin, int64_t end, const float* x,
                           const float* dy, float* scratch, const float* zeros, float* du,
                           float* db);
  // dw = or, with `add`, += the gradient of the outputs [begin, end), from the sum of `parts` du's
  // that lie `stride` floats apart.
  void (*unpack)(const WinogradShape&, int64_t begin, int64_t end, const float* du, int64_t parts,
                 int64_t stride, bool add, float* dw);
};

// The table for the instruction set in use (loops.h).
const WinogradLoops& winograd_loops();

}  // namespace pcc::cpu
