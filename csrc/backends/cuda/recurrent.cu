// LSTM and RNN: a product and a kernel for each step (RecurrentDesc); and the LSTM's single step.
#include "backends/cuda/conv_way.h"
#include "backends/cuda/makers.h"
#include "backends/cuda/product.cuh"

namespace pcc::cuda {

namespace {

__device__ __forceinline__ float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// What a step takes over of the state before: s = cont * before, (N, H).
struct TakeOver {
  const float *cont, *before;
  float* s;
  int64_t hidden;
  __device__ void operator()(int64_t i) const { s[i] = cont[divide(i, hidden).whole] * before[i]; }
};

struct RnnCell {
  const float* u;
  float* h;
  __device__ void operator()(int64_t i) const { h[i] = tanhf(u[i]); }
};

// u (N, 4 H), the others (N, H).
struct LstmCell {
  const float *u, *cont, *before;
  float *c, *h;
  int64_t hidden;
  __device__ void operator()(int64_t i) const {
    const Quotient at = divide(i, hidden);
    const float* gates = u + int64_t{4} * hidden * at.whole + at.rest;
    const float f = cont[at.whole] * logistic(gates[hidden]);
    c[i] = f * before[i] + logistic(gates[0]) * tanhf(gates[3 * hidden]);
    h[i] = logistic(gates[2 * hidden]) * tanhf(c[i]);
  }
};

// What comes to h of a step: from outside (null: nothing), and from the step after it, whose cont
// it passed (null: there is none).
struct ComesBack {
  const float *dy, *dh, *cont_after;
  __device__ float operator()(int64_t i, int64_t n) const {
    const float later = cont_after ? dh[i] * cont_after[n] : 0.0f;
    return later + (dy ? dy[i] : 0.0f);
  }
};

struct RnnCellGradient {
  ComesBack comes;
  const float* h;
  float* du;
  int64_t hidden;
  __device__ void operator()(int64_t i) const {
    du[i] = comes(i, divide(i, hidden).whole) * (1 - h[i] * h[i]);
  }
};

// From dh and dc of a step: du, and dc of the one before, which it returns. u, du: of the input
// gate; the other gates' follow `hidden` apart.
__device__ __forceinline__ float pull_cell(const float* u, int64_t hidden, float cont, float before,
                                           float dh, float dc, float* du) {
  const float in = logistic(u[0]), f = logistic(u[hidden]);
  const float o = logistic(u[2 * hidden]), g = tanhf(u[3 * hidden]);
  const float goes_on = cont * f;
  const float tanh_c = tanhf(goes_on * before + in * g);
  const float dstate = dc + dh * o * (1 - tanh_c * tanh_c);
  du[0] = dstate * g * in * (1 - in);
  du[hidden] = dstate * before * goes_on * (1 - f);
  du[2 * hidden] = dh * tanh_c * o * (1 - o);
  du[3 * hidden] = dstate * in * (1 - g * g);
  return dstate * goes_on;
}

// dc: of the step, then of the one before.
struct LstmCellGradient {
  ComesBack comes;
  const float *u, *cont, *before;
  float *dc, *du;
  int64_t hidden;
  __device__ void operator()(int64_t i) const {
    const Quotient at = divide(i, hidden);
    const int64_t first = int64_t{4} * hidden * at.whole + at.rest;
    dc[i] = pull_cell(u + first, hidden, cont[at.whole], before[i], comes(i, at.whole),
                      comes.cont_after ? dc[i] : 0.0f, du + first);
  }
};

class RecurrentOp : public CudaOp {
 public:
  RecurrentOp(const RecurrentDesc& desc, const OpSite& site)
      : CudaOp(site),
        precision_(site.device->precision()),
        lstm_(desc.cell == RecurrentDesc::Cell::lstm),
        exposed_(desc.exposed),
        steps_(site.in[0].shape[0]),
        batch_(site.in[0].shape[1]),
        hidden_(site.params[0].shape[1]),
        gates_(site.params[0].shape[0]),
        step_(batch_, gates_, hidden_),
        back_(batch_, hidden_, gates_),
        weights_(gates_, hidden_, steps_ * batch_) {}

  // The state that goes on from call to call begins as zeros.
  void prepare(const Context&) override {
    if (begun_) return;
    begun_ = true;
    current_stream().fill(buffers_.prepared, 0, 2 * state() * int64_t{sizeof(float)});
  }

