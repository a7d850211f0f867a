// Concat and Slice.
#include "backends/cuda/lines.cuh"
#include "backends/cuda/makers.h"

namespace pcc::cuda {

namespace {

constexpr size_t kMaxPieces = 64;

// Where pieces of a whole lie along an axis: piece k is (outer, size) and begins `first` elements
// into each row of the whole. Where channels are last, they are the axis, and rows have gaps.
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
  // Those whose places are given.
  Cut only(const std::vector<size_t>& places) const {
    Cut some = *this;
    some.pieces = 0;
    for (const size_t k : places) {
      some.first[some.pieces] = first[k];
      some.size[some.pieces++] = size[k];
    }
    return some;
  }
  // One row of blocks for each piece.
  Dim grid() const { return {grid_for(outer * *std::max_element(size, size + pieces)), pieces}; }
  // Where the i-th element of piece k lies in the whole, and in which row.
  struct At {
    int64_t i, row;
  };
  __device__ At at(int k, int64_t i) const {
    const Quotient place = divide(i, size[k]);
    return {place.whole * row + first[k] + place.rest, place.whole};
  }
};

// Of the cut's pieces. Null: zeros, or not wanted.
struct Pieces {
  void* of[kMaxPieces] = {};
  int skip[kMaxPieces] = {};  // Gaps, in packs

  template <typename P>
  __device__ Packs<P> piece(int k) const {
    Packs<P> packs;
    packs.data = static_cast<NumberOf<P>*>(of[k]);
    packs.gaps.skip = skip[k];
    return packs;
  }
};
template <typename P>
__global__ void __launch_bounds__(kBlock) join(Cut cut, Pieces pieces, Packs<P> whole) {
  const int k = static_cast<int>(blockIdx.y);
  const auto piece = pieces.piece<P>(k);
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride()) {
    const Cut::At at = cut.at(k, i);
    whole.put(piece ? piece(i, at.row) : P{}, at.i, at.row);
  }
}
template <typename P>
__global__ void __launch_bounds__(kBlock) part(Cut cut, PackParts<P> whole, Pieces pieces) {
  const int k = static_cast<int>(blockIdx.y);
  const auto piece = pieces.piece<P>(k);
  if (!piece) return;
  for (int64_t i = first_element(); i < cut.outer * cut.size[k]; i += element_stride()) {
    const Cut::At at = cut.at(k, i);
    piece.put(whole(at.i, at.row), i, at.row);
  }
}

// The two of them over values of one type.
class Cutter {
 public:
  Cutter(const TensorSpec& whole, const std::vector<TensorSpec>& pieces, int axis)
      : cut_(whole, pieces, axis), dtype_(whole.dtype) {}

  // Those that do not lie there already.
  void join(const std::vector<Tensor>& pieces, const Tensor& whole) const {
    in_packs(pieces, {whole}, [&](auto pack, const Cut& cut, const Pieces& some) {
      using P = decltype(pack);
      launch(cuda::join<P>, cut.grid(), kBlock, 0, cut, some, Packs<P>(whole));
    });
  }
  void part(const std::vector<Tensor>& whole, const std::vector<Tensor>& pieces) const {
    in_packs(pieces, whole, [&](auto pack, const Cut& cut, const Pieces& some) {
      using P = decltype(pack);
      launch(cuda::part<P>, cut.grid(), kBlock, 0, cut, PackParts<P>(whole), some);
    });
  }
  // Elements of the packs, which values that lie among others divide by.
  int unit() const {
    int count = 0;
    with_packs(dtype_, in_a_pack(), [&](auto pack) { count = decltype(pack)::kCount; });
    return count;
  }

 private:
  int64_t in_a_pack() const { return cut_.divides(8) ? 8 : cut_.divides(4) ? 4 : 1; }
  template <typename Body>
  void in_packs(const std::vector<Tensor>& pieces, const std::vector<Tensor>& whole,
                const Body& body) const {
    std::vector<size_t> moved;
    for (size_t k = 0; k < pieces.size(); ++k)
      if (whole.size() > 1 || !is_part_of(pieces[k], whole[0])) moved.push_back(k);
    if (moved.empty()) return;
    with_packs(dtype_, in_a_pack(), [&](auto pack) {
      constexpr int kCount = decltype(pack)::kCount;
      Pieces some;
      for (size_t i = 0; i < moved.size(); ++i) {
        some.of[i] = pieces[moved[i]].data;
        some.skip[i] = Gaps(pieces[moved[i]], kCount).skip;
      }
      body(pack, cut_.only(moved).in_packs(kCount), some);
    });
  }

  Cut cut_;
  DType dtype_;
};

class ConcatOp : public CudaOp {
 public:
  ConcatOp(const ConcatDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.out[0], site.in, desc.axis) {}

  void forward(const Context&) override { cut_.join(buffers_.in, buffers_.out[0]); }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (site_.out[0].layout != Layout::nhwc) return;
    needs.channel_unit = cut_.unit();
    needs.joins_channels = true;
  }
  void backward_needs(OpNeeds& needs) const override { Parts::taken(needs); }
  void differentiate(const Context&) override { cut_.part(buffers_.dout[0], buffers_.din); }

 private:
  Cutter cut_;
};

class SliceOp : public CudaOp {
 public:
  SliceOp(const SliceDesc& desc, const OpSite& site)
      : CudaOp(site), cut_(site.in[0], site.out, desc.axis) {}

  void forward(const Context&) override { cut_.part({buffers_.in[0]}, buffers_.out); }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    if (site_.in[0].layout == Layout::nhwc) needs.channel_unit = cut_.unit();
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    std::vector<Tensor> pieces;
    for (const std::vector<Tensor>& parts : buffers_.dout)
      pieces.push_back(parts.empty() ? Tensor{} : parts[0]);
    cut_.join(pieces, buffers_.din[0]);
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
