// Every other convolution, and the transposed ones: im2col and our own matrix products. Work is cut
// in pieces that fit the caches; how many threads share them changes no result.
#include "backends/cpu/kernels/gemm_loops.h"
#include "backends/cpu/kernels/kernel_op.h"
#include "ops/columns.h"

namespace pcc::cpu {

namespace {

class ColumnsConvOp : public KernelOp {
 public:
  ColumnsConvOp(const ConvDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        g_(desc, desc.transposed ? site.out[0].shape : site.in[0].shape,
           desc.transposed ? site.in[0].shape : site.out[0].shape),
        gemm_(gemm_loops()),
        slots_(threads()) {
    slot_ = std::max(depth() * g_.piece_positions(), g_.piece_channels() * g_.taps * g_.map_area);
    needs_.forward_scratch = slots_ * slot_ * static_cast<int64_t>(sizeof(float));
    if (!trains_) return;
    needs_.overwrites_dparams = true;
    needs_.in = {wants_weights(site) && site.want_dparam[0]};
    needs_.backward_scratch = needs_.forward_scratch;
  }

  void forward(const Context&) override {
    scratch_ = static_cast<float*>(buffers_.scratch);
    if (desc_.transposed)
      to_image(in(0), out());
    else
      to_map(in(0), out());
    if (desc_.bias) add_bias();
  }

  std::string implementation() const override { return concat("im2col ", loops_.isa); }

 protected:
  void differentiate(const Context& context) override {
    scratch_ = static_cast<float*>(buffers_.backward_scratch);
    if (desc_.bias && dparam(1)) bias_gradient(context);
    if (dparam(0)) {
      const bool add = !overwrites(context, 0);
      if (desc_.transposed)
        weight_gradient(dout(), in(0), add);
      else
        weight_gradient(in(0), dout(), add);
    }
    if (!din(0)) return;
    if (desc_.transposed)
      to_map(dout(), din(0));
    else
      to_image(dout(), din(0));
  }

 private:
  int64_t depth() const { return g_.group_channels() * g_.taps; }

  // body(piece, columns) for each piece, where no two threads share the columns.
  template <typename Body>
  void for_each_with_columns(int64_t pieces, Body body) const {
    // A convolution of a few thousand products is over before a second thread has woken up.
    const bool small = g_.samples * g_.maps * g_.map_area * depth() < 16384;
    parallel(slots_, small ? slots_ : 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t slot = begin; slot < end; ++slot)
        for (int64_t piece = slot; piece < pieces; piece += slots_)
          body(piece, scratch_ + slot * slot_);
    });
  }

  void multiply(const GemmShape& shape, const float* a, const float* b, float* c) const {
    gemm_.multiply(shape, a, b, nullptr, c, 0, shape.m, 0, shape.n);
  }

  // map = weights times what each position sees of the image.
  void to_map(const float* image, float* map) const {
    const int64_t width = g_.piece_positions(), across = (g_.map_area + width - 1) / width;
    for_each_with_columns(g_.samples * g_.group * across, [&](int64_t piece, float* columns) {
      const int64_t begin = piece % across * width, end = std::min(begin + width, g_.map_area);
      const int64_t part = piece / across;  // sample * group + group
      image_to_columns(g_, image + part * g_.group_channels() * g_.area, g_.group_channels(), begin,
                       end, columns);
      multiply({.m = g_.group_maps(),
                .n = end - begin,
                .depth = depth(),
                .a_row = depth(),
                .a_step = 1,
                .b_step = end - begin,
                .b_column = 1,
                .c_row = g_.map_area},
               param(0) + part % g_.group * g_.group_maps() * depth(), columns,
               map + part * g_.group_maps() * g_.map_area + begin);
    });
  }
  // image = the transpose of that, applied to the map.
  void to_image(const float* map, float* image) const {
    const int64_t pieces = g_.pieces_of_group();
    for_each_with_columns(g_.samples * g_.group * pieces, [&](int64_t piece, float* columns) {
      const int64_t part = piece / pieces, first = piece % pieces * g_.piece_channels();
      const int64_t channels = std::min(g_.piece_channels(), g_.group_channels() - first);
      multiply({.m = channels * g_.taps,
                .n = g_.map_area,
                .depth = g_.group_maps(),
                .a_row = 1,
                .a_step = depth(),
                .b_step = g_.map_area,
                .b_column = 1,
                .c_row = g_.map_area},
               param(0) + part % g_.group * g_.group_maps() * depth() + first * g_.taps,
               map + part * g_.group_maps() * g_.map_area, columns);
      columns_to_image(g_, columns, channels,
                       image + (part * g_.group_channels() + first) * g_.area);
    });
  }
  // dw = or += map gradient times columns of the image, sample after sample. Each piece owns some
  // of the input channels.
  void weight_gradient(const float* image, const float* map, bool add) const {
    const int64_t pieces = g_.pieces_of_group();
    for_each_with_columns(g_.group * pieces, [&](int64_t piece, float* columns) {
      const int64_t group = piece / pieces, first = piece % pieces * g_.piece_channels();
      const int64_t channels = std::min(g_.piece_channels(), g_.group_channels() - first);
      float* const dw = dparam(0) + group * g_.group_maps() * depth() + first * g_.taps;
      for (int64_t n = 0; n < g_.samples; ++n) {
        const int64_t part = n * g_.group + group;
        image_to_columns(g_, image + (part * g_.group_channels() + first) * g_.area, channels, 0,
                         g_.map_area, columns);
        multiply({.m = g_.group_maps(),
                  .n = channels * g_.taps,
                  .depth = g_.map_area,
                  .a_row = g_.map_area,
                  .a_step = 1,
                  .b_step = 1,
                  .b_column = g_.map_area,
                  .c_row = depth(),
                  .add = add || n > 0},
                 map + part * g_.group_maps() * g_.map_area, columns, dw);
      }
    });
  }
  void add_bias() const {
    const int64_t maps = site_.out[0].shape[1], area = site_.out[0].shape.count(2);
    for_pieces(site_.out[0].shape[0] * maps, area, [=, this](int64_t row) {
      const float bias = param(1)[row % maps];
      float* const y = out() + row * area;
      for (int64_t i = 0; i < area; ++i) y[i] += bias;
    });
  }
  void bias_gradient(const Context& context) const {
    const Shape& y = site_.out[0].shape;
    const int64_t samples = y[0], maps = y[1], area = y.count(2);
    for_pieces(maps, samples * area, [=, &context, this](int64_t map) {
      double sum = 0;
      for (int64_t n = 0; n < samples; ++n) {
        const float* const row = dout() + (n * maps + map) * area;
        for (int64_t i = 0; i < area; ++i) sum += static_cast<double>(row[i]);
      }
      const float total = static_cast<float>(sum);
      dparam(1)[map] = overwrites(context, 1) ? total : dparam(1)[map] + total;
    });
  }

  ConvDesc desc_;
  ConvGeometry g_;
  const GemmLoops& gemm_;
  int64_t slots_;             // pieces of scratch: the number of threads when the op was made
  int64_t slot_ = 0;          // floats of one of them
  float* scratch_ = nullptr;  // of the pass that is running
};

}  // namespace

std::unique_ptr<Op> make_columns_conv(const ConvDesc& desc, const OpSite& site) {
  const Layout in = site.in[0].layout, out = site.out[0].layout;
  if (in != Layout::plain || out != Layout::plain) return nullptr;
  if (static_cast<int>(desc.kernel.size()) > kMaxColumnAxes) return nullptr;
  return std::make_unique<ColumnsConvOp>(desc, site);
}

}  // namespace pcc::cpu