  void forward(const Context&) override {
    float* const u = static_cast<float*>(trains() ? buffers_.stash : buffers_.scratch);
    void* const scratch = static_cast<char*>(buffers_.scratch) + (trains() ? 0 : record_bytes());
    float* const taken = u + steps_ * batch_ * gates_;
    float* const cells = taken + steps_ * state();
    float* const last = static_cast<float*>(buffers_.prepared);
    for_each(steps_ * batch_ * gates_, Copy{in(0), u});
    for (int i = 0; exposed_ && i < (lstm_ ? 2 : 1); ++i)
      for_each(state(), Copy{in(2 + i), last + i * state()});
    if (lstm_) for_each(state(), Copy{last + state(), cells});
    const float* before = last;
    for (int64_t t = 0; t < steps_; ++t) {
      float *const gates = u + t * batch_ * gates_, *const s = taken + t * state();
      float* const h = out() + t * state();
      for_each(state(), TakeOver{cont(t), before, s, hidden_});
      multiply(step_, {s, side(hidden_), 1}, {param(0), 1, side(hidden_)}, nullptr, gates, true,
               precision_, scratch);
      if (lstm_)
        for_each(state(), LstmCell{gates, cont(t), cells + t * state(), cells + (t + 1) * state(),
                                   h, hidden_});
      else
        for_each(state(), RnnCell{gates, h});
      before = h;
    }
    finish(0, before, last);
    if (lstm_) finish(1, cells + steps_ * state(), last + state());
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = step_.scratch_bytes() + (trains() ? 0 : record_bytes());
    needs.prepared_bytes = 2 * state() * int64_t{sizeof(float)};
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(site_.in.size(), false);
    needs.in[1] = true;
    needs.out.assign(site_.out.size(), false);
    needs.out[0] = !lstm_;
    needs.overwrites_dparams = true;
    needs.stash_bytes = record_bytes();
    needs.backward_scratch = room(steps_ * batch_ * gates_ + 2 * state()) +
                             std::max(back_.scratch_bytes(), weights_.scratch_bytes());
  }
  void differentiate(const Context& context) override {
    const float* const u = static_cast<const float*>(buffers_.stash);
    const float* const taken = u + steps_ * batch_ * gates_;
    const float* const cells = taken + steps_ * state();
    float* const own = static_cast<float*>(buffers_.backward_scratch);
    float *const dh = own + steps_ * batch_ * gates_, *const dc = dh + state();
    void* const scratch = static_cast<char*>(buffers_.backward_scratch) +
                          room(steps_ * batch_ * gates_ + 2 * state());
    float* const du = din(0) ? din(0) : own;
    for (int64_t t = steps_ - 1; t >= 0; --t) {
      float* const dgates = du + t * batch_ * gates_;
      const ComesBack comes = {dout() ? dout() + t * state() : nullptr, dh,
                               t + 1 < steps_ ? cont(t + 1) : nullptr};
      if (lstm_)
        for_each(state(), LstmCellGradient{comes, u + t * batch_ * gates_, cont(t),
                                           cells + t * state(), dc, dgates, hidden_});
      else
        for_each(state(), RnnCellGradient{comes, out() + t * state(), dgates, hidden_});
      if (t > 0)
        multiply(back_, {dgates, side(gates_), 1}, {param(0), side(hidden_), 1}, nullptr, dh, false,
                 precision_, scratch);
    }
    if (dparam(0))
      multiply(weights_, {du, 1, side(gates_)}, {taken, side(hidden_), 1}, nullptr, dparam(0),
               !overwrites(context, 0), weight_precision(precision_), scratch);
  }

 private:
  static uint32_t side(int64_t size) { return static_cast<uint32_t>(size); }
  static int64_t room(int64_t floats) {
    return (floats * int64_t{sizeof(float)} + 255) / 256 * 256;
  }
  int64_t state() const { return batch_ * hidden_; }
  // Every step's gates' inputs, what it took over, and its cells before, with the last ones behind.
  int64_t record_bytes() const {
    return room(steps_ * batch_ * gates_ + (2 * steps_ + 1) * state());
  }
  const float* cont(int64_t t) const { return in(1) + t * batch_; }
  void finish(int which, const float* state_after, float* last) const {
    for_each(state(), Copy{state_after, last});
    if (exposed_) for_each(state(), Copy{state_after, out(1 + which)});
  }

  Precision precision_;
  bool lstm_, exposed_, begun_ = false;
  int64_t steps_, batch_, hidden_, gates_;
  MatmulShape step_, back_, weights_;
};

// dy: null where that output got no gradient.
struct LstmUnitGradient {
  const float *u, *cont, *before, *dy_c, *dy_h;
  float *dc, *du;
  int64_t hidden;
  __device__ void operator()(int64_t i) const {
    const Quotient at = divide(i, hidden);
    const int64_t first = int64_t{4} * hidden * at.whole + at.rest;
    dc[i] = pull_cell(u + first, hidden, cont[at.whole], before[i], dy_h ? dy_h[i] : 0.0f,
                      dy_c ? dy_c[i] : 0.0f, du + first);
  }
};

class LstmUnitOp : public CudaOp {
 public:
  explicit LstmUnitOp(const OpSite& site) : CudaOp(site), hidden_(in_shape(0)[2]) {}

  void forward(const Context&) override {
    for_each(in_count(), LstmCell{in(1), in(2), in(0), out(0), out(1), hidden_});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = all_ins();
    needs.backward_scratch = 5 * in_count() * static_cast<int64_t>(sizeof(float));
  }
  void differentiate(const Context&) override {
    float* const scratch = static_cast<float*>(buffers_.backward_scratch);
    for_each(in_count(), LstmUnitGradient{in(1), in(2), in(0), dout(0), dout(1),
                                          din(0) ? din(0) : scratch + 4 * in_count(),
                                          din(1) ? din(1) : scratch, hidden_});
  }

 private:
  int64_t hidden_;
};

}  // namespace

std::unique_ptr<Op> make_recurrent(const RecurrentDesc& desc, const OpSite& site) {
  return std::make_unique<RecurrentOp>(desc, site);
}

std::unique_ptr<Op> make_lstm_unit(const LstmUnitDesc&, const OpSite& site) {
  return std::make_unique<LstmUnitOp>(site);
}

}  // namespace pcc::cuda
