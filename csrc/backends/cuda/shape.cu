// Concat and Slice.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

constexpr size_t kMaxParts = 64;

// Where parts of a whole lie along an axis: part k is (outer, size) and begins `first` elements
// into each row of the whole.
struct Cut {
  int64_t outer = 1, row = 1;
  int parts = 0;
  int64_t first[kMaxParts] = {}, size[kMaxParts] = {};

  Cut(const Shape& whole, const std::vector<TensorSpec>& of, int axis)
      : outer(whole.count(0, axis)), row(whole.count(axis)) {
    int64_t at = 0;
    for (const TensorSpec& part : of) {
      first[parts] = at;
      size[parts] = part.shape.count(axis);
      at += size[parts++];
    }
  }
  int64_t largest() const { return outer * *std::max_element(size, size + parts); }
};
struct Parts {
  float* of[kMaxParts] = {};
};

// One row of blocks for each part. A part that is null is left out, or, in the whole, zeros.
template <bool kJoin>
__global__ void __launch_bounds__(kBlock) copy_parts(Cut cut, Parts parts, float* whole) {
  const int k = static_cast<int>(blockIdx.y);
  float* const part = parts.of[k];
  if (!kJoin && !part) return;
  const int64_t size = cut.size[k], count = cut.outer * size;
  for (int64_t i = first_element(); i < count; i += element_stride()) {
    const Quotient row = divide(i, size);
    const int64_t at = row.whole * cut.row + cut.first[k] + row.rest;
    if (kJoin)
      whole[at] = part ? part[i] : 0.0f;
    else
      part[i] = whole[at];
  }
}

class CutOp : public CudaOp {
 protected:
  CutOp(const Shape& whole, const std::vector<TensorSpec>& parts, int axis, const OpSite& site)
      : CudaOp(site), cut_(whole, parts, axis) {}
  void join(const Parts& parts, float* whole) const {
    launch(copy_parts<true>, grid(), kBlock, 0, cut_, parts, whole);
  }
  void part(const float* whole, const Parts& parts) const {
    launch(copy_parts<false>, grid(), kBlock, 0, cut_, parts, const_cast<float*>(whole));
  }

 private:
  Dim grid() const { return {grid_for(cut_.largest()), cut_.parts}; }
  Cut cut_;
};

class ConcatOp : public CutOp {
 public:
  ConcatOp(const ConcatDesc& desc, const OpSite& site)
      : CutOp(site.out[0].shape, site.in, desc.axis, site) {}

  void forward(const Context&) override {
    Parts parts;
    for (int k = 0; k < ins(); ++k) parts.of[k] = const_cast<float*>(in(k));
    join(parts, out());
  }

 protected:
  void differentiate(const Context&) override {
    Parts parts;
    for (int k = 0; k < ins(); ++k) parts.of[k] = din(k);
    part(dout(), parts);
  }
};

class SliceOp : public CutOp {
 public:
  SliceOp(const SliceDesc& desc, const OpSite& site)
      : CutOp(site.in[0].shape, site.out, desc.axis, site) {}

  void forward(const Context&) override {
    Parts parts;
    for (int k = 0; k < outs(); ++k) parts.of[k] = out(k);
    part(in(0), parts);
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    Parts parts;
    for (int k = 0; k < outs(); ++k) parts.of[k] = const_cast<float*>(dout(k));
    join(parts, din(0));
  }
};

}  // namespace

std::unique_ptr<Op> make_concat(const ConcatDesc& desc, const OpSite& site) {
  if (site.in.size() > kMaxParts) return nullptr;
  return std::make_unique<ConcatOp>(desc, site);
}

std::unique_ptr<Op> make_slice(const SliceDesc& desc, const OpSite& site) {
  if (site.out.size() > kMaxParts) return nullptr;
  return std::make_unique<SliceOp>(desc, site);
}

}  // namespace pcc::cuda
