// The cells of recurrent layers, the same for every backend on the host: what one step does to one
// element, and how the steps of a layer follow each other. Source: recurrent_layer.cpp,
// lstm_layer.cpp, lstm_unit_layer.cpp, rnn_layer.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "ops/typed_op.h"

namespace pcc {

// 1 / (1 + exp(-x)), from tanh, which has no intermediate result that overflows.
template <typename T>
T logistic(T x) {
  return T(0.5) * std::tanh(T(0.5) * x) + T(0.5);
}

// An lstm's element: gates i, f, o and candidate g after their functions; cont: 0 forgets.
template <typename T>
struct LstmElement {
  T i, f, o, g, cont, before, c, tanh_c;

  // u: of the input gate; the other gates' follow `hidden` apart.
  LstmElement(const T* u, int64_t hidden, T cont_of, T c_before)
      : i(logistic(u[0])),
        f(cont_of == 0 ? T(0) : cont_of * logistic(u[hidden])),
        o(logistic(u[2 * hidden])),
        g(std::tanh(u[3 * hidden])),
        cont(cont_of),
        before(c_before),
        c(f * c_before + i * g),
        tanh_c(std::tanh(c)) {}
  T h() const { return o * tanh_c; }
  // From dh and dc of this step: du; returns dc of the step before.
  T pull(T dh, T dc, int64_t hidden, T* du) const {
    const T dstate = dc + dh * o * (1 - tanh_c * tanh_c);
    du[0] = dstate * g * i * (1 - i);
    du[hidden] = cont == 0 ? T(0) : dstate * before * f * (1 - f / cont);
    du[2 * hidden] = dh * tanh_c * o * (1 - o);
    du[3 * hidden] = dstate * i * (1 - g * g);
    return dstate * f;
  }
};

// A recurrent layer's steps (RecurrentDesc). Product multiplies: (m, n) = or += (m, k) (k, n), each
// operand seen through the strides of its rows and columns.
template <typename T, typename Product>
class RecurrentSteps : public TypedOp<T> {
 public:
  RecurrentSteps(const RecurrentDesc& desc, const OpSite& site, Product product)
      : TypedOp<T>(site),
        product_(std::move(product)),
        lstm_(desc.cell == RecurrentDesc::Cell::lstm),
        exposed_(desc.exposed),
        steps_(site.in[0].shape[0]),
        batch_(site.in[0].shape[1]),
        hidden_(site.params[0].shape[1]),
        gates_(site.params[0].shape[0]) {
    const auto state = static_cast<size_t>(batch_ * hidden_);
    h_last_.resize(state);
    if (lstm_) c_last_.resize(state);
  }

  OpNeeds needs() const override {
    OpNeeds needs = TypedOp<T>::needs();
    needs.overwrites_dparams = true;
    return needs;
  }

  void forward(const Context&) override {
    T* const scratch = static_cast<T*>(this->buffers_.scratch);
    T* const prepared = this->trains() ? scratch : scratch + values();
    prepare_hidden(prepared);
    T* u = this->trains() ? static_cast<T*>(this->buffers_.stash) : scratch;
    T* const state = u + steps_ * batch_ * gates_;       // s of each step
    T* const cells = state + steps_ * batch_ * hidden_;  // c before each step, and after the last
    start(0, h_last_);
    if (lstm_) start(1, c_last_);
    const T* before = h_last_.data();
    if (lstm_) std::copy(c_last_.begin(), c_last_.end(), cells);
    std::copy_n(this->in(0), steps_ * batch_ * gates_, u);
    for (int64_t t = 0; t < steps_; ++t) {
      const int64_t step = t * batch_ * hidden_;
      T* gates = u + t * batch_ * gates_;
      T* h = this->out() + step;
      for_each_sample(t, [=, this](int64_t, T cont, int64_t at) {
        for (int64_t i = at; i < at + hidden_; ++i) state[step + i] = cont * before[i];
      });
      add_hidden(state + step, prepared, gates);
      for_each_sample(t, [=, this](int64_t n, T cont, int64_t at) {
        if (lstm_)
          lstm_row(gates + n * gates_, cont, cells + step + at,
                   cells + step + batch_ * hidden_ + at, h + at);
        else
          rnn_row(gates + n * gates_, h + at);
      });
      before = h;
    }
    finish(0, before, h_last_);
    if (lstm_) finish(1, cells + steps_ * batch_ * hidden_, c_last_);
  }

