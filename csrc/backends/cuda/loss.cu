// Softmax, SoftmaxWithLoss and InfogainLoss. Scores are seen as (outer, classes, inner), cut at an
// axis; a column is one (outer, inner).
#include <cfloat>
#include <limits>

#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/scores.h"

namespace pcc::cuda {

namespace {

// Threads that share a column: a warp where classes are many and lie side by side, else one.
int lanes_for(const Columns& columns) {
  return columns.inner == 1 && columns.classes > kWarp ? kWarp : 1;
}

// The probabilities of one column: exp(x - largest) / total, which cannot overflow. All lanes of a
// warp make theirs at once.
struct Probabilities {
  const float* x;
  int64_t inner;
  float largest, total;

  __device__ Probabilities(const Columns& columns, const float* column, int lane, int lanes)
      : x(column), inner(columns.inner), largest(column[0]) {
    for (int64_t c = lane; c < columns.classes; c += lanes) largest = fmaxf(largest, x[c * inner]);
    largest = warp_fold(largest, Greatest{}, lanes);
    double sum = 0;
    for (int64_t c = lane; c < columns.classes; c += lanes)
      sum += static_cast<double>(expf(x[c * inner] - largest));
    total = static_cast<float>(warp_fold(sum, Add{}, lanes));
  }
  __device__ float operator()(int64_t c) const { return expf(x[c * inner] - largest) / total; }
};

__global__ void __launch_bounds__(kBlock)
    softmax(Columns columns, int lanes, const float* x, float* y) {
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  for (int64_t column = first_element() / lanes; column < columns.count();
       column += element_stride() / lanes) {
    const int64_t first = columns.first(column);
    const Probabilities p(columns, x + first, lane, lanes);
    for (int64_t c = lane; c < columns.classes; c += lanes) y[first + c * columns.inner] = p(c);
  }
}

__global__ void __launch_bounds__(kBlock)
    softmax_backward(Columns columns, int lanes, const float* y, const float* dy, float* dx) {
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  for (int64_t column = first_element() / lanes; column < columns.count();
       column += element_stride() / lanes) {
    const int64_t first = columns.first(column), end = columns.classes * columns.inner,
                  step = lanes * columns.inner;
    double sum = 0;
    for (int64_t i = lane * columns.inner; i < end; i += step)
      sum += static_cast<double>(dy[first + i] * y[first + i]);
    const float dot = static_cast<float>(warp_fold(sum, Add{}, lanes));
    for (int64_t i = lane * columns.inner; i < end; i += step)
      dx[first + i] = (dy[first + i] - dot) * y[first + i];
  }
}

class SoftmaxOp : public CudaOp {
 public:
  SoftmaxOp(const SoftmaxDesc& desc, const OpSite& site)
      : CudaOp(site), columns_(site.in[0].shape, desc.axis), lanes_(lanes_for(columns_)) {}

  void forward(const Context&) override {
    launch(softmax, grid_for(columns_.count() * lanes_), kBlock, 0, columns_, lanes_, in(0), out());
  }

 protected:
  void backward_needs(OpNeeds& needs) const override { needs.out = all_outs(); }
  void differentiate(const Context&) override {
    launch(softmax_backward, grid_for(columns_.count() * lanes_), kBlock, 0, columns_, lanes_,
           out(), dout(), din(0));
  }

 private:
  Columns columns_;
  int lanes_;
};

// What columns add up to: their loss, how many have a label that counts, and the first of them with
// a wrong one.
struct Score {
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::max();

  double loss = 0;
  int64_t valid = 0, wrong = kNone;
  __device__ Score operator+(const Score& other) const {
    return {loss + other.loss, valid + other.valid, wrong < other.wrong ? wrong : other.wrong};
  }
};
inline __device__ Score shuffle_xor(const Score& score, int lanes) {
  return {cuda::shuffle_xor(score.loss, lanes), cuda::shuffle_xor(score.valid, lanes),
          cuda::shuffle_xor(score.wrong, lanes)};
}

// What is no number stays so.
__device__ __forceinline__ float at_least(float least, float x) { return x < least ? least : x; }

// What a column's loss is made of: the logarithm of its label's probability, or, where there are
// gains, H (classes, classes), of each class's, times the gain in the label's row.
struct Target {
  const float* gains;

