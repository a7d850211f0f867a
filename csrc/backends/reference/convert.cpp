// From one layout or type to another: what the planner inserts where an op wants a value otherwise
// than it lies.
#include "backends/reference/convert.h"

#include "backends/reference/reference_op.h"
#include "core/bfloat16.h"

namespace pcc::reference {
namespace {

// Walks a value of any layout: element (n, c, p), p a place in the plane, lies at base(n, c) + p *
// step.
struct Walk {
  Layout layout;
  int64_t samples = 1, channels = 1, area = 1, step = 1;

  explicit Walk(const TensorSpec& spec) : layout(spec.layout) {
    if (spec.layout == Layout::plain && spec.shape.axes() != 4) {  // one row: any shape
      area = spec.shape.count();
      return;
    }
    samples = spec.shape[0];
    channels = spec.shape[1];
    area = spec.shape.count(2);
    step = layout == Layout::nhwc ? channels : block_of(layout);
  }
  int64_t base(int64_t n, int64_t c) const {
    if (layout == Layout::nhwc) return n * area * channels + c;
    const int64_t block = block_of(layout);
    return (n * channels + c / block * block) * area + c % block;
  }
};

template <typename From, typename To>
class Convert : public Op {
 public:
  explicit Convert(const OpSite& site) : from_(site.in[0]), to_(site.out[0]) {
    PCC_CHECK(site.in[0].shape == site.out[0].shape, "'", site.name, "': a reorder from ",
              site.in[0].shape, " to ", site.out[0].shape);
  }
  std::string implementation() const override { return "plain loops"; }
  void forward(const Context&) override {
    copy(from_, buffers_.in[0].template as<From>(), to_, buffers_.out[0].template as<To>());
  }

 protected:
  void differentiate(const Context&) override {
    if (From* const din = buffers_.din[0].template as<From>())
      copy(to_, buffers_.dout[0][0].template as<To>(), from_, din);
  }

 private:
  template <typename A, typename B>
  static void copy(const Walk& from, const A* x, const Walk& to, B* y) {
    for_each_piece(from.samples * from.channels, from.area, [=](int64_t row) {
      const A* source = x + from.base(row / from.channels, row % from.channels);
      B* target = y + to.base(row / from.channels, row % from.channels);
      for (int64_t p = 0; p < from.area; ++p)
        target[p * to.step] = static_cast<B>(source[p * from.step]);
    });
  }
  Walk from_, to_;
};

template <typename From>
std::unique_ptr<Op> make_from(const OpSite& site) {
  switch (site.out[0].dtype) {
    case DType::f32:
      return std::make_unique<Convert<From, float>>(site);
    case DType::f64:
      return std::make_unique<Convert<From, double>>(site);
    case DType::bf16:
      return std::make_unique<Convert<From, BFloat16>>(site);
  }
  return nullptr;
}

}  // namespace

std::unique_ptr<Op> make_convert(const OpSite& site) {
  switch (site.in[0].dtype) {
    case DType::f32:
      return make_from<float>(site);
    case DType::f64:
      return make_from<double>(site);
    case DType::bf16:
      return make_from<BFloat16>(site);
  }
  return nullptr;
}

}  // namespace pcc::reference
