// 5x5 convolutions in plain layout by Winograd's F(4, 5) along the rows: LeNet's second, whose 20
// and 50 channels fill no blocks of eight.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/tables.h"
#include "backends/cpu/kernels/winograd_row_loops.h"
#include "backends/cpu/makers.h"
#include "backends/cpu/pieces.h"
#include "core/parallel.h"

namespace pcc::cpu {

PCC_TABLES(RowLoops, row_table)

const RowLoops& row_loops() { return pick_row_table(loops().isa); }

namespace {

// Samples whose weight gradients are summed before they join the others: long plain sums would cost
// a digit of accuracy.
constexpr int64_t kSumSamples = 16;

class WinogradRowsOp : public Op {
 public:
  WinogradRowsOp(const ConvDesc& desc, const OpSite& site)
      : bias_(desc.bias), loops_(row_loops()), isa_(loops().isa) {
    const Shape &x = site.in[0].shape, &y = site.out[0].shape;
    samples_ = x[0];
    shape_ = {{x[1], y[1], x[2], x[3], y[2], y[3]}};
    // Not more threads than samples; the split decides the order of sums, so it is fixed here.
    parts_ = std::min<int64_t>(threads(), samples_);
    needs_.overwrites_dparams = true;
    needs_.in = {wants_weights(site)};
    u_ = forward_.take(shape_.u_count() * kFloat);
    v_ = forward_.take(parts_ * shape_.v_count() * kFloat);
    needs_.forward_scratch = forward_.total();
    if (!site.backward()) return;
    back_parts_ = sum_parts(parts_, 2 * sum_count() * kFloat);
    u_back_ = backward_.take(shape_.u_count() * kFloat);
    v_back_ = backward_.take(back_parts_ * shape_.v_count() * kFloat);
    d_ = backward_.take(back_parts_ * shape_.d_count() * kFloat);
    if (wants_weights(site)) sums_ = backward_.take(2 * back_parts_ * sum_count() * kFloat);
    needs_.backward_scratch = backward_.total();
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const Context&) override {
    float* const u = static_cast<float*>(at(buffers_.scratch, u_));
    float* const v = static_cast<float*>(at(buffers_.scratch, v_));
    loops_.pack(shape_, true, buffers_.params[0].as<float>(), u);
    const float* const bias = bias_ ? buffers_.params[1].as<float>() : nullptr;
    const float* const x = buffers_.in[0].as<float>();
    float* const y = buffers_.out[0].as<float>();
    parallel_parts(parts_, samples_, [&](int64_t part, int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n)
        loops_.forward(shape_, x + n * shape_.x_count(), u, bias, v + part * shape_.v_count(),
                       y + n * shape_.y_count());
    });
  }

  void differentiate(const Context& context) override {
    float* const dx = buffers_.din[0].as<float>();
    const float* const dy = buffers_.dout[0][0].as<float>();
    const float* const x = buffers_.in[0].as<float>();
    float* const dw = buffers_.dparams[0].as<float>();
    float* const db = bias_ ? buffers_.dparams[1].as<float>() : nullptr;
    float* const u = piece(u_back_);
    float* const sums = dw || db ? piece(sums_) : nullptr;
    if (dx) loops_.pack(shape_, false, buffers_.params[0].as<float>(), u);
    parallel_parts(back_parts_, samples_, [&](int64_t part, int64_t begin, int64_t end) {
      float* const v = piece(v_back_) + part * shape_.v_count();
      float* const d = piece(d_) + part * shape_.d_count();
      float* const own = sums ? sums + part * sum_count() : nullptr;
      float* const some = sums ? sums + (back_parts_ + part) * sum_count() : nullptr;
      float* const some_bias = db ? some + shape_.u_count() : nullptr;
      std::memset(d, 0, static_cast<size_t>(shape_.d_count() * kFloat));
      if (sums) std::memset(own, 0, static_cast<size_t>(sum_count() * kFloat));
      for (int64_t first = begin; first < end; first += kSumSamples) {
        if (sums) std::memset(some, 0, static_cast<size_t>(sum_count() * kFloat));
        // One pass for the weights, one for the data: what both read and write together would not
        // stay in the second cache, and D costs little to make again.
        const int64_t last = std::min(first + kSumSamples, end);
        for (int64_t n = first; sums && n < last; ++n) {
          loops_.transform_gradient(shape_, dy + n * shape_.y_count(), d, some_bias);
          if (dw) loops_.backward_weights(shape_, x + n * shape_.x_count(), d, v, some);
        }
        for (int64_t n = first; dx && n < last; ++n) {
          loops_.transform_gradient(shape_, dy + n * shape_.y_count(), d, nullptr);
          loops_.backward_data(shape_, d, u, v, dx + n * shape_.x_count());
        }
        for (int64_t i = 0; sums && i < sum_count(); ++i) own[i] += some[i];
      }
    });
    if (dw)
      parallel(shape_.outputs, 8, [&](int64_t begin, int64_t end, int) {
        loops_.unpack(shape_, begin, end, sums, back_parts_, sum_count(), !overwrites(context, 0),
                      dw);
      });
    if (db && overwrites(context, 1)) std::fill_n(db, shape_.outputs, 0.0f);
    for (int64_t part = 0; db && part < back_parts_; ++part)
      for (int64_t o = 0; o < shape_.outputs; ++o)
        db[o] += sums[part * sum_count() + shape_.u_count() + o];
  }

  std::string implementation() const override { return concat("winograd rows ", isa_); }

 private:
  float* piece(int64_t offset) const {
    return static_cast<float*>(at(buffers_.backward_scratch, offset));
  }
  int64_t sum_count() const { return shape_.u_count() + (shape_.outputs + 15) / 16 * 16; }

  bool bias_;
  const RowLoops& loops_;
  const char* isa_;
  RowShape shape_{};
  int64_t samples_ = 0, parts_ = 1, back_parts_ = 1;
  Pieces forward_, backward_;
  int64_t u_ = 0, v_ = 0, u_back_ = 0, v_back_ = 0, d_ = 0, sums_ = 0;
  OpNeeds needs_;
};

}  // namespace

bool winograd_rows_suits(const ConvDesc& desc, const OpSite& site) {
  if (!direct_conv_suits(desc, site)) return false;
  // The transform of x is paid once for all outputs, that of y once for all inputs.
  return desc.kernel[0] == RowShape::kTaps && desc.kernel[1] == RowShape::kTaps &&
         site.in[0].shape[1] >= 8 && site.out[0].shape[1] >= 8;
}

std::unique_ptr<Op> make_winograd_rows_conv(const ConvDesc& desc, const OpSite& site) {
  return std::make_unique<WinogradRowsOp>(desc, site);
}

}  // namespace pcc::cpu
