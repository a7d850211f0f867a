// Embed, BatchReindex and Parameter: rows that numbers choose, and a parameter as a value.
#include "backends/cuda/makers.h"
#include "backends/cuda/numbers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/classes.h"

namespace pcc::cuda {

namespace {

// y[m] = rows[numbers[m]] [+ bias]; zeros for a number of no row.
struct Gather {
  const float* numbers;
  Labels<float> meaning;
  int64_t width;
  const float *rows, *bias;
  float* y;
  __device__ void operator()(int64_t i) const {
    const auto [m, j] = divide(i, width);
    const float number = numbers[m];
    const float x = meaning.skips(number) ? 0.0f : rows[static_cast<int64_t>(number) * width + j];
    y[i] = bias ? x + bias[j] : x;
  }
};

class EmbedOp : public CudaOp {
 public:
  EmbedOp(const EmbedDesc& desc, const OpSite& site)
      : CudaOp(site),
        bias_(desc.bias),
        count_(in_count()),
        rows_(site.params[0].shape[0]),
        seen_{count_, site.params[0].shape[1], 1} {}

  void forward(const Context& context) override {
    check_numbers(context, site_.number, in(0), count_, rows_);
    for_each(out_count(), Gather{in(0), Labels<float>(false, 0, rows_), seen_.dim, param(0),
                                 bias_ ? param(1) : nullptr, out()});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {true};
    needs.overwrites_dparams = true;
    needs.backward_scratch = std::max(Chains::bytes(count_), bias_ ? seen_.scratch_bytes() : 0);
  }
  void differentiate(const Context& context) override {
    if (dparam(0)) {
      const bool adds = !overwrites(context, 0);
      if (!adds) clear(buffers_.dparams[0]);
      add_to_rows(in(0), link_numbers(in(0), count_, buffers_.backward_scratch), rows_, seen_.dim,
                  dout(), adds, dparam(0));
    }
    if (bias_ && dparam(1))
      bias_gradient(seen_, dout(), {dparam(1), !overwrites(context, 1)}, buffers_.backward_scratch);
  }

 private:
  bool bias_;
  int64_t count_, rows_;
  Channels seen_;  // y
};

class BatchReindexOp : public CudaOp {
 public:
  explicit BatchReindexOp(const OpSite& site)
      : CudaOp(site),
        count_(out_shape()[0]),
        samples_(in_shape(0)[0]),
        width_(out_shape().count(1)) {}

  void forward(const Context& context) override {
    check_numbers(context, site_.number, in(1), count_, samples_);
    for_each(out_count(),
             Gather{in(1), Labels<float>(false, 0, samples_), width_, in(0), nullptr, out()});
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in = {false, true};
    needs.backward_scratch = Chains::bytes(count_);
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    clear(buffers_.din[0]);
    add_to_rows(in(1), link_numbers(in(1), count_, buffers_.backward_scratch), samples_, width_,
                dout(), false, din(0));
  }

 private:
  int64_t count_, samples_, width_;
};

class ParameterOp : public CudaOp {
 public:
  using CudaOp::CudaOp;
  void forward(const Context&) override { for_each(out_count(), Copy{param(0), out()}); }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.overwrites_dparams = true; }
  void differentiate(const Context& context) override {
    if (dparam(0)) for_each(out_count(), Copy{dout(), dparam(0), !overwrites(context, 0)});
  }
};

}  // namespace

std::unique_ptr<Op> make_embed(const EmbedDesc& desc, const OpSite& site) {
  return std::make_unique<EmbedOp>(desc, site);
}

std::unique_ptr<Op> make_batch_reindex(const BatchReindexDesc&, const OpSite& site) {
  return std::make_unique<BatchReindexOp>(site);
}

std::unique_ptr<Op> make_parameter(const ParameterDesc&, const OpSite& site) {
  return std::make_unique<ParameterOp>(site);
}

}  // namespace pcc::cuda
