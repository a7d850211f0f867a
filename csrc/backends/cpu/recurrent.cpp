// LSTM and RNN over matrix products of our own.
#include "ops/recurrent.h"

#include "backends/cpu/kernels/gemm_loops.h"
#include "backends/cpu/kernels/loops.h"
#include "backends/cpu/makers.h"

namespace pcc::cpu {

namespace {

struct Product {
  const GemmLoops& loops = gemm_loops();

  void operator()(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column,
                  const float* b, int64_t b_row, int64_t b_column, float* c, bool add) const {
    const GemmShape shape{.m = m,
                          .n = n,
                          .depth = k,
                          .a_row = a_row,
                          .a_step = a_column,
                          .b_step = b_row,
                          .b_column = b_column,
                          .c_row = n,
                          .add = add};
    multiply_parallel(loops, shape, a, b, nullptr, c);
  }
};

class RecurrentOp : public RecurrentSteps<float, Product> {
 public:
  RecurrentOp(const RecurrentDesc& desc, const OpSite& site)
      : RecurrentSteps(desc, site, Product()), loops_(loops()), gemm_(gemm_loops()) {}
  std::string implementation() const override { return concat("kernel ", loops_.isa); }

 protected:
  void lstm_row(const float* u, float cont, const float* before, float* c,
                float* h) const override {
    loops_.element.lstm(hidden(), u, cont, before, c, h);
  }
  void lstm_row_gradient(const float* u, float cont, const float* before, const float* dh,
                         float* dc, float* du) const override {
    loops_.element.lstm_backward(hidden(), u, cont, before, dh, dc, du);
  }
  void rnn_row(const float* u, float* h) const override { loops_.element.tanh(hidden(), u, h); }
  // The weights in the products' own order, where several steps read them so.
  int64_t prepared_values() const override {
    const bool worth = steps() > 1 && batch() > 2 && hidden() >= 16;
    return worth ? packed_floats(gemm_, of_state(nullptr)) : 0;
  }
  void prepare_hidden(float* prepared) const override {
    if (prepared_values() > 0) pack_parallel(gemm_, of_state(nullptr), param(0), prepared);
  }
  void add_hidden(const float* state, const float* prepared, float* gates) const override {
    const GemmShape shape = of_state(prepared_values() > 0 ? prepared : nullptr);
    multiply_parallel(gemm_, shape, state, param(0), nullptr, gates);
  }

 private:
  GemmShape of_state(const float* packed) const {
    return {.m = batch(),
            .n = gates(),
            .depth = hidden(),
            .a_row = hidden(),
            .a_step = 1,
            .b_step = 1,
            .b_column = hidden(),
            .c_row = gates(),
            .add = true,
            .packed = packed};
  }

  const Loops& loops_;
  const GemmLoops& gemm_;
};

}  // namespace

std::unique_ptr<Op> make_recurrent(const RecurrentDesc& desc, const OpSite& site) {
  return std::make_unique<RecurrentOp>(desc, site);
}

}  // namespace pcc::cpu
