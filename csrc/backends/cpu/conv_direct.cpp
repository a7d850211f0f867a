// Convolutions in plain layout with own kernels: LeNet's, whose 1, 20 and 50 channels fill no
// blocks of eight.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/direct_loops.h"
#include "backends/cpu/kernels/tables.h"
#include "backends/cpu/makers.h"
#include "backends/cpu/pieces.h"
#include "core/parallel.h"

namespace pcc::cpu {

PCC_TABLES(DirectLoops, direct_table)

const DirectLoops& direct_loops() { return pick_direct_table(loops().isa); }

namespace {

// Outputs per block that leave the fewest of them empty; more registers in use among equals.
int best_block(int64_t outputs) {
  int best = 6;
  for (const int block : {6, 5, 4})
    if ((outputs + block - 1) / block * block < (outputs + best - 1) / best * best) best = block;
  return best;
}

class DirectConvOp : public Op {
 public:
  DirectConvOp(const ConvDesc& desc, const OpSite& site)
      : bias_(desc.bias), loops_(direct_loops()), isa_(loops().isa), threads_(threads()) {
    const Shape &x = site.in[0].shape, &y = site.out[0].shape;
    samples_ = x[0];
    shape_ = {{x[1], y[1], x[2], x[3], y[2], y[3]}, desc.kernel[0], desc.kernel[1]};
    block_ = best_block(shape_.outputs);
    weights_ = shape_.outputs * shape_.inputs * shape_.taps();
    const int64_t blocks = (shape_.outputs + block_ - 1) / block_;
    needs_.forward_scratch = blocks * block_ * shape_.inputs * shape_.taps() * kFloat;
    needs_.overwrites_dparams = true;
    needs_.in = {wants_weights(site)};
    // Not more threads than samples; the split decides the order of sums, so it is fixed here.
    parts_ = std::min<int64_t>(threads_, samples_);
    if (wants_data(site)) {
      turned_ = backward_.take(weights_ * kFloat);
      tall_count_ =
          shape_.outputs * (shape_.out_height + 2 * (shape_.kernel_height - 1)) * shape_.out_width;
      folds_count_ =
          shape_.kernel_width * shape_.height * (shape_.out_width + 2 * (shape_.kernel_width - 1));
      tall_ = backward_.take(parts_ * tall_count_ * kFloat);
      folds_ = backward_.take(parts_ * folds_count_ * kFloat);
    }
    if (wants_weights(site)) {
      sum_parts_ = sum_parts(parts_, sum_count() * kFloat);
      sums_ = backward_.take(sum_parts_ * sum_count() * kFloat);
    }
    needs_.backward_scratch = backward_.total();
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const Context&) override {
    float* const packed = static_cast<float*>(buffers_.scratch);
    loops_.pack_forward(shape_, block_, buffers_.params[0].as<float>(), packed);
    const float* const bias = bias_ ? buffers_.params[1].as<float>() : nullptr;
    const float* const x = buffers_.in[0].as<float>();
    float* const y = buffers_.out[0].as<float>();
    parallel(samples_, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t n = begin; n < end; ++n)
        loops_.forward(shape_, block_, x + n * shape_.x_count(), packed, bias,
                       y + n * shape_.y_count());
    });
  }

  void differentiate(const Context& context) override {
    float* const dx = buffers_.din[0].as<float>();
    const float* const dy = buffers_.dout[0][0].as<float>();
    if (dx) backward_data(dy, dx);
    float* const dw = buffers_.dparams[0].as<float>();
    float* const db = bias_ ? buffers_.dparams[1].as<float>() : nullptr;
    if (dw || db) backward_weights(context, dy, dw, db);
  }

  std::string implementation() const override { return concat("direct ", isa_); }

 private:
  float* piece(int64_t offset) const {
    return static_cast<float*>(at(buffers_.backward_scratch, offset));
  }
  int64_t sum_count() const { return (weights_ + shape_.outputs + 15) / 16 * 16; }

  void backward_data(const float* dy, float* dx) const {
    float* const turned = piece(turned_);
    loops_.pack_backward(shape_, buffers_.params[0].as<float>(), turned);
    parallel_parts(parts_, samples_, [&](int64_t part, int64_t begin, int64_t end) {
      float* const tall = piece(tall_) + part * tall_count_;
      float* const folds = piece(folds_) + part * folds_count_;
      std::memset(tall, 0, static_cast<size_t>(tall_count_ * kFloat));
      std::memset(folds, 0, static_cast<size_t>(folds_count_ * kFloat));
      const int64_t plane = shape_.out_height * shape_.out_width;
      const int64_t margin = (shape_.kernel_height - 1) * shape_.out_width;
      for (int64_t n = begin; n < end; ++n) {
        for (int64_t o = 0; o < shape_.outputs; ++o)
          std::memcpy(tall + o * (plane + 2 * margin) + margin,
                      dy + n * shape_.y_count() + o * plane, static_cast<size_t>(plane * kFloat));
        loops_.backward_data(shape_, tall, turned, folds, dx + n * shape_.x_count());
      }
    });
  }

  void backward_weights(const Context& context, const float* dy, float* dw, float* db) const {
    float* const sums = piece(sums_);
    const float* const x = buffers_.in[0].as<float>();
    parallel_parts(sum_parts_, samples_, [&](int64_t part, int64_t begin, int64_t end) {
      float* const own = sums + part * sum_count();
      std::memset(own, 0, static_cast<size_t>(sum_count() * kFloat));
      loops_.backward_weights(shape_, end - begin, x + begin * shape_.x_count(),
                              dy + begin * shape_.y_count(), own, db ? own + weights_ : nullptr);
    });
    if (dw)
      parallel(weights_, 16 << 10, [&](int64_t begin, int64_t end, int) {
        if (overwrites(context, 0)) std::fill(dw + begin, dw + end, 0.0f);
        for (int64_t part = 0; part < sum_parts_; ++part)
          for (int64_t i = begin; i < end; ++i) dw[i] += sums[part * sum_count() + i];
      });
    if (db && overwrites(context, 1)) std::fill_n(db, shape_.outputs, 0.0f);
    for (int64_t part = 0; db && part < sum_parts_; ++part)
      for (int64_t o = 0; o < shape_.outputs; ++o) db[o] += sums[part * sum_count() + weights_ + o];
  }

  bool bias_;
  const DirectLoops& loops_;
  const char* isa_;
  DirectShape shape_{};
  int block_ = 4, threads_;
  int64_t samples_ = 0, weights_ = 0, parts_ = 1, sum_parts_ = 1;
  int64_t turned_ = 0, tall_ = 0, folds_ = 0, sums_ = 0, tall_count_ = 0, folds_count_ = 0;
  Pieces backward_;
  OpNeeds needs_;
};

}  // namespace

bool direct_conv_suits(const ConvDesc& desc, const OpSite& site) {
  const Shape &x = site.in[0].shape, &y = site.out[0].shape;
  if (x.axes() != 4 || desc.transposed || desc.group != 1) return false;
  for (int axis = 0; axis < 2; ++axis)
    if (desc.stride[axis] != 1 || desc.dilation[axis] != 1 || desc.pad[axis] != 0) return false;
  const bool blocks = (x[1] % 8 == 0 || x[1] <= 3) && y[1] % 8 == 0;  // oneDNN's own ground
  return !blocks && y[3] % 8 == 0 && direct_has_width(desc.kernel[1]) && has_vectors();
}

std::unique_ptr<Op> make_direct_conv(const ConvDesc& desc, const OpSite& site) {
  return std::make_unique<DirectConvOp>(desc, site);
}

}  // namespace pcc::cpu
