// Concat and Slice.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"

namespace pcc::cuda {

namespace {

constexpr size_t kMaxPieces = 64;

// Where pieces of a whole lie along an axis: piece k is (outer, size) and begins `first` elements
// into each row of the whole.
struct Cut {
  int64_t outer = 1, row = 1;
  int pieces = 0;
  int64_t first[kMaxPieces] = {}, size[kMaxPieces] = {};

  Cut(const Shape& whole, const std::vector<TensorSpec>& of, int axis)
      : outer(whole.count(0, axis)), row(whole.count(axis)) {
    int64_t at = 0;
    for (const TensorSpec& piece : of) {
      first[pieces] = at;
      size[pieces] = piece.shape.count(axis);
      at += size[pieces++];
    }
  }
  // One row of blocks for each piece.
  Dim grid() const { return {grid_for(outer * *std::max_element(size, size + pieces)), pieces}; }
  // Where the i-th element of piece k lies in the whole.
  __device__ int64_t at(int k, int64_t i) const {
    const Quotient place = divide(i, size[k]);
    return place.whole * row + first[k] + place.rest;
  }
};

// A piece that is null: zeros.
struct Sources {
  const float* of[kMaxPieces] = {};
};
__global__ void __launch_bounds__(kBlock) join(Cut cut, Sources pieces, float* whole) {
  const int k = static_cast<int>(blockIdx.y);
  const float* const piece = pieces.of[k];
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride())
    whole[cut.at(k, i)] = piece ? piece[i] : 0.0f;
}

// A piece that is null: it is not wanted.
struct Targets {
  float* of[kMaxPieces] = {};
};
__global__ void __launch_bounds__(kBlock) part(Cut cut, Parts whole, Targets pieces) {
  const int k = static_cast<int>(blockIdx.y);
  float* const piece = pieces.of[k];
  if (!piece) return;
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride())
    piece[i] = whole(cut.at(k, i));
}

class ConcatOp : public CudaOp {
 public:
  ConcatOp(const ConcatDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.out[0].shape, site.in, desc.axis) {}

  void forward(const Context&) override {
    Sources pieces;
    for (int k = 0; k < ins(); ++k) pieces.of[k] = in(k);
    launch(join, cut_.grid(), kBlock, 0, cut_, pieces, out());
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { Parts::taken(needs); }
  void differentiate(const Context&) override {
    Targets pieces;
    for (int k = 0; k < ins(); ++k) pieces.of[k] = din(k);
    launch(part, cut_.grid(), kBlock, 0, cut_, Parts(buffers_.dout[0]), pieces);
  }

 private:
  Cut cut_;
};

class SliceOp : public CudaOp {
 public:
  SliceOp(const SliceDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.in[0].shape, site.out, desc.axis) {}

  void forward(const Context&) override {
    Targets pieces;
    for (int k = 0; k < outs(); ++k) pieces.of[k] = out(k);
    launch(part, cut_.grid(), kBlock, 0, cut_, Parts({buffers_.in[0]}), pieces);
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    Sources pieces;
    for (int k = 0; k < outs(); ++k) pieces.of[k] = dout(k);
    launch(join, cut_.grid(), kBlock, 0, cut_, pieces, din(0));
  }

 private:
  Cut cut_;
};

}  // namespace

std::unique_ptr<Op> make_concat(const ConcatDesc& desc, const OpSite& site) {
  if (site.in.size() > kMaxPieces) return nullptr;
  return std::make_unique<ConcatOp>(desc, site);
}

std::unique_ptr<Op> make_slice(const SliceDesc& desc, const OpSite& site) {
  if (site.out.size() > kMaxPieces) return nullptr;
  return std::make_unique<SliceOp>(desc, site);
}

}  // namespace pcc::cuda
