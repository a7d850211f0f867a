// Crop, Permute, Tile, BatchReindex, Filter, Embed, Parameter, im2col: elements in other places.
#include "backends/reference/reference_op.h"
#include "ops/columns.h"
#include "ops/rows.h"

namespace pcc::reference {
namespace {

// The whole number that stands for a sample or a row; throws a data error outside [0, count).
template <typename T>
int64_t whole_number(const std::string& layer, const char* what, T value, int64_t place,
                     int64_t count) {
  PCC_DATA(value > T(-1) && value < static_cast<T>(count), "layer '", layer, "': ", what, " ",
           place, " is ", value, ", but there are ", count, " (0 to ", count - 1, ")");
  return static_cast<int64_t>(value);
}

// Steps of an array of that shape from one element to the next on each axis.
std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides;
  for (int axis = 0; axis < shape.axes(); ++axis) strides.push_back(shape.count(axis + 1));
  return strides;
}

// Elements of x that y shows, at steps of their own: y[i0, i1, ..] = x[first + i0 * step0 + ..].
template <typename T>
class Shown : public ReferenceOp<T> {
 public:
  Shown(const OpSite& site, int64_t first, std::vector<int64_t> steps)
      : ReferenceOp<T>(site), first_(first), steps_(std::move(steps)) {}

  void forward(const Context&) override {
    const T* x = this->in(0);
    T* y = this->out();
    walk([=](int64_t to, int64_t from) { y[to] = x[from]; });
  }

 protected:
  void differentiate(const Context&) override {
    const T* dy = this->dout();
    T* dx = this->din(0);
    if (this->in_shape(0).count() > this->out_shape().count())
      std::fill_n(dx, this->in_shape(0).count(), T(0));
    walk([=](int64_t to, int64_t from) { dx[from] = dy[to]; });
  }

 private:
  // body(element of y, element of x), rows of y over threads.
  template <typename Body>
  void walk(Body body) {
    const Shape& shape = this->out_shape();
    const int last = shape.axes() - 1;
    const int64_t width = last < 0 ? 1 : shape[last];
    const int64_t step = last < 0 ? 0 : steps_.back();
    for_each_piece(shape.count() / width, width, [=, this, &shape](int64_t row) {
      int64_t from = first_, rest = row;
      for (int axis = last - 1; axis >= 0; --axis) {
        from += rest % shape[axis] * steps_[static_cast<size_t>(axis)];
        rest /= shape[axis];
      }
      for (int64_t i = 0; i < width; ++i) body(row * width + i, from + i * step);
    });
  }
  int64_t first_;
  std::vector<int64_t> steps_;
};

template <typename T>
class Crop : public Shown<T> {
 public:
  Crop(const CropDesc& desc, const OpSite& site)
      : Shown<T>(site, begin(desc, site.in[0].shape), strides_of(site.in[0].shape)) {}

 private:
  static int64_t begin(const CropDesc& desc, const Shape& x) {
    int64_t at = 0;
    for (int axis = 0; axis < x.axes(); ++axis)
      at += desc.offset[static_cast<size_t>(axis)] * x.count(axis + 1);
    return at;
  }
};

template <typename T>
class Permute : public Shown<T> {
 public:
  Permute(const PermuteDesc& desc, const OpSite& site)
      : Shown<T>(site, 0, steps(desc, strides_of(site.in[0].shape))) {}

 private:
  static std::vector<int64_t> steps(const PermuteDesc& desc, const std::vector<int64_t>& of_x) {
    std::vector<int64_t> steps;
    for (const int axis : desc.order) steps.push_back(of_x[static_cast<size_t>(axis)]);
    return steps;
  }
};

template <typename T>
class Tile : public ReferenceOp<T> {
 public:
  Tile(const TileDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        tiles_(desc.tiles),
        outer_(site.in[0].shape.count(0, desc.axis)),
        inner_(site.in[0].shape.count(desc.axis)) {}

  void forward(const Context&) override {
    const T* x = this->in(0);
    T* y = this->out();
    for_each_piece(outer_ * tiles_, inner_, [=, this](int64_t piece) {
      std::copy_n(x + piece / tiles_ * inner_, inner_, y + piece * inner_);
    });
  }

 protected:
  void differentiate(const Context&) override {
    const T* dy = this->dout();
    T* dx = this->din(0);
    for_each(outer_ * inner_, [=, this](int64_t i) {
      const T* from = dy + i / inner_ * tiles_ * inner_ + i % inner_;
      T sum = 0;
      for (int64_t t = 0; t < tiles_; ++t) sum += from[t * inner_];
      dx[i] = sum;
    });
  }

 private:
  int64_t tiles_, outer_, inner_;
};

template <typename T>
class BatchReindex : public ReferenceOp<T> {
 public:
  BatchReindex(const BatchReindexDesc&, const OpSite& site) : ReferenceOp<T>(site) {}

  void forward(const Context&) override {
    const int64_t size = this->out_shape().count(1);
    for (int64_t m = 0; m < this->out_shape()[0]; ++m)
      std::copy_n(this->in(0) + index(m) * size, size, this->out() + m * size);
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = {false, true}; }
  void differentiate(const Context&) override {
    const int64_t size = this->out_shape().count(1);
    T* dx = this->din(0);
    std::fill_n(dx, this->in_shape(0).count(), T(0));
    for (int64_t m = 0; m < this->out_shape()[0]; ++m) {
      const T* dy = this->dout() + m * size;
      T* to = dx + index(m) * size;
      for (int64_t i = 0; i < size; ++i) to[i] += dy[i];
    }
  }

