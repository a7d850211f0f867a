// HostField: a field of records as a blob, for every backend whose memory is the host's.
#pragma once

#include <algorithm>
#include <string>

#include "core/parallel.h"
#include "ops/typed_op.h"

namespace pcc {

template <typename T>
class HostField : public TypedOp<T> {
 public:
  HostField(const FieldDesc& desc, const OpSite& site)
      : TypedOp<T>(site),
        desc_(desc),
        samples_(site.out[0].shape[0]),
        size_(site.out[0].shape.count() / std::max<int64_t>(1, samples_)) {
    PCC_CHECK(samples_ % desc.replicas == 0, "'", site.name, "': a batch of ", samples_, " for ",
              desc.replicas, " replicas");
  }

  void forward(const Context& context) override {
    const RecordBatch& batch = context.feeds[desc_.feed];
    switch (batch.types[desc_.field]) {
      case RecordType::u8:
        return take<uint8_t>(batch, context.step->pass);
      case RecordType::i32:
        return take<int32_t>(batch, context.step->pass);
      case RecordType::f32:
        return take<float>(batch, context.step->pass);
    }
  }
  void differentiate(const Context&) override {}
  std::string implementation() const override { return "plain loops"; }

 private:
  template <typename From>
  void take(const RecordBatch& batch, uint64_t pass) {
    const From* records = static_cast<const From*>(batch.fields[desc_.field]);
    T* y = this->out();
    const int64_t of_each = samples_ / desc_.replicas;
    parallel(samples_, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, size_)),
             [&](int64_t begin, int64_t end, int) {
               for (int64_t k = begin; k < end; ++k) {
                 const int64_t sample = k % desc_.replicas * of_each + k / desc_.replicas;
                 const From* record = records + batch.index(k, pass) * size_;
                 std::transform(record, record + size_, y + sample * size_,
                                [](From value) { return static_cast<T>(value); });
               }
             });
  }

  static constexpr int64_t kGrain = 16 << 10;  // elements that are worth a thread
  FieldDesc desc_;
  int64_t samples_, size_;
};

}  // namespace pcc
