// InnerProduct: matrix products by kernels of our own, which take the weights as they lie, add
// straight into their gradient and need no memory but the stack. oneDNN's sgemm is as fast, within
// a few per cent, but allocates at every call, and its sums depend on the number of threads.
#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/gemm_loops.h"
#include "backends/cpu/kernels/tables.h"
#include "backends/cpu/makers.h"
#include "core/parallel.h"

namespace pcc::cpu {

PCC_TABLES(GemmLoops, gemm_table)

const GemmLoops& gemm_loops() { return pick_gemm_table(loops().isa); }

// Cut by columns, whose panels are then made once; by rows where there are few.
void multiply_parallel(const GemmLoops& loops, const GemmShape& shape, const float* a,
                       const float* b, const float* bias, float* c) {
  const auto run = [&](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    loops.multiply(shape, a, b, bias, c, row, row_end, column, column_end);
  };
  constexpr int64_t kWork = 1 << 18;  // products that are worth a thread
  const int64_t panel = loops.panel, panels = (shape.n + panel - 1) / panel;
  const int64_t rows = loops.rows, pieces = (shape.m + rows - 1) / rows;
  if (panels >= 2 * threads() || panels >= pieces)
    parallel(panels, 1 + kWork / (shape.m * shape.depth * panel),
             [&](int64_t begin, int64_t end, int) {
               run(0, shape.m, begin * panel, std::min(shape.n, end * panel));
             });
  else
    parallel(pieces, 1 + kWork / (shape.n * shape.depth * rows),
             [&](int64_t begin, int64_t end, int) {
               run(begin * rows, std::min(shape.m, end * rows), 0, shape.n);
             });
}

int64_t packed_floats(const GemmLoops& loops, const GemmShape& shape) {
  return (shape.n + loops.panel - 1) / loops.panel * loops.panel * shape.depth;
}

void pack_parallel(const GemmLoops& loops, const GemmShape& shape, const float* b, float* packed) {
  constexpr int64_t kFloats = 1 << 14;  // that are worth a thread
  const int64_t panel = loops.panel;
  parallel((shape.n + panel - 1) / panel, 1 + kFloats / (shape.depth * panel),
           [&](int64_t begin, int64_t end, int) {
             loops.pack(shape, b, packed, begin * panel, std::min(shape.n, end * panel));
           });
}

namespace {

class GemmOp : public Op {
 public:
  GemmOp(const GemmDesc& desc, const OpSite& site)
      : desc_(desc), loops_(gemm_loops()), isa_(loops().isa) {
    needs_.in = {site.backward() && site.want_dparam[0]};
    needs_.overwrites_dparams = true;
  }

  OpNeeds needs() const override { return needs_; }

  void forward(const Context&) override {
    const auto [m, k, n, transpose, bias] = desc_;
    // w lies (N, K), or (K, N) where transpose.
    const GemmShape shape{.m = m,
                          .n = n,
                          .depth = k,
                          .a_row = k,
                          .a_step = 1,
                          .b_step = transpose ? n : 1,
                          .b_column = transpose ? 1 : k,
                          .c_row = n};
    multiply(shape, buffers_.in[0], buffers_.params[0],
             bias ? buffers_.params[1].as<float>() : nullptr, buffers_.out[0]);
  }

  void differentiate(const Context& context) override {
    const auto [m, k, n, transpose, bias] = desc_;
    const Tensor& dx = buffers_.din[0];
    const Tensor& dy = buffers_.dout[0][0];
    if (dx) {
      const GemmShape shape{.m = m,
                            .n = k,
                            .depth = n,
                            .a_row = n,
                            .a_step = 1,
                            .b_step = transpose ? 1 : k,
                            .b_column = transpose ? n : 1,
                            .c_row = k};
      multiply(shape, dy, buffers_.params[0], nullptr, dx);
    }
    const Tensor& dw = buffers_.dparams[0];
    const Tensor& x = buffers_.in[0];
    const GemmShape shape{.m = transpose ? k : n,
                          .n = transpose ? n : k,
                          .depth = m,
                          .a_row = 1,
                          .a_step = transpose ? k : n,
                          .b_step = transpose ? n : k,
                          .b_column = 1,
                          .c_row = transpose ? n : k,
                          .add = !overwrites(context, 0)};
    if (dw) multiply(shape, transpose ? x : dy, transpose ? dy : x, nullptr, dw);
    if (bias && buffers_.dparams[1])
      sum_rows(dy.as<float>(), overwrites(context, 1), buffers_.dparams[1].as<float>());
  }

  std::string implementation() const override { return concat("kernel ", isa_); }

 private:
  void multiply(const GemmShape& shape, const Tensor& a, const Tensor& b, const float* bias,
                const Tensor& c) const {
    multiply_parallel(loops_, shape, a.as<float>(), b.as<float>(), bias, c.as<float>());
  }

  // db = or += the sum over the rows of dy. Each thread has columns of its own: the same bits for
  // any number of threads.
  void sum_rows(const float* dy, bool overwrite, float* db) const {
    const int64_t m = desc_.m, n = desc_.n;
    parallel(n, std::max<int64_t>(16, 16384 / m), [=](int64_t begin, int64_t end, int) {
      if (overwrite) std::fill(db + begin, db + end, 0.0f);
      for (int64_t row = 0; row < m; ++row)
        for (int64_t column = begin; column < end; ++column) db[column] += dy[row * n + column];
    });
  }

  GemmDesc desc_;
  OpNeeds needs_;
  const GemmLoops& loops_;
  const char* isa_;
};

}  // namespace

std::unique_ptr<Op> make_gemm(const GemmDesc& desc, const OpSite& site) {
  if (site.in[0].layout != Layout::plain) return nullptr;
  return std::make_unique<GemmOp>(desc, site);
}

}  // namespace pcc::cpu
