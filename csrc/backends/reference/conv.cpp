// Convolution and its transpose over any number of spatial axes: im2col and matrix products, as
// base_conv_layer.cpp. Work is cut in pieces that fit the caches; how many threads share them
// changes no result.
#include "backends/reference/matrix.h"
#include "backends/reference/reference_op.h"
#include "ops/columns.h"

namespace pcc::reference {
namespace {

template <typename T>
class Conv : public ReferenceOp<T> {
 public:
  Conv(const ConvDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        g_(desc, desc.transposed ? site.out[0].shape : site.in[0].shape,
           desc.transposed ? site.in[0].shape : site.out[0].shape),
        slots_(threads()) {
    PCC_CHECK(g_.axes() <= kMaxColumnAxes, "'", site.name, "': convolution over ", g_.axes(),
              " axes, at most ", kMaxColumnAxes, " are known");
  }

  void forward(const Context&) override {
    scratch_ = static_cast<T*>(this->buffers_.scratch);
    if (desc_.transposed)
      to_image(this->in(0), this->out());
    else
      to_map(this->in(0), this->out());
    if (desc_.bias) add_bias();
  }
  std::string implementation() const override { return "im2col, matrix product"; }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = slots_ * slot_elements() * static_cast<int64_t>(sizeof(T));
    needs.backward_scratch = needs.forward_scratch;
  }
  void backward_needs(OpNeeds& needs) const override { needs.in = {this->site_.want_dparam[0]}; }
  void differentiate(const Context& context) override {
    const T* dy = this->dout();
    scratch_ = static_cast<T*>(this->buffers_.backward_scratch);
    if (desc_.bias && this->dparam(1)) bias_gradient(context);
    if (this->dparam(0)) {
      const bool add = !this->overwrites(context, 0);
      if (desc_.transposed)
        weight_gradient(dy, this->in(0), add);
      else
        weight_gradient(this->in(0), dy, add);
    }
    if (!this->din(0)) return;
    if (desc_.transposed)
      to_map(dy, this->din(0));
    else
      to_image(dy, this->din(0));
  }

 private:
  // Room for the columns of one piece of work.
  int64_t slot_elements() const {
    return std::max(g_.group_channels() * g_.taps * g_.piece_positions(),
                    g_.piece_channels() * g_.taps * g_.map_area);
  }
  // For each piece: body(piece, columns), where no two threads share the columns.
  template <typename Body>
  void for_each_with_columns(int64_t pieces, Body body) {
    // A convolution of a few thousand products is over before a second thread has woken up.
    const bool small = g_.samples * g_.maps * g_.map_area * g_.group_channels() * g_.taps < 16384;
    parallel(slots_, small ? slots_ : 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t slot = begin; slot < end; ++slot)
        for (int64_t piece = slot; piece < pieces; piece += slots_)
          body(piece, scratch_ + slot * slot_elements());
    });
  }

  // map = weights times what each position sees of the image.
  void to_map(const T* image, T* map) {
    const int64_t depth = g_.group_channels() * g_.taps, width = g_.piece_positions();
    const int64_t across = (g_.map_area + width - 1) / width;
    for_each_with_columns(g_.samples * g_.group * across, [&](int64_t piece, T* columns) {
      const int64_t begin = piece % across * width, end = std::min(begin + width, g_.map_area);
      const int64_t part = piece / across;  // sample * group + group
      image_to_columns(g_, image + part * g_.group_channels() * g_.area, g_.group_channels(), begin,
                       end, columns);
      multiply<T>(g_.group_maps(), end - begin, depth,
                  {weights() + part % g_.group * g_.group_maps() * depth, depth, 1},
                  {columns, end - begin, 1}, map + part * g_.group_maps() * g_.map_area + begin,
                  g_.map_area, false);
    });
  }
  // image = the transpose of that, applied to the map.
  void to_image(const T* map, T* image) {
    const int64_t depth = g_.group_channels() * g_.taps, pieces = g_.pieces_of_group();
    for_each_with_columns(g_.samples * g_.group * pieces, [&](int64_t piece, T* columns) {
      const int64_t part = piece / pieces, first = piece % pieces * g_.piece_channels();
      const int64_t channels = std::min(g_.piece_channels(), g_.group_channels() - first);
      const T* w = weights() + part % g_.group * g_.group_maps() * depth + first * g_.taps;
      multiply<T>(channels * g_.taps, g_.map_area, g_.group_maps(), {w, 1, depth},
                  {map + part * g_.group_maps() * g_.map_area, g_.map_area, 1}, columns,
                  g_.map_area, false);
      columns_to_image(g_, columns, channels,
                       image + (part * g_.group_channels() + first) * g_.area);
    });
  }
  // dw = or += map gradient times columns of the image, sample after sample. Each piece owns some
  // of the input channels.
  void weight_gradient(const T* image, const T* map, bool add) {
    const int64_t depth = g_.group_channels() * g_.taps, pieces = g_.pieces_of_group();
    for_each_with_columns(g_.group * pieces, [&](int64_t piece, T* columns) {
      const int64_t group = piece / pieces, first = piece % pieces * g_.piece_channels();
      const int64_t channels = std::min(g_.piece_channels(), g_.group_channels() - first);
      T* dw = this->dparam(0) + group * g_.group_maps() * depth + first * g_.taps;
      for (int64_t n = 0; n < g_.samples; ++n) {
        const int64_t part = n * g_.group + group;
        image_to_columns(g_, image + (part * g_.group_channels() + first) * g_.area, channels, 0,
                         g_.map_area, columns);
        multiply<T>(g_.group_maps(), channels * g_.taps, g_.map_area,
                    {map + part * g_.group_maps() * g_.map_area, g_.map_area, 1},
                    {columns, 1, g_.map_area}, dw, depth, add || n > 0);
      }
    });
  }
  void add_bias() {
    const int64_t maps = this->out_shape()[1], area = this->out_shape().count(2);
    T* y = this->out();
    const T* bias = this->param(1);
    for_each_piece(this->out_shape()[0] * maps, area, [=](int64_t row) {
      for (int64_t i = row * area; i < (row + 1) * area; ++i) y[i] += bias[row % maps];
    });
  }
  void bias_gradient(const Context& context) {
    const int64_t samples = this->out_shape()[0], maps = this->out_shape()[1];
    const int64_t area = this->out_shape().count(2);
    const T* dy = this->dout();
    for_each_piece(maps, samples * area, [=, this](int64_t map) {
      double sum = 0;
      for (int64_t n = 0; n < samples; ++n) {
        const T* row = dy + (n * maps + map) * area;
        sum += sum_of(area, [=](int64_t i) { return row[i]; });
      }
      this->give(context, 1, map, sum);
    });
  }
  const T* weights() const { return this->param(0); }

  ConvDesc desc_;
  ConvGeometry g_;
  int64_t slots_;         // pieces of scratch: the number of threads when the op was made
  T* scratch_ = nullptr;  // of the pass that is running
};

}  // namespace

PCC_REFERENCE_OP(ConvDesc, Conv)

}  // namespace pcc::reference
