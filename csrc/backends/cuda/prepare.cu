#include "backends/cuda/prepare.h"

#include "backends/cuda/fragments.cuh"
#include "backends/cuda/mma.cuh"

namespace pcc::cuda {

namespace {

constinit thread_local Preparations* gathering = nullptr;

// That a kernel is told of by its arguments.
constexpr size_t kMost = 96;

struct List {
  Preparation of[kMost];
};

template <typename Number>
__host__ __device__ Fragments<Number> fragments(const Preparation& it, bool flipped) {
  return flipped ? Fragments<Number>(it.channels, it.maps, it.side, true)
                 : Fragments<Number>(it.maps, it.channels, it.side, false);
}
template <typename Number>
__host__ __device__ int64_t words(const Preparation& it) {
  return (it.forward ? fragments<Number>(it, false).words() : 0) +
         (it.data ? fragments<Number>(it, true).words() : 0);
}

template <typename Number>
__device__ void make(const Preparation& it) {
  const Fragments<Number> forward = fragments<Number>(it, false),
                          data = fragments<Number>(it, true);
  const int64_t first = it.forward ? forward.words() : 0, all = words<Number>(it);
  for (int64_t i = first_element(); i < all; i += element_stride())
    it.to[i] = i < first ? forward.word(it.w, i) : data.word(it.w, i - first);
}

// Those of blockIdx.y.
__global__ void __launch_bounds__(kBlock) prepare_weights(List list) {
  const Preparation& it = list.of[blockIdx.y];
  if (it.bf16)
    make<Bf16>(it);
  else
    make<Tf32>(it);
}

}  // namespace

int64_t prepared_words(const Preparation& it) {
  return it.bf16 ? words<Bf16>(it) : words<Tf32>(it);
}

Preparations::Preparations() : before_(gathering) { gathering = this; }
Preparations::~Preparations() { gathering = before_; }

void Preparations::make() {
  const std::vector<Preparation> all = std::move(gathered_);
  gathered_.clear();
  for (size_t first = 0; first < all.size(); first += kMost) {
    const size_t count = std::min(kMost, all.size() - first);
    List list;
    int64_t most = 1;
    for (size_t i = 0; i < count; ++i) {
      list.of[i] = all[first + i];
      most = std::max(most, prepared_words(list.of[i]));
    }
    launch(prepare_weights, {grid_for(most), static_cast<int64_t>(count)}, kBlock, 0, list);
  }
}

void prepare(const Preparation& preparation) {
  Preparations alone;
  (alone.before_ ? *alone.before_ : alone).gathered_.push_back(preparation);
  alone.make();
}

}  // namespace pcc::cuda