  // What the classes of this lane add to a loss.
  __device__ double loss(const Probabilities& p, int64_t classes, int64_t label, int lane,
                         int lanes) const {
    if (!gains) return lane == 0 ? -static_cast<double>(logf(at_least(FLT_MIN, p(label)))) : 0.0;
    double sum = 0;
    for (int64_t c = lane; c < classes; c += lanes)
      sum -= static_cast<double>(gains[label * classes + c] * logf(at_least(1e-20f, p(c))));
    return sum;
  }
  // The sum of the row, by which probabilities count in the gradient.
  __device__ float sum(int64_t classes, int64_t label, int lane, int lanes) const {
    if (!gains) return 1;
    double sum = 0;
    for (int64_t c = lane; c < classes; c += lanes)
      sum += static_cast<double>(gains[label * classes + c]);
    return static_cast<float>(warp_fold(sum, Add{}, lanes));
  }
  __device__ float part(int64_t classes, int64_t label, int64_t c) const {
    if (!gains) return c == label ? 1.0f : 0.0f;
    return gains[label * classes + c];
  }
};

// How the columns are dealt out: each group's in `shares`, one for each block.
struct Dealing {
  int64_t groups, in_group, shares;
  int lanes;
};

// Writes the score of each share, and, where they are wanted, the probabilities.
__global__ void __launch_bounds__(kBlock)
    score_shares(Columns columns, Dealing deal, Labels<float> meaning, Target target,
                 const float* x, const float* labels, float* probabilities, Score* scores) {
  PCC_DYNAMIC_SHARED(Score, room);
  const int64_t group = blockIdx.x / deal.shares, share = blockIdx.x % deal.shares;
  const int64_t first = group * deal.in_group;
  const int64_t end = first + deal.in_group * (share + 1) / deal.shares;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % deal.lanes;
  Score score;
  for (int64_t column = first + deal.in_group * share / deal.shares + thread / deal.lanes;
       column < end; column += blockDim.x / deal.lanes) {
    const float label = labels[column];
    const bool skips = meaning.skips(label);
    const int64_t at = columns.first(column);
    if (probabilities || (group == 0 && !skips)) {
      const Probabilities p(columns, x + at, lane, deal.lanes);
      if (probabilities)
        for (int64_t c = lane; c < columns.classes; c += deal.lanes)
          probabilities[at + c * columns.inner] = p(c);
      if (group == 0 && !skips)
        score.loss +=
            target.loss(p, columns.classes, static_cast<int64_t>(label), lane, deal.lanes);
    }
    if (lane != 0) continue;
    score.valid += !skips;
    if (meaning.is_wrong(label) && column < score.wrong) score.wrong = column;
  }
  score = block_sum(score, room);
  if (thread == 0) scores[blockIdx.x] = score;
}

// One warp: what the losses of each group are divided by, which backward needs, and the loss, that
// of group 0. fixed: the divisor, or 0: the labels that count.
__global__ void __launch_bounds__(kWarp)
    score_total(Dealing deal, const Score* scores, int64_t fixed, double* divisors, float* loss,
                Columns columns, int64_t per_sample, const float* labels, uint32_t site,
                const StepBlock* step, StepReport* report) {
  int64_t wrong = Score::kNone;
  for (int64_t group = 0; group < deal.groups; ++group) {
    Score score;
    for (int64_t share = threadIdx.x; share < deal.shares; share += kWarp)
      score = score + scores[group * deal.shares + share];
    score = warp_fold(score, Add{});
    const int64_t count = fixed > 0 ? fixed : score.valid > 0 ? score.valid : 1;
    if (threadIdx.x == 0 && group == 0)
      loss[0] = static_cast<float>(score.loss / static_cast<double>(count));
    if (threadIdx.x == 0 && divisors) divisors[group] = static_cast<double>(count);
    if (score.wrong < wrong) wrong = score.wrong;
  }
  if (threadIdx.x == 0 && wrong != Score::kNone)
    report->bad_label(*step, site, wrong / per_sample, static_cast<double>(labels[wrong]),
                      columns.classes);
}

__global__ void __launch_bounds__(kBlock)
    loss_backward(Columns columns, Dealing deal, Labels<float> meaning, Target target,
                  const float* x, const float* labels, const double* divisors, const float* dloss,
                  float* dx) {
  const int lane = static_cast<int>(threadIdx.x) % deal.lanes;
  for (int64_t column = first_element() / deal.lanes; column < columns.count();
       column += element_stride() / deal.lanes) {
    const bool skips = meaning.skips(labels[column]);
    const int64_t at = columns.first(column);
    const int64_t label = skips ? 0 : static_cast<int64_t>(labels[column]);
    const float weight =
        static_cast<float>(static_cast<double>(dloss[0]) / divisors[column / deal.in_group]);
    const Probabilities p(columns, x + at, lane, deal.lanes);
    const float all = target.sum(columns.classes, label, lane, deal.lanes);
    for (int64_t c = lane; c < columns.classes; c += deal.lanes)
      dx[at + c * columns.inner] =
          skips ? 0.0f : (p(c) * all - target.part(columns.classes, label, c)) * weight;
  }
}

class SoftmaxLossOp : public CudaOp {
 public:
  // has_gains: the third input.
  SoftmaxLossOp(const SoftmaxLossDesc& desc, bool has_gains, const OpSite& site)
      : CudaOp(site),
        has_gains_(has_gains),
        columns_(site.in[0].shape, desc.axis),
        labels_(desc.has_ignore_label, desc.ignore_label, columns_.classes) {
    PCC_CHECK(columns_.outer % desc.groups == 0, "'", site.name, "': ", columns_.outer,
              " samples do not divide by ", desc.groups, " groups");
    deal_.groups = desc.groups;
    deal_.in_group = columns_.count() / desc.groups;
    deal_.lanes = lanes_for(columns_);
    const int64_t threads = deal_.in_group * deal_.lanes;
    deal_.shares = std::clamp<int64_t>((threads + 4 * kBlock - 1) / (4 * kBlock), 1, 64);
    block_ = std::min<int64_t>((threads + kWarp - 1) / kWarp * kWarp, kBlock);
    if (desc.normalization != Normalization::valid)
      divisor_ = static_cast<int64_t>(normalizer<float>(desc, columns_, labels_, nullptr, 0));
  }

