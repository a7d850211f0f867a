// Concat and Slice.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

constexpr size_t kMaxPieces = 64;

// Where pieces of a whole lie along an axis: piece k is (outer, size) and begins `first` elements
// into each row of the whole. Where channels are last, they are the axis.
struct Cut {
  int64_t outer = 1, row = 1;
  int pieces = 0;
  int64_t first[kMaxPieces] = {}, size[kMaxPieces] = {};

  Cut(const TensorSpec& whole, const std::vector<TensorSpec>& of, int axis) {
    const auto along = [&](const Shape& shape) {
      return whole.layout == Layout::nhwc ? shape[axis] : shape.count(axis);
    };
    row = along(whole.shape);
    outer = whole.shape.count() / row;
    int64_t at = 0;
    for (const TensorSpec& piece : of) {
      first[pieces] = at;
      size[pieces] = along(piece.shape);
      at += size[pieces++];
    }
  }
  // In which so many elements all begin and end; else one by one.
  bool divides(int64_t count) const {
    for (int k = 0; k < pieces; ++k)
      if (first[k] % count != 0 || size[k] % count != 0) return false;
    return row % count == 0;
  }
  Cut in_packs(int64_t count) const {
    Cut packs = *this;
    packs.row /= count;
    for (int k = 0; k < pieces; ++k) packs.first[k] /= count, packs.size[k] /= count;
    return packs;
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
  const void* of[kMaxPieces] = {};
};
template <typename P>
__global__ void __launch_bounds__(kBlock) join(Cut cut, Sources pieces, void* whole) {
  const int k = static_cast<int>(blockIdx.y);
  const void* const piece = pieces.of[k];
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride())
    put_pack(whole, cut.at(k, i), piece ? pack_of<P>(piece, i) : P{});
}

// A piece that is null: it is not wanted.
struct Targets {
  void* of[kMaxPieces] = {};
};
template <typename P>
__global__ void __launch_bounds__(kBlock) part(Cut cut, PackParts<P> whole, Targets pieces) {
  const int k = static_cast<int>(blockIdx.y);
  void* const piece = pieces.of[k];
  if (!piece) return;
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride())
    put_pack(piece, i, whole(cut.at(k, i)));
}

// The two of them over values of one type.
class Cutter {
 public:
  Cutter(const TensorSpec& whole, const std::vector<TensorSpec>& pieces, int axis)
      : cut_(whole, pieces, axis), dtype_(whole.dtype) {}

  void join(const Sources& pieces, void* whole) const {
    in_packs([&](auto pack, const Cut& cut) {
      launch(cuda::join<decltype(pack)>, cut.grid(), kBlock, 0, cut, pieces, whole);
    });
  }
  void part(const std::vector<Tensor>& whole, const Targets& pieces) const {
    in_packs([&](auto pack, const Cut& cut) {
      using P = decltype(pack);
      launch(cuda::part<P>, cut.grid(), kBlock, 0, cut, PackParts<P>(whole), pieces);
    });
  }

 private:
  template <typename Body>
  void in_packs(const Body& body) const {
    with_packs(dtype_,
               cut_.divides(8)   ? 8
               : cut_.divides(4) ? 4
                                 : 1,
               [&](auto pack) { body(pack, cut_.in_packs(decltype(pack)::kCount)); });
  }

  Cut cut_;
  DType dtype_;
};

class ConcatOp : public CudaOp {
 public:
  ConcatOp(const ConcatDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.out[0], site.in, desc.axis) {}

  void forward(const Context&) override {
    Sources pieces;
    for (int k = 0; k < ins(); ++k) pieces.of[k] = in(k);
    cut_.join(pieces, out());
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { Parts::taken(needs); }
  void differentiate(const Context&) override {
    Targets pieces;
    for (int k = 0; k < ins(); ++k) pieces.of[k] = din(k);
    cut_.part(buffers_.dout[0], pieces);
  }

 private:
  Cutter cut_;
};

class SliceOp : public CudaOp {
 public:
  SliceOp(const SliceDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.in[0], site.out, desc.axis) {}

  void forward(const Context&) override {
    Targets pieces;
    for (int k = 0; k < outs(); ++k) pieces.of[k] = out(k);
    cut_.part({buffers_.in[0]}, pieces);
  }

 protected:
  void differentiate(const Context&) override {
    if (!din(0)) return;
    Sources pieces;
    for (int k = 0; k < outs(); ++k) pieces.of[k] = dout(k);
    cut_.join(pieces, din(0));
  }

 private:
  Cutter cut_;
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
