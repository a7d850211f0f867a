// Inner loops that go element by element: ReLU, Sigmoid and the like, sums, products, masks, norms,
// bytes to floats. y may be the first input wherever an op offers to work in place.
#pragma once

#include <cstdint>

namespace pcc::cpu {

struct ElementLoops {
  void (*relu)(int64_t count, const float* x, float slope, float* y);
  // dx = (sum of parts of dy) where sign > 0, slope times that elsewhere. sign: x or y.
  void (*relu_backward)(int64_t count, const float* sign, const float* const* dy, int parts,
                        float slope, float* dx);
  void (*sigmoid)(int64_t count, const float* x, float* y);
  void (*sigmoid_backward)(int64_t count, const float* y, const float* dy, float* dx);
  void (*tanh)(int64_t count, const float* x, float* y);
  void (*tanh_backward)(int64_t count, const float* y, const float* dy, float* dx);
  // sign: x, or y.
  void (*elu)(int64_t count, const float* x, float alpha, float* y);
  void (*elu_backward)(int64_t count, const float* sign, const float* y, float alpha,
                       const float* dy, float* dx);
  // y = x * sigmoid(beta * x).
  void (*swish)(int64_t count, const float* x, float beta, float* y);
  void (*swish_backward)(int64_t count, const float* x, float beta, const float* dy, float* dx);
  // y = scale * x + shift, or its square; dx = dy * its derivative.
  void (*power)(int64_t count, const float* x, float scale, float shift, bool square, float* y);
  void (*power_backward)(int64_t count, const float* x, float scale, float shift, bool square,
                         const float* dy, float* dx);
  // One sample's step of an LSTM (RecurrentDesc): u (4 * hidden), the others (hidden). dc: of this
  // step, then of the one before.
  void (*lstm)(int64_t hidden, const float* u, float cont, const float* before, float* c, float* h);
  void (*lstm_backward)(int64_t hidden, const float* u, float cont, const float* before,
                        const float* dh, float* dc, float* du);
  // y = sum of coeff[k] * x[k]; coeff null: ones.
  void (*sum)(int64_t count, const float* const* x, const float* coeff, int terms, float* y);
  // y = product of all x[k] but x[skip] (-1: of all), times factor (null: 1).
  void (*product)(int64_t count, const float* const* x, int terms, int skip, const float* factor,
                  float* y);
  void (*quotient)(int64_t count, const float* y, const float* x, const float* dy, float* dx);
  // winner: which input the maximum came from (null: not wanted). Ties as Caffe has them
  // (EltwiseDesc).
  void (*maximum)(int64_t count, const float* const* x, int terms, float* y, uint8_t* winner);
  void (*maximum_backward)(int64_t count, const uint8_t* winner, int k, const float* dy, float* dx);
  // y = mask ? x * scale : 0.
  void (*mask)(int64_t count, const float* x, const uint8_t* mask, float scale, float* y);
  double (*squares)(int64_t count, const float* x);
  // y = (x - mean) * scale; mean null: flat. Mirrored: y[count - 1 - i] instead of y[i].
  void (*transform_bytes)(int64_t count, const uint8_t* x, const float* mean, float flat,
                          float scale, bool mirrored, float* y);
  void (*transform_floats)(int64_t count, const float* x, const float* mean, float flat,
                           float scale, bool mirrored, float* y);
};

}  // namespace pcc::cpu