  void forward(const Context& context) override {
    Score* const scores = static_cast<Score*>(buffers_.scratch);
    launch(score_shares, deal_.groups * deal_.shares, block_,
           block_ * static_cast<int64_t>(sizeof(Score)), columns_, deal_, labels_, target(), in(0),
           in(1), outs() > 1 ? out(1) : nullptr, scores);
    launch(score_total, 1, kWarp, 0, deal_, scores, divisor_, trains() ? divisors() : nullptr,
           out(), columns_, columns_.count() / in_shape(0)[0], in(1), site_.number, context.step,
           context.report);
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = deal_.groups * deal_.shares * static_cast<int64_t>(sizeof(Score));
  }
  void backward_needs(OpNeeds& needs) const override {
    needs.in = all_ins();
    needs.stash_bytes = deal_.groups * static_cast<int64_t>(sizeof(double));
  }
  void differentiate(const Context&) override {
    if (!din(0)) return;
    if (!dout(0)) return clear(buffers_.din[0]);  // as in Caffe, the probabilities pass none on
    launch(loss_backward, grid_for(columns_.count() * deal_.lanes), kBlock, 0, columns_, deal_,
           labels_, target(), in(0), in(1), divisors(), dout(0), din(0));
  }

 private:
  Target target() const { return {has_gains_ ? in(2) : nullptr}; }
  double* divisors() const { return static_cast<double*>(buffers_.stash); }

  bool has_gains_;
  Columns columns_;
  Labels<float> labels_;
  Dealing deal_;
  int64_t block_, divisor_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_softmax(const SoftmaxDesc& desc, const OpSite& site) {
  return std::make_unique<SoftmaxOp>(desc, site);
}

std::unique_ptr<Op> make_softmax_loss(const SoftmaxLossDesc& desc, const OpSite& site) {
  return std::make_unique<SoftmaxLossOp>(desc, false, site);
}

std::unique_ptr<Op> make_infogain_loss(const InfogainLossDesc& desc, const OpSite& site) {
  return std::make_unique<SoftmaxLossOp>(desc.scores, true, site);
}

}  // namespace pcc::cuda
