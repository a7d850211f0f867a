// Where values come from: fillers, and records turned into samples.
#include "backends/reference/reference_op.h"
#include "core/random.h"
#include "ops/fill.h"

namespace pcc::reference {
namespace {

// DummyData.
template <typename T>
class Fill : public ReferenceOp<T> {
 public:
  Fill(const FillDesc& desc, const OpSite& site) : ReferenceOp<T>(site), desc_(desc) {}

  void forward(const Context& context) override {
    const int64_t count = this->out_shape().count();
    double* values = static_cast<double*>(this->buffers_.scratch);
    fill(desc_.filler, this->out_shape(), context.step->random(this->site_.stream, count), values);
    T* y = this->out();
    for_each(count, [=](int64_t i) { y[i] = static_cast<T>(values[i]); });
  }

 protected:
  void forward_needs(OpNeeds& needs) const override {
    needs.forward_scratch = this->out_shape().count() * static_cast<int64_t>(sizeof(double));
  }

 private:
  FillDesc desc_;
};

template <typename T>
class Transform : public ReferenceOp<T> {
 public:
  Transform(const TransformDesc& desc, const OpSite& site)
      : ReferenceOp<T>(site),
        desc_(desc),
        record_(desc.record),
        samples_(site.out[0].shape[0]),
        rows_(site.out[0].shape[2]),
        columns_(site.out[0].shape[3]) {
    PCC_CHECK(site.out[0].shape[1] == record_[0] && rows_ <= record_[1] && columns_ <= record_[2],
              "'", site.name, "': samples of ", site.out[0].shape, " from records of ", record_);
    PCC_CHECK(samples_ % desc.replicas == 0, "'", site.name, "': a batch of ", samples_, " for ",
              desc.replicas, " replicas");
  }

  void forward(const Context& context) override {
    const RecordBatch& batch = context.feeds[desc_.feed];
    const RandomStream stream = context.step->random(this->site_.stream, 3 * samples_);
    for_each_piece(samples_, record_.count(), [&, this](int64_t k) {
      const int64_t sample = k % desc_.replicas * (samples_ / desc_.replicas) + k / desc_.replicas;
      const int64_t record = batch.index(k, context.step->pass);
      if (batch.types[0] == RecordType::f32)
        transform(static_cast<const float*>(batch.fields[0]) + record * record_.count(), sample,
                  stream);
      else
        transform(static_cast<const uint8_t*>(batch.fields[0]) + record * record_.count(), sample,
                  stream);
      if (this->outs() > 1)
        this->out(1)[sample] = static_cast<T>(static_cast<const int32_t*>(batch.fields[1])[record]);
    });
  }

 private:
  // y = (x - mean) * scale over the crop, mirrored or not; the mean is that of the place in the
  // record, not in the crop.
  template <typename Value>
  void transform(const Value* record, int64_t sample, const RandomStream& stream) {
    const uint64_t draw = 3 * static_cast<uint64_t>(sample);
    const bool mirror = desc_.mirror && (stream.bits(draw) & 1);
    const int64_t row = crop_offset(desc_.train, record_[1] - rows_, stream, draw + 1);
    const int64_t column = crop_offset(desc_.train, record_[2] - columns_, stream, draw + 2);
    const std::vector<float>* mean =
        desc_.mean && !desc_.mean->empty() ? desc_.mean.get() : nullptr;
    const bool whole = mean && static_cast<int64_t>(mean->size()) == record_.count();
    const T scale = static_cast<T>(desc_.scale);
    T* y = this->out() + sample * record_[0] * rows_ * columns_;
    for (int64_t c = 0; c < record_[0]; ++c) {
      const size_t channel = mean && mean->size() > 1 ? static_cast<size_t>(c) : 0;
      const T flat = mean && !whole ? static_cast<T>((*mean)[channel]) : T(0);
      for (int64_t h = 0; h < rows_; ++h, y += columns_) {
        const int64_t at = (c * record_[1] + row + h) * record_[2] + column;
        for (int64_t w = 0; w < columns_; ++w) {
          const T average = whole ? static_cast<T>((*mean)[static_cast<size_t>(at + w)]) : flat;
          y[mirror ? columns_ - 1 - w : w] = (static_cast<T>(record[at + w]) - average) * scale;
        }
      }
    }
  }

  TransformDesc desc_;
  Shape record_;  // (C, H, W)
  int64_t samples_, rows_, columns_;
};

}  // namespace

PCC_REFERENCE_OP(FillDesc, Fill)
PCC_REFERENCE_OP(TransformDesc, Transform)

}  // namespace pcc::reference
