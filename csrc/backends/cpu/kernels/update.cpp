// The solver's step in one pass over all parameters, in the order of sgd_solver.cpp: clip, divide
// by iter_size, decay, rule, subtract.
#include <cmath>

#include "backends/cpu/kernels/kernel_op.h"
#include "ops/rules.h"

namespace pcc::cpu {

namespace {

class UpdateOp : public KernelOp {
 public:
  UpdateOp(const UpdateDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        second_(desc.histories() > 1),
        segments_(joined(desc.segments)) {
    const RuleLoops& rule = loops_of(desc.rule);
    update_ = desc.l1 ? rule.l1 : rule.l2;
    for (const UpdateSegment& segment : segments_) {
      before_.push_back(total_);
      total_ += segment.count;
    }
    pieces_ = (total_ + kPiece - 1) / kPiece;
    if (desc.clip >= 0) needs_.forward_scratch = pieces_ * static_cast<int64_t>(sizeof(double));
  }

  void forward(const Context& context) override {
    if (context.report->halt != Halt::none) return;
    const StepBlock& now = *context.step;
    const float factor = clip() / static_cast<float>(desc_.iter_size);
    const auto correction =
        static_cast<float>(adam_correction(now.momentum, desc_.momentum2, now.iteration));
    parallel(total_, kElementGrain, [&, this](int64_t begin, int64_t end, int) {
      for_segments(begin, end,
                   [&, this](const UpdateSegment& segment, int64_t first, int64_t count) {
                     UpdateRates rates;
                     rates.factor = factor;
                     rates.decay = now.weight_decay * segment.decay_mult;
                     rates.rate = now.lr * segment.lr_mult;
                     rates.momentum = now.momentum;
                     rates.momentum2 = desc_.momentum2;
                     rates.rms_decay = desc_.rms_decay;
                     rates.delta = desc_.delta;
                     rates.correction = correction;
                     update_(count, rates, param(0) + first, param(1) + first, param(2) + first,
                             second_ ? param(3) + first : nullptr);
                   });
    });
  }

 private:
  const RuleLoops& loops_of(UpdateDesc::Rule rule) const {
    const UpdateLoops& loops = loops_.update;
    switch (rule) {
      case UpdateDesc::Rule::sgd:
        break;
      case UpdateDesc::Rule::nesterov:
        return loops.nesterov;
      case UpdateDesc::Rule::adagrad:
        return loops.adagrad;
      case UpdateDesc::Rule::rmsprop:
        return loops.rmsprop;
      case UpdateDesc::Rule::adadelta:
        return loops.adadelta;
      case UpdateDesc::Rule::adam:
        return loops.adam;
    }
    return loops.sgd;
  }

  // Pieces of the norm, summed one by one: the same number for any number of threads.
  static constexpr int64_t kPiece = 64 << 10;

  // body(segment, first element, number of elements) over the learnable elements [begin, end),
  // counted through.
  template <typename Body>
  void for_segments(int64_t begin, int64_t end, Body&& body) const {
    size_t k = static_cast<size_t>(std::upper_bound(before_.begin(), before_.end(), begin) -
                                   before_.begin());
    for (k = k > 0 ? k - 1 : 0; k < segments_.size() && before_[k] < end; ++k) {
      const int64_t from = std::max(begin, before_[k]);
      const int64_t to = std::min(end, before_[k] + segments_[k].count);
      if (from < to) body(segments_[k], segments_[k].offset + from - before_[k], to - from);
    }
  }

  // By what the gradients shrink so that their common L2 norm is the threshold at most.
  float clip() const {
    if (desc_.clip < 0) return 1;
    double* partial = static_cast<double*>(buffers_.scratch);
    parallel(pieces_, 1, [=, this](int64_t begin, int64_t end, int) {
      for (int64_t piece = begin; piece < end; ++piece) {
        partial[piece] = 0;
        for_segments(piece * kPiece, std::min(total_, (piece + 1) * kPiece),
                     [=, this](const UpdateSegment&, int64_t first, int64_t count) {
                       partial[piece] += loops_.element.squares(count, param(1) + first);
                     });
      }
    });
    double squares = 0;
    for (int64_t piece = 0; piece < pieces_; ++piece) squares += partial[piece];
    const float norm = static_cast<float>(std::sqrt(squares)),
                most = static_cast<float>(desc_.clip);
    return norm > most ? most / norm : 1;
  }

  UpdateDesc desc_;
  bool second_;  // the rule has two histories
  std::vector<UpdateSegment> segments_;
  UpdateLoop update_;
  std::vector<int64_t> before_;  // learnable elements before each segment
  int64_t total_ = 0, pieces_ = 0;
};

}  // namespace

std::unique_ptr<Op> make_update(const UpdateDesc& desc, const OpSite& site) {
  return std::make_unique<UpdateOp>(desc, site);
}

}  // namespace pcc::cpu
