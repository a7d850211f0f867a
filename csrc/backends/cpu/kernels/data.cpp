// Where values come from: records turned into samples, and fillers.
#include "backends/cpu/kernels/kernel_op.h"
#include "core/random.h"
#include "ops/fill.h"

namespace pcc::cpu {

namespace {

class TransformOp : public KernelOp {
 public:
  TransformOp(const TransformDesc& desc, const OpSite& site)
      : KernelOp(site),
        desc_(desc),
        record_(desc.record),
        samples_(site.out[0].shape[0]),
        rows_(site.out[0].shape[2]),
        columns_(site.out[0].shape[3]) {
    PCC_CHECK(samples_ % desc.replicas == 0, "'", site.name, "': a batch of ", samples_, " for ",
              desc.replicas, " replicas");
    if (desc.mean && !desc.mean->empty()) mean_ = desc.mean->data();
    whole_ = mean_ && static_cast<int64_t>(desc.mean->size()) == record_.count();
    flat_ = mean_ && desc.mean->size() == 1;
  }

  void forward(const Context& context) override {
    const RecordBatch& batch = context.feeds[desc_.feed];
    const RandomStream stream = context.step->random(site_.stream, 3 * samples_);
    for_pieces(samples_, record_.count(), [&, this](int64_t k) {
      const int64_t sample = k % desc_.replicas * (samples_ / desc_.replicas) + k / desc_.replicas;
      const int64_t record = batch.index(k, context.step->pass);
      transform(batch, record * record_.count(), sample, stream);
      if (site_.out.size() > 1)
        out(1)[sample] = static_cast<float>(static_cast<const int32_t*>(batch.fields[1])[record]);
    });
  }

 private:
  // The mean is that of the place in the record, not in the crop.
  void transform(const RecordBatch& batch, int64_t first, int64_t sample,
                 const RandomStream& stream) {
    const uint64_t draw = 3 * static_cast<uint64_t>(sample);
    const bool mirrored = desc_.mirror && (stream.bits(draw) & 1);
    const int64_t row = crop_offset(desc_.train, record_[1] - rows_, stream, draw + 1);
    const int64_t column = crop_offset(desc_.train, record_[2] - columns_, stream, draw + 2);
    const float scale = static_cast<float>(desc_.scale);
    float* y = out() + sample * record_[0] * rows_ * columns_;
    // Rows that follow each other without a gap go in one call.
    const bool joined = columns_ == record_[2] && !mirrored;
    const int64_t calls = joined ? 1 : rows_, length = joined ? rows_ * columns_ : columns_;
    for (int64_t c = 0; c < record_[0]; ++c) {
      const float flat = !mean_ || whole_ ? 0 : mean_[flat_ ? 0 : c];
      for (int64_t h = 0; h < calls; ++h, y += length) {
        const int64_t at = (c * record_[1] + row + h) * record_[2] + column;
        const float* mean = whole_ ? mean_ + at : nullptr;
        if (batch.types[0] == RecordType::f32)
          loops_.element.transform_floats(length,
                                          static_cast<const float*>(batch.fields[0]) + first + at,
                                          mean, flat, scale, mirrored, y);
        else
          loops_.element.transform_bytes(length,
                                         static_cast<const uint8_t*>(batch.fields[0]) + first + at,
                                         mean, flat, scale, mirrored, y);
      }
    }
  }

  TransformDesc desc_;
  Shape record_;  // (C, H, W)
  int64_t samples_, rows_, columns_;
  const float* mean_ = nullptr;
  bool whole_ = false, flat_ = false;
};

// DummyData. The planner has constants written once, and keeps them.
class FillOp : public KernelOp {
 public:
  FillOp(const FillDesc& desc, const OpSite& site) : KernelOp(site), desc_(desc) {
    if (!constant()) needs_.forward_scratch = out_count() * static_cast<int64_t>(sizeof(double));
  }

  void forward(const Context& context) override {
    if (constant()) {
      for_elements(out_count(), [this](int64_t first, int64_t count) {
        std::fill_n(out() + first, count, static_cast<float>(desc_.filler.value));
      });
      return;
    }
    double* values = static_cast<double*>(buffers_.scratch);
    fill(desc_.filler, site_.out[0].shape, context.step->random(site_.stream, out_count()), values);
    for_elements(out_count(), [=, this](int64_t first, int64_t count) {
      for (int64_t i = first; i < first + count; ++i) out()[i] = static_cast<float>(values[i]);
    });
  }

 private:
  bool constant() const {
    return desc_.filler.type == FillerDesc::Type::constant && !desc_.filler.values;
  }
  FillDesc desc_;
};

}  // namespace

std::unique_ptr<Op> make_transform(const TransformDesc& desc, const OpSite& site) {
  return std::make_unique<TransformOp>(desc, site);
}

std::unique_ptr<Op> make_fill(const FillDesc& desc, const OpSite& site) {
  return std::make_unique<FillOp>(desc, site);
}

}  // namespace pcc::cpu
