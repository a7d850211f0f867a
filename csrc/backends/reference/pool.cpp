// Maximum, average and stochastic pooling over planes.
#include <cfloat>

#include "backends/reference/reference_op.h"
#include "core/random.h"
#include "ops/window.h"

namespace pcc::reference {
namespace {

template <typename T>
class Pool : public ReferenceOp<T> {
 public:
  Pool(const PoolDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        rows_(site.in[0].shape[2]),
        columns_(site.in[0].shape[3]),
        out_rows_(site.out[0].shape[2]),
        out_columns_(site.out[0].shape[3]) {}

  void forward(const Context& context) override {
    const int64_t area = rows_ * columns_, out_area = out_rows_ * out_columns_;
    const RandomStream stream = context.step->random(this->site_.stream, this->out_shape().count());
    for_each_piece(planes(), area, [=, this](int64_t plane) {
      const T* x = this->in(0) + plane * area;
      T* y = this->out() + plane * out_area;
      switch (desc_.method) {
        case PoolDesc::Method::average:
          return average(x, y);
        case PoolDesc::Method::max:
          return maximum(x, y, plane * out_area);
        case PoolDesc::Method::stochastic:
          return desc_.sample ? sample(x, y, plane * out_area, stream) : expected(x, y);
      }
    });
  }

 protected:
  void backward_needs(OpNeeds& needs) const override {
    if (desc_.method != PoolDesc::Method::average)
      needs.stash_bytes = this->out_shape().count() * static_cast<int64_t>(sizeof(int32_t));
  }
  void differentiate(const Context&) override {
    const int64_t area = rows_ * columns_, out_area = out_rows_ * out_columns_;
    const T* dy = this->dout();
    if (!dy) {  // only the mask has a gradient, which means nothing
      std::fill_n(this->din(0), planes() * area, T(0));
      return;
    }
    for_each_piece(planes(), area, [=, this](int64_t plane) {
      T* dx = this->din(0) + plane * area;
      std::fill_n(dx, area, T(0));
      if (desc_.method == PoolDesc::Method::average) {
        average_gradient(dy + plane * out_area, dx);
        return;
      }
      const int32_t* winner = static_cast<const int32_t*>(this->buffers_.stash) + plane * out_area;
      for (int64_t i = 0; i < out_area; ++i)
        if (winner[i] >= 0) dx[winner[i]] += dy[plane * out_area + i];
    });
  }

 private:
  int64_t planes() const { return this->in_shape(0).count(0, 2); }
  Window row_window(int64_t row) const {
    return {row, desc_.kernel[0], desc_.stride[0], desc_.pad[0], rows_};
  }
  Window column_window(int64_t column) const {
    return {column, desc_.kernel[1], desc_.stride[1], desc_.pad[1], columns_};
  }

  // Keeps the first of ties. An empty window, or one without a number above -FLT_MAX, has no
  // winner: -1.
  void maximum(const T* x, T* y, int64_t first) {
    int32_t* winners =
        this->site_.backward() ? static_cast<int32_t*>(this->buffers_.stash) + first : nullptr;
    T* mask = this->outs() > 1 ? this->out(1) + first : nullptr;
    for (int64_t p = 0, i = 0; p < out_rows_; ++p) {
      const Window rows = row_window(p);
      for (int64_t q = 0; q < out_columns_; ++q, ++i) {
        const Window columns = column_window(q);
        T best = -FLT_MAX;
        int64_t winner = -1;
        for (int64_t h = rows.begin; h < rows.end; ++h)
          for (int64_t w = columns.begin; w < columns.end; ++w)
            if (x[h * columns_ + w] > best) {
              winner = h * columns_ + w;
              best = x[winner];
            }
        y[i] = best;
        if (winners) winners[i] = static_cast<int32_t>(winner);
        if (mask) mask[i] = static_cast<T>(winner);
      }
    }
  }
  // body(window's sum, its rows, its columns, number of the output), window after window.
  template <typename Body>
  void for_each_window(const T* x, Body body) {
    for (int64_t p = 0, i = 0; p < out_rows_; ++p)
      for (int64_t q = 0; q < out_columns_; ++q, ++i) {
        const Window rows = row_window(p), columns = column_window(q);
        T sum = 0;
        for (int64_t h = rows.begin; h < rows.end; ++h)
          for (int64_t w = columns.begin; w < columns.end; ++w) sum += x[h * columns_ + w];
        body(sum, rows, columns, i);
      }
  }
  // The first element up to which the sum exceeds a drawn share of the window's; of a window of
  // zeros the first.
  void sample(const T* x, T* y, int64_t first, const RandomStream& stream) {
    int32_t* winners =
        this->site_.backward() ? static_cast<int32_t*>(this->buffers_.stash) + first : nullptr;
    for_each_window(x, [&](T sum, const Window& rows, const Window& columns, int64_t i) {
      const double share = stream.uniform(static_cast<uint64_t>(first + i));
      const T threshold = static_cast<T>(share * static_cast<double>(sum));
      T reached = 0;
      int64_t winner = -1;
      for (int64_t h = rows.begin; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w)
          if ((reached <= threshold && reached < sum) || winner < 0)
            reached += x[winner = h * columns_ + w];
      y[i] = winner < 0 ? T(0) : x[winner];
      if (winners) winners[i] = static_cast<int32_t>(winner);
    });
  }
  void expected(const T* x, T* y) {
    for_each_window(x, [&](T sum, const Window& rows, const Window& columns, int64_t i) {
      T squares = 0;
      for (int64_t h = rows.begin; h < rows.end; ++h)
        for (int64_t w = columns.begin; w < columns.end; ++w)
          squares += x[h * columns_ + w] * x[h * columns_ + w];
      y[i] = sum > 0 ? squares / sum : T(0);
    });
  }
  void average(const T* x, T* y) {
    for (int64_t p = 0; p < out_rows_; ++p) {
      const Window rows = row_window(p);
      for (int64_t q = 0; q < out_columns_; ++q) {
        const Window columns = column_window(q);
        T sum = 0;
        for (int64_t h = rows.begin; h < rows.end; ++h)
          for (int64_t w = columns.begin; w < columns.end; ++w) sum += x[h * columns_ + w];
        *y++ = sum / static_cast<T>(rows.width * columns.width);
      }
    }
  }
  void average_gradient(const T* dy, T* dx) {
    for (int64_t p = 0; p < out_rows_; ++p) {
      const Window rows = row_window(p);
      for (int64_t q = 0; q < out_columns_; ++q) {
        const Window columns = column_window(q);
        const T share = *dy++ / static_cast<T>(rows.width * columns.width);
        for (int64_t h = rows.begin; h < rows.end; ++h)
          for (int64_t w = columns.begin; w < columns.end; ++w) dx[h * columns_ + w] += share;
      }
    }
  }

  PoolDesc desc_;
  int64_t rows_, columns_, out_rows_, out_columns_;
};

}  // namespace

PCC_REFERENCE_OP(PoolDesc, Pool)

}  // namespace pcc::reference