 protected:
  // One sample's step. u: the gates' inputs, (4 H) or (H).
  virtual void lstm_row(const T* u, T cont, const T* before, T* c, T* h) const {
    for (int64_t i = 0; i < hidden_; ++i) {
      const LstmElement<T> cell(u + i, hidden_, cont, before[i]);
      c[i] = cell.c;
      h[i] = cell.h();
    }
  }
  // dc: of this step, then of the one before.
  virtual void lstm_row_gradient(const T* u, T cont, const T* before, const T* dh, T* dc,
                                 T* du) const {
    for (int64_t i = 0; i < hidden_; ++i)
      dc[i] = LstmElement<T>(u + i, hidden_, cont, before[i]).pull(dh[i], dc[i], hidden_, du + i);
  }
  virtual void rnn_row(const T* u, T* h) const {
    for (int64_t i = 0; i < hidden_; ++i) h[i] = std::tanh(u[i]);
  }
  // What the steps of a forward pass share: values of it, and how it is made of the weights.
  virtual int64_t prepared_values() const { return 0; }
  virtual void prepare_hidden(T* prepared) const { (void)prepared; }
  // gates (N, gates) += state (N, H) times the weights of the state.
  virtual void add_hidden(const T* state, const T* prepared, T* gates) const {
    (void)prepared;
    product_(batch_, gates_, hidden_, state, hidden_, 1, this->param(0), 1, hidden_, gates, true);
  }
  int64_t steps() const { return steps_; }
  int64_t batch() const { return batch_; }
  int64_t hidden() const { return hidden_; }
  int64_t gates() const { return gates_; }

  int64_t values() const {
    return (steps_ * gates_ + steps_ * hidden_ + (steps_ + 1) * hidden_) * batch_;
  }
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch =
        ((this->trains() ? 0 : values()) + prepared_values()) * static_cast<int64_t>(sizeof(T));
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(this->site_.in.size(), false);
    needs.in[1] = true;
    needs.out.assign(this->site_.out.size(), false);
    needs.out[0] = !lstm_;
    needs.stash_bytes = values() * static_cast<int64_t>(sizeof(T));
    needs.backward_scratch =
        (steps_ * gates_ + 2 * hidden_) * batch_ * static_cast<int64_t>(sizeof(T));
  }
  void differentiate(const Context& context) override {
    const T* const u = static_cast<const T*>(this->buffers_.stash);
    const T* const state = u + steps_ * batch_ * gates_;
    const T* const cells = state + steps_ * batch_ * hidden_;
    T* const scratch = static_cast<T*>(this->buffers_.backward_scratch);
    T* const dh = scratch + steps_ * batch_ * gates_;  // of the step at hand
    T* const dc = dh + batch_ * hidden_;
    T* const du = this->din(0) ? this->din(0) : scratch;
    std::fill_n(dh, 2 * batch_ * hidden_, T(0));
    const T* dy = this->dout();
    for (int64_t t = steps_ - 1; t >= 0; --t) {
      const int64_t step = t * batch_ * hidden_;
      const T* gates = u + t * batch_ * gates_;
      T* dgates = du + t * batch_ * gates_;
      for_each_sample(t, [=, this](int64_t n, T cont, int64_t at) {
        for (int64_t i = at; dy && i < at + hidden_; ++i) dh[i] += dy[step + i];
        if (lstm_) {
          lstm_row_gradient(gates + n * gates_, cont, cells + step + at, dh + at, dc + at,
                            dgates + n * gates_);
        } else {
          const T* h = this->out() + step;
          for (int64_t i = at; i < at + hidden_; ++i) dgates[i] = dh[i] * (1 - h[i] * h[i]);
        }
      });
      if (t == 0) break;
      product_(batch_, hidden_, gates_, dgates, gates_, 1, this->param(0), hidden_, 1, dh, false);
      for_each_sample(t, [=, this](int64_t, T cont, int64_t at) {
        for (int64_t i = at; i < at + hidden_; ++i) dh[i] *= cont;
      });
    }
    if (T* dw = this->dparam(0))
      product_(gates_, hidden_, steps_ * batch_, du, 1, gates_, state, hidden_, 1, dw,
               !this->overwrites(context, 0));
  }

 private:
  // For each sample of step t: body(sample, its cont, where its (H) begin in a (N, H)).
  template <typename Body>
  void for_each_sample(int64_t t, Body body) const {
    const T* cont = this->in(1) + t * batch_;
    parallel(batch_, std::max<int64_t>(1, 2048 / hidden_), [&](int64_t begin, int64_t end, int) {
      for (int64_t n = begin; n < end; ++n) body(n, cont[n], n * hidden_);
    });
  }
  // The state before the first step, and after the last.
  void start(int which, std::vector<T>& last) const {
    if (exposed_) std::copy_n(this->in(2 + which), last.size(), last.begin());
  }
  void finish(int which, const T* state, std::vector<T>& last) const {
    std::copy_n(state, last.size(), last.begin());
    if (exposed_) std::copy(last.begin(), last.end(), this->out(1 + which));
  }

  Product product_;
  bool lstm_, exposed_;
  int64_t steps_, batch_, hidden_, gates_;
  std::vector<T> h_last_, c_last_;
};

}  // namespace pcc
