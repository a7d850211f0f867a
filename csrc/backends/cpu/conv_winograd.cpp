// 3x3 convolutions of stride 1 by Winograd's F(2x2, 3x3) with own kernels: oneDNN 3.2 has it in no
// float32 kernel. Most of a residual net's time is spent here. Rounding grows about twofold against
// direct sums and stays far below 1e-5.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/tables.h"
#include "backends/cpu/kernels/winograd_loops.h"
#include "backends/cpu/makers.h"
#include "backends/cpu/pieces.h"
#include "core/parallel.h"

namespace pcc::cpu {

PCC_TABLES(WinogradLoops, winograd_table)

const WinogradLoops& winograd_loops() { return pick_winograd_table(loops().isa); }

namespace {

constexpr int64_t kMostWeights = 256 * 256;

class WinogradOp : public Op {
 public:
  WinogradOp(const ConvDesc& desc, const OpSite& site)
      : bias_(desc.bias), table_(winograd_loops()), isa_(loops().isa) {
    const Shape &x = site.in[0].shape, &y = site.out[0].shape;
    shape_ = {x[1], y[1], x[2], x[3]};
    turned_shape_ = {y[1], x[1], x[2], x[3]};
    tiles_ = x[0] * shape_.tiles_down() * shape_.tiles_across();
    weights_ = 16 * x[1] * y[1];
    // The split decides the order of sums, so it is fixed here.
    parts_ = std::min<int64_t>(threads(), (tiles_ + kWinogradTiles - 1) / kWinogradTiles);
    work_count_ = winograd_scratch(shape_, winograd_sum_tiles(shape_));
    needs_.overwrites_dparams = true;
    needs_.in = {wants_weights(site)};
    lay_out(forward_);
    needs_.forward_scratch = forward_.pieces.total();
    if (!site.backward()) return;
    lay_out(backward_);
    if (wants_weights(site)) {
      sum_count_ = weights_ + (y[1] + 15) / 16 * 16;
      sum_parts_ = sum_parts(parts_, sum_count_ * kFloat);
      sums_ = backward_.pieces.take(sum_parts_ * sum_count_ * kFloat);
    }
    needs_.backward_scratch = backward_.pieces.total();
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const Context&) override {
    convolve(shape_, false, forward_, buffers_.scratch, buffers_.in[0].as<float>(),
             bias_ ? buffers_.params[1].as<float>() : nullptr, buffers_.out[0].as<float>());
  }

  void differentiate(const Context& context) override {
    float* const dx = buffers_.din[0].as<float>();
    const float* const dy = buffers_.dout[0][0].as<float>();
    if (dx) convolve(turned_shape_, true, backward_, buffers_.backward_scratch, dy, nullptr, dx);
    float* const dw = buffers_.dparams[0].as<float>();
    float* const db = bias_ ? buffers_.dparams[1].as<float>() : nullptr;
    if (dw || db) backward_weights(context, dy, dw, db);
  }

  std::string implementation() const override { return concat("winograd ", isa_); }

 private:
  // Where things lie in the scratch memory of a direction.
  struct Places {
    Pieces pieces;
    int64_t u = 0, work = 0, zeros = 0;
  };

  void lay_out(Places& places) const {
    places.u = places.pieces.take(weights_ * kFloat);
    places.work = places.pieces.take(parts_ * work_count_ * kFloat);
    places.zeros = places.pieces.take(zeros_count() * kFloat);
  }
  int64_t zeros_count() const { return shape_.width * table_.lanes; }
  static float* piece(void* scratch, int64_t offset) {
    return static_cast<float*>(at(scratch, offset));
  }

  // Calls body(part, first tile, end) for each of so many parts, cut at whole chunks.
  template <typename Body>
  void each_part(int64_t parts, Body&& body) const {
    const int64_t chunks = (tiles_ + kWinogradTiles - 1) / kWinogradTiles;
    parallel_parts(parts, chunks, [&](int64_t part, int64_t begin, int64_t end) {
      body(part, begin * kWinogradTiles, std::min(tiles_, end * kWinogradTiles));
    });
  }