 private:
  int64_t index(int64_t m) const {
    return whole_number(this->site_.name, "index", this->in(1)[m], m, this->in_shape(0)[0]);
  }
};

template <typename T>
class Filter : public ReferenceOp<T> {
 public:
  Filter(const FilterDesc&, const OpSite& site) : ReferenceOp<T>(site) {}

  void forward(const Context&) override {
    int64_t rows = 0;
    for_chosen([&](int64_t, int64_t) { ++rows; });
    if (rows != this->out_shape()[0]) throw RowsChanged{this->site_.name, rows};
    for (int k = 0; k < this->outs(); ++k) {
      const int64_t size = this->in_shape(k).count(1);
      for_chosen([&](int64_t n, int64_t m) {
        std::copy_n(this->in(k) + n * size, size, this->out(k) + m * size);
      });
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    needs.in.assign(static_cast<size_t>(this->ins()), false);
    needs.in.back() = true;
  }
  void differentiate(const Context&) override {
    for (int k = 0; k < this->outs(); ++k) {
      if (!this->din(k)) continue;
      const int64_t size = this->in_shape(k).count(1);
      std::fill_n(this->din(k), this->in_shape(k).count(), T(0));
      if (const T* dy = this->dout(k))
        for_chosen([&](int64_t n, int64_t m) {
          std::copy_n(dy + m * size, size, this->din(k) + n * size);
        });
    }
  }

 private:
  // body(sample, its number among the chosen ones).
  template <typename Body>
  void for_chosen(Body body) {
    const int last = this->ins() - 1;
    const int64_t size = this->in_shape(last).count(1);
    for (int64_t n = 0, m = 0; n < this->in_shape(last)[0]; ++n)
      if (this->in(last)[n * size] != 0) body(n, m++);
  }
};

template <typename T>
class Embed : public ReferenceOp<T> {
 public:
  Embed(const EmbedDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), bias_(desc.bias), width_(site.params[0].shape[1]) {}

  void forward(const Context&) override {
    const T* bias = bias_ ? this->param(1) : nullptr;
    for (int64_t m = 0; m < count(); ++m) {
      const T* row = this->param(0) + index(m) * width_;
      T* y = this->out() + m * width_;
      for (int64_t j = 0; j < width_; ++j) y[j] = row[j] + (bias ? bias[j] : T(0));
    }
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.in = {true}; }
  void differentiate(const Context& context) override {
    const T* dy = this->dout();
    if (T* dw = this->dparam(0)) {
      if (this->overwrites(context, 0)) std::fill_n(dw, this->site_.params[0].shape.count(), T(0));
      for (int64_t m = 0; m < count(); ++m) {
        T* row = dw + index(m) * width_;
        for (int64_t j = 0; j < width_; ++j) row[j] += dy[m * width_ + j];
      }
    }
    if (bias_ && this->dparam(1))
      for_each_piece(width_, count(), [=, this, &context](int64_t j) {
        this->give(context, 1, j,
                   sum_of(count(), [=, this](int64_t m) { return dy[m * width_ + j]; }));
      });
  }

 private:
  int64_t count() const { return this->in_shape(0).count(); }
  int64_t index(int64_t m) const {
    return whole_number(this->site_.name, "index", this->in(0)[m], m,
                        this->site_.params[0].shape[0]);
  }
  bool bias_;
  int64_t width_;
};

template <typename T>
class Parameter : public ReferenceOp<T> {
 public:
  Parameter(const ParameterDesc&, const OpSite& site) : ReferenceOp<T>(site) {}
  void forward(const Context&) override { std::copy_n(this->param(0), count(), this->out()); }

 protected:
  void differentiate(const Context& context) override {
    const T* dy = this->dout();
    for_each(count(), [=, this, &context](int64_t i) { this->give(context, 0, i, dy[i]); });
  }

 private:
  int64_t count() const { return this->out_shape().count(); }
};

template <typename T>
class Im2col : public ReferenceOp<T> {
 public:
  Im2col(const Im2colDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site), g_(as_conv(desc), site.in[0].shape, site.out[0].shape) {
    PCC_CHECK(g_.axes() <= kMaxColumnAxes, "'", site.name, "': im2col over ", g_.axes(),
              " axes, at most ", kMaxColumnAxes, " are known");
  }

  void forward(const Context&) override {
    for_each_piece(g_.samples * g_.channels, g_.taps * g_.map_area, [this](int64_t plane) {
      image_to_columns(g_, this->in(0) + plane * g_.area, 1, 0, g_.map_area,
                       this->out() + plane * g_.taps * g_.map_area);
    });
  }

 protected:
  void differentiate(const Context&) override {
    for_each_piece(g_.samples * g_.channels, g_.taps * g_.map_area, [this](int64_t plane) {
      columns_to_image(g_, this->dout() + plane * g_.taps * g_.map_area, 1,
                       this->din(0) + plane * g_.area);
    });
  }

 private:
  static ConvDesc as_conv(const Im2colDesc& desc) {
    return {desc.kernel, desc.stride, desc.pad, desc.dilation};
  }
  ConvGeometry g_;
};

}  // namespace

PCC_REFERENCE_OP(CropDesc, Crop)
PCC_REFERENCE_OP(PermuteDesc, Permute)
PCC_REFERENCE_OP(TileDesc, Tile)
PCC_REFERENCE_OP(BatchReindexDesc, BatchReindex)
PCC_REFERENCE_OP(FilterDesc, Filter)
PCC_REFERENCE_OP(EmbedDesc, Embed)
PCC_REFERENCE_OP(ParameterDesc, Parameter)
PCC_REFERENCE_OP(Im2colDesc, Im2col)

}  // namespace pcc::reference
