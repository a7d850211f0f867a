// The solver's step over all parameters at once, in the order of sgd_solver.cpp: clip, divide by
// iter_size, decay, rule, subtract. Once the report says that something went wrong, neither weights
// nor histories move.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/rules.h"

namespace pcc::cuda {

namespace {

// A piece of a segment, for one block.
struct Piece {
  int64_t offset, count;
  float lr_mult, decay_mult;
};
constexpr int64_t kPiece = 2048;

// What holds for all parameters of one update.
struct Common {
  float factor;      // of the gradients: clipping, and the division by iter_size
  float correction;  // of Adam's rate
};

struct Rates {
  float rate, momentum, delta, momentum2, rms_decay;
};

// A rule: what is subtracted from a weight with gradient g; moves its histories on.
struct Sgd {
  static constexpr bool kSecond = false;
  static __device__ float step(const Rates& r, float g, float& h, float&) {
    return h = r.momentum * h + r.rate * g;
  }
};
struct Nesterov {
  static constexpr bool kSecond = false;
  static __device__ float step(const Rates& r, float g, float& h, float&) {
    const float before = h;
    h = r.momentum * before + r.rate * g;
    return (1 + r.momentum) * h - r.momentum * before;
  }
};
struct AdaGrad {
  static constexpr bool kSecond = false;
  static __device__ float step(const Rates& r, float g, float& h, float&) {
    h += g * g;
    return r.rate * (g / (sqrtf(h) + r.delta));
  }
};
struct RmsProp {
  static constexpr bool kSecond = false;
  static __device__ float step(const Rates& r, float g, float& h, float&) {
    h = (1 - r.rms_decay) * (g * g) + r.rms_decay * h;
    return r.rate * (g / (sqrtf(h) + r.delta));
  }
};
struct AdaDelta {
  static constexpr bool kSecond = true;
  static __device__ float step(const Rates& r, float g, float& gradients, float& updates) {
    gradients = (1 - r.momentum) * (g * g) + r.momentum * gradients;
    const float update = g * sqrtf((r.delta + updates) / (r.delta + gradients));
    updates = (1 - r.momentum) * (update * update) + r.momentum * updates;
    return r.rate * update;
  }
};
// rate: corrected.
struct Adam {
  static constexpr bool kSecond = true;
  static __device__ float step(const Rates& r, float g, float& mean, float& square) {
    mean = (1 - r.momentum) * g + r.momentum * mean;
    square = (1 - r.momentum2) * (g * g) + r.momentum2 * square;
    return r.rate * (mean / (sqrtf(square) + r.delta));
  }
};

// The blocks w, dw and the histories.
struct Params {
  float *w, *dw, *h, *h2;
};

template <typename Rule, bool kL1>
__global__ void __launch_bounds__(kBlock)
    update(const Piece* pieces, const Common* common, Rates rates, Params all,
           const StepBlock* step, const StepReport* report) {
  if (report->halt != Halt::none) return;
  const Piece piece = pieces[blockIdx.x];
  const float factor = common->factor, decay = step->weight_decay * piece.decay_mult;
  rates.rate = step->lr * piece.lr_mult * common->correction;
  rates.momentum = step->momentum;
  for (int64_t i = piece.offset + threadIdx.x; i < piece.offset + piece.count; i += blockDim.x) {
    const float w = all.w[i];
    const float pull = kL1 ? static_cast<float>((w > 0) - (w < 0)) : w;
    const float g = all.dw[i] * factor + decay * pull;
    float h = all.h[i], h2 = Rule::kSecond ? all.h2[i] : 0.0f;
    const float by = Rule::step(rates, g, h, h2);
    all.h[i] = h;
    if (Rule::kSecond) all.h2[i] = h2;
    all.dw[i] = by;
    all.w[i] = w - by;
  }
}

// The sum of each piece's squared gradients.
__global__ void __launch_bounds__(kBlock)
    squares_of_pieces(const Piece* pieces, const float* dw, double* squares) {
  PCC_DYNAMIC_SHARED(double, room);
  const Piece piece = pieces[blockIdx.x];
  double sum = 0;
  for (int64_t i = piece.offset + threadIdx.x; i < piece.offset + piece.count; i += blockDim.x)
    sum += static_cast<double>(dw[i]) * static_cast<double>(dw[i]);
  sum = block_sum(sum, room);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// One block. squares: null where gradients are not clipped.
__global__ void __launch_bounds__(kBlock)
    make_common(const double* squares, int64_t pieces, float threshold, float iter_size, bool adam,
                float momentum2, const StepBlock* step, Common* common) {
  PCC_DYNAMIC_SHARED(double, room);
  float clip = 1;
  if (squares) {
    double sum = 0;
    for (int64_t piece = threadIdx.x; piece < pieces; piece += blockDim.x) sum += squares[piece];
    const float norm = static_cast<float>(sqrt(block_sum(sum, room)));
    if (norm > threshold) clip = threshold / norm;
  }
  if (threadIdx.x != 0) return;
  common->factor = clip / iter_size;
  common->correction =
      adam ? static_cast<float>(adam_correction(step->momentum, momentum2, step->iteration)) : 1.0f;
}

template <typename Rule>
auto kernel_of(bool l1) {
  return l1 ? &update<Rule, true> : &update<Rule, false>;
}

class UpdateOp : public CudaOp {
 public:
  UpdateOp(const UpdateDesc& desc, const OpSite& site)
      : CudaOp(site), desc_(desc), kernel_(kernel(desc.rule, desc.l1)) {
    std::vector<Piece> pieces;
    for (const UpdateSegment& segment : joined(desc.segments))
      for (int64_t first = 0; first < segment.count; first += kPiece)
        pieces.push_back({segment.offset + first, std::min(kPiece, segment.count - first),
                          segment.lr_mult, segment.decay_mult});
    count_ = static_cast<int64_t>(pieces.size());
    pieces_ = site.device->allocate(count_ * static_cast<int64_t>(sizeof(Piece)));
    site.device->upload(pieces_->data(), pieces.data(), pieces_->bytes());
  }

  void forward(const Context& context) override {
    if (count_ == 0) return;
    const Piece* const pieces = reinterpret_cast<const Piece*>(pieces_->data());
    Common* const common = static_cast<Common*>(buffers_.scratch);
    double* const squares = clips() ? reinterpret_cast<double*>(common + 1) : nullptr;
    constexpr int64_t kRoom = kBlock * sizeof(double);
    if (squares) launch(squares_of_pieces, count_, kBlock, kRoom, pieces, param(1), squares);
    launch(make_common, 1, squares ? kBlock : 1, squares ? kRoom : 0, squares, count_,
           static_cast<float>(desc_.clip), static_cast<float>(desc_.iter_size),
           desc_.rule == UpdateDesc::Rule::adam, desc_.momentum2, context.step, common);
    const Rates rates = {.rate = 0,
                         .momentum = 0,
                         .delta = desc_.delta,
                         .momentum2 = desc_.momentum2,
                         .rms_decay = desc_.rms_decay};
    const Params params = {param(0), param(1), param(2),
                           desc_.histories() > 1 ? param(3) : nullptr};
    launch(kernel_, count_, kBlock, 0, pieces, common, rates, params, context.step, context.report);
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = static_cast<int64_t>(sizeof(Common)) +
                            (clips() ? count_ * static_cast<int64_t>(sizeof(double)) : 0);
  }

 private:
  bool clips() const { return desc_.clip >= 0; }
  static auto kernel(UpdateDesc::Rule rule, bool l1) -> decltype(kernel_of<Sgd>(l1)) {
    switch (rule) {
      case UpdateDesc::Rule::sgd:
        break;
      case UpdateDesc::Rule::nesterov:
        return kernel_of<Nesterov>(l1);
      case UpdateDesc::Rule::adagrad:
        return kernel_of<AdaGrad>(l1);
      case UpdateDesc::Rule::rmsprop:
        return kernel_of<RmsProp>(l1);
      case UpdateDesc::Rule::adadelta:
        return kernel_of<AdaDelta>(l1);
      case UpdateDesc::Rule::adam:
        return kernel_of<Adam>(l1);
    }
    return kernel_of<Sgd>(l1);
  }

  UpdateDesc desc_;
  decltype(kernel_of<Sgd>(true)) kernel_;
  int64_t count_ = 0;
  std::shared_ptr<Memory> pieces_;
};

}  // namespace

std::unique_ptr<Op> make_update(const UpdateDesc& desc, const OpSite& site) {
  return std::make_unique<UpdateOp>(desc, site);
}

}  // namespace pcc::cuda