  void convolve(const WinogradShape& shape, bool turned, const Places& places, void* scratch,
                const float* x, const float* bias, float* y) const {
    float* const u = piece(scratch, places.u);
    const float* const w = buffers_.params[0].as<float>();
    const int64_t pair = 2 * table_.lanes;
    parallel((shape.outputs + pair - 1) / pair, 1, [&](int64_t begin, int64_t end, int) {
      table_.pack(shape, turned, begin * pair, std::min(end * pair, shape.outputs), w, u);
    });
    float* const zeros = clear_zeros(places, scratch);
    each_part(parts_, [&](int64_t part, int64_t begin, int64_t end) {
      table_.forward(shape, begin, end, x, u, bias, work(places, scratch, part), zeros, y);
    });
  }

  void backward_weights(const Context& context, const float* dy, float* dw, float* db) const {
    void* const scratch = buffers_.backward_scratch;
    float* const zeros = clear_zeros(backward_, scratch);
    float* const sums = piece(scratch, sums_);
    each_part(sum_parts_, [&](int64_t part, int64_t begin, int64_t end) {
      float* const du = sums + part * sum_count_;
      std::memset(du, 0, static_cast<size_t>(sum_count_ * kFloat));
      table_.backward_weights(shape_, begin, end, buffers_.in[0].as<float>(), dy,
                              work(backward_, scratch, part), zeros, du,
                              db ? du + weights_ : nullptr);
    });
    if (dw)
      parallel(shape_.outputs, 8, [&](int64_t begin, int64_t end, int) {
        table_.unpack(shape_, begin, end, sums, sum_parts_, sum_count_, !overwrites(context, 0),
                      dw);
      });
    if (db && overwrites(context, 1)) std::fill_n(db, shape_.outputs, 0.0f);
    if (db)
      for (int64_t part = 0; part < sum_parts_; ++part)
        for (int64_t o = 0; o < shape_.outputs; ++o)
          db[o] += sums[part * sum_count_ + weights_ + o];
  }

  float* work(const Places& places, void* scratch, int64_t part) const {
    return piece(scratch, places.work) + part * work_count_;
  }
  // The scratch is shared with other ops: what they left must go.
  float* clear_zeros(const Places& places, void* scratch) const {
    float* const zeros = piece(scratch, places.zeros);
    std::memset(zeros, 0, static_cast<size_t>(zeros_count() * kFloat));
    return zeros;
  }

  bool bias_;
  const WinogradLoops& table_;
  const char* isa_;
  WinogradShape shape_{}, turned_shape_{};
  int64_t tiles_ = 0, weights_ = 0, parts_ = 1, work_count_ = 0;
  int64_t sum_count_ = 0, sums_ = 0, sum_parts_ = 1;
  Places forward_, backward_;
  OpNeeds needs_;
};

Layout block_layout() { return winograd_loops().lanes == 16 ? Layout::c16 : Layout::c8; }

}  // namespace

std::optional<Layout> winograd_suits(const ConvDesc& desc, const OpSite& site) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  if (x.axes() != 4 || desc.transposed || desc.group != 1) return std::nullopt;
  for (int axis = 0; axis < 2; ++axis)
    if (desc.kernel[axis] != 3 || desc.stride[axis] != 1 || desc.pad[axis] != 1 ||
        desc.dilation[axis] != 1)
      return std::nullopt;
  const Layout layout = block_layout();
  if (!can_have(x, layout) || !can_have(y, layout)) return std::nullopt;
  // Beyond this U falls out of the caches, and direct sums are as fast.
  if (x[1] * y[1] > kMostWeights || !has_vectors()) return std::nullopt;
  return layout;
}

std::unique_ptr<Op> make_winograd_conv(const ConvDesc& desc, const OpSite& site) {
  return std::make_unique<WinogradOp>(desc, site);
}

}  // namespace pcc::cpu
