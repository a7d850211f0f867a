// Accuracy. Scores are seen as in loss.cu.
#include <limits>

#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/scores.h"

namespace pcc::cuda {

namespace {

// What a column was.
enum class Hit : uint8_t { skipped, miss, right };

// What columns add up to: how many were right, how many counted, and the first with a wrong label.
struct Hits {
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  int64_t right = 0, valid = 0, wrong = kNone;
  __device__ Hits operator+(const Hits& other) const {
    return {right + other.right, valid + other.valid, wrong < other.wrong ? wrong : other.wrong};
  }
};
inline __device__ Hits shuffle_xor(const Hits& hits, int lanes) {
  return {cuda::shuffle_xor(hits.right, lanes), cuda::shuffle_xor(hits.valid, lanes),
          cuda::shuffle_xor(hits.wrong, lanes)};
}

// One thread for each column. Writes the sum of each block, and, where it is wanted, what each
// column was.
__global__ void __launch_bounds__(kBlock)
    hits_of_blocks(Columns columns, int64_t counted, Labels<float> meaning, int64_t top_k,
                   const float* scores, const float* labels, Hit* each, Hits* sums) {
  PCC_DYNAMIC_SHARED(Hits, room);
  const int64_t column = first_element();
  Hits hits;
  if (column < counted) {
    const float label = labels[column];
    Hit hit = Hit::skipped;
    if (!meaning.skips(label))
      hit = among_top(scores + columns.first(column), columns, static_cast<int64_t>(label), top_k)
                ? Hit::right
                : Hit::miss;
    hits = {hit == Hit::right, hit != Hit::skipped, meaning.is_wrong(label) ? column : Hits::kNone};
    if (each) each[column] = hit;
  }
  hits = block_sum(hits, room);
  if (threadIdx.x == 0) sums[blockIdx.x] = hits;
}

// One block.
__global__ void __launch_bounds__(kBlock)
    all_hits(int64_t blocks, const Hits* sums, float* accuracy, int64_t classes, int64_t per_sample,
             const float* labels, uint32_t site, const StepBlock* step, StepReport* report) {
  PCC_DYNAMIC_SHARED(Hits, room);
  Hits hits;
  for (int64_t block = threadIdx.x; block < blocks; block += kBlock) hits = hits + sums[block];
  hits = block_sum(hits, room);
  if (threadIdx.x != 0) return;
  accuracy[0] =
      hits.valid == 0 ? 0.0f : static_cast<float>(hits.right) / static_cast<float>(hits.valid);
  if (hits.wrong != Hits::kNone)
    report->bad_label(*step, site, hits.wrong / per_sample, static_cast<double>(labels[hits.wrong]),
                      classes);
}

// Of those of class c that counted, how many were right.
struct PerClass {
  int64_t counted;
  const float* labels;
  const Hit* each;
  float* accuracy;
  __device__ void operator()(int64_t c) const {
    int64_t seen = 0, right = 0;
    for (int64_t column = 0; column < counted; ++column) {
      if (each[column] == Hit::skipped || static_cast<int64_t>(labels[column]) != c) continue;
      ++seen;
      right += each[column] == Hit::right;
    }
    accuracy[c] = seen == 0 ? 0.0f : static_cast<float>(right) / static_cast<float>(seen);
  }
};

class AccuracyOp : public CudaOp {
 public:
  AccuracyOp(const AccuracyDesc& desc, const OpSite& site)
      : CudaOp(site),
        top_k_(desc.top_k),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes),
        counted_(columns_.count() / desc.groups),
        block_(std::min<int64_t>((counted_ + kWarp - 1) / kWarp * kWarp, kBlock)),
        blocks_((counted_ + block_ - 1) / block_) {}

  void forward(const Context& context) override {
    constexpr int64_t kRoom = sizeof(Hits);
    Hits* const sums = static_cast<Hits*>(buffers_.scratch);
    Hit* const each = outs() > 1 ? reinterpret_cast<Hit*>(sums + blocks_) : nullptr;
    launch(hits_of_blocks, blocks_, block_, block_ * kRoom, columns_, counted_, labels_, top_k_,
           in(0), in(1), each, sums);
    launch(all_hits, 1, kBlock, kBlock * kRoom, blocks_, sums, out(), columns_.classes,
           columns_.count() / in_shape(0)[0], in(1), site_.number, context.step, context.report);
    if (each) for_each(columns_.classes, PerClass{counted_, in(1), each, out(1)});
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch =
        blocks_ * static_cast<int64_t>(sizeof(Hits)) + (outs() > 1 ? counted_ : 0);
  }

 private:
  int64_t top_k_;
  Columns columns_;
  Labels<float> labels_;
  int64_t counted_, block_, blocks_;
};

}  // namespace

std::unique_ptr<Op> make_accuracy(const AccuracyDesc& desc, const OpSite& site) {
  return std::make_unique<AccuracyOp>(desc, site);
}

}  // namespace pcc::cuda
