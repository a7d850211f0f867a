// Where values come from: records turned into samples, and constants.
#include "backends/cuda/makers.h"
#include "backends/cuda/reduce.cuh"
#include "ops/fill.h"

namespace pcc::cuda {

namespace {

// A TransformDesc for kernels.
struct Transform {
  uint32_t stream;  // OpSite::stream
  int64_t channels, record_rows, record_columns, rows, columns, samples, replicas;
  bool mirror, train;
  float scale;
  // Null, or what to subtract: that of a place in the record, not in the crop. The steps are 0
  // where one number is for all channels, or for all places.
  const float* mean;
  int64_t mean_channel, mean_place;
};

// Blocks (k, share): record k of the batch, and a share of the elements of its sample. One thread
// draws the numbers for all.
__global__ void __launch_bounds__(kBlock)
    transform(Transform t, const StepBlock* step, const RecordBatch* batch, float* samples,
              float* labels) {
  __shared__ int64_t record, row, column;
  __shared__ bool mirrored;
  const int64_t k = blockIdx.x;
  const auto [at_of_replica, replica] = divide(k, t.replicas);
  const int64_t sample = replica * (t.samples / t.replicas) + at_of_replica;
  if (threadIdx.x == 0) {
    record = divide(batch->place(k, step->pass), batch->total).rest;
    const RandomStream stream = step->random(t.stream, 3 * t.samples);
    const uint64_t draw = 3 * static_cast<uint64_t>(sample);
    mirrored = t.mirror && (stream.bits(draw) & 1);
    row = crop_offset(t.train, t.record_rows - t.rows, stream, draw + 1);
    column = crop_offset(t.train, t.record_columns - t.columns, stream, draw + 2);
  }
  __syncthreads();
  const int64_t plane = t.record_rows * t.record_columns, first = record * t.channels * plane;
  const bool floats = batch->types[0] == RecordType::f32;
  const float* const from_floats = static_cast<const float*>(batch->fields[0]) + first;
  const uint8_t* const from_bytes = static_cast<const uint8_t*>(batch->fields[0]) + first;
  const int64_t count = t.channels * t.rows * t.columns;
  float* const y = samples + sample * count;
  for (int64_t i = blockIdx.y * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.y} * blockDim.x) {
    const auto [line, w] = divide(i, t.columns);
    const auto [c, h] = divide(line, t.rows);
    const int64_t place =
        (row + h) * t.record_columns + column + (mirrored ? t.columns - 1 - w : w);
    const int64_t at = c * plane + place;
    const float value = floats ? from_floats[at] : static_cast<float>(from_bytes[at]);
    const float mean = t.mean ? t.mean[c * t.mean_channel + place * t.mean_place] : 0.0f;
    y[i] = (value - mean) * t.scale;
  }
  if (labels && blockIdx.y == 0 && threadIdx.x == 0)
    labels[sample] = static_cast<float>(static_cast<const int32_t*>(batch->fields[1])[record]);
}

class TransformOp : public CudaOp {
 public:
  TransformOp(const TransformDesc& desc, const OpSite& site) : CudaOp(site), feed_(desc.feed) {
    const Shape &record = desc.record, &y = site.out[0].shape;
    PCC_CHECK(y[1] == record[0] && y[2] <= record[1] && y[3] <= record[2], "'", site.name,
              "': samples of ", y, " from records of ", record);
    PCC_CHECK(y[0] % desc.replicas == 0, "'", site.name, "': a batch of ", y[0], " for ",
              desc.replicas, " replicas");
    how_ = {.stream = site.stream,
            .channels = record[0],
            .record_rows = record[1],
            .record_columns = record[2],
            .rows = y[2],
            .columns = y[3],
            .samples = y[0],
            .replicas = desc.replicas,
            .mirror = desc.mirror,
            .train = desc.train,
            .scale = static_cast<float>(desc.scale),
            .mean = nullptr,
            .mean_channel = 0,
            .mean_place = 0};
    if (!desc.mean || desc.mean->empty()) return;
    const auto count = static_cast<int64_t>(desc.mean->size());
    mean_ = site.device->allocate(count * static_cast<int64_t>(sizeof(float)));
    site.device->upload(mean_->data(), desc.mean->data(), mean_->bytes());
    how_.mean = reinterpret_cast<const float*>(mean_->data());
    if (count == record.count()) {
      how_.mean_channel = record[1] * record[2];
      how_.mean_place = 1;
    } else if (count > 1) {
      how_.mean_channel = 1;
    }
  }

  void forward(const Context& context) override {
    const int64_t shares = std::clamp<int64_t>(out_count() / how_.samples / (16 * kBlock), 1, 64);
    launch(transform, Dim(how_.samples, shares), kBlock, 0, how_, context.step,
           context.feeds + feed_, out(), outs() > 1 ? out(1) : nullptr);
  }

 private:
  int feed_;
  Transform how_;
  std::shared_ptr<Memory> mean_;
};

// A field of the records as floats.
struct Field {
  const StepBlock* step;
  const RecordBatch* batch;
  int field;
  int64_t size, of_replica, replicas;  // elements of a record; samples of a replica
  float* y;
  __device__ void operator()(int64_t i) const {
    const auto [sample, at] = divide(i, size);
    const auto [replica, k] = divide(sample, of_replica);
    const int64_t place = batch->place(k * replicas + replica, step->pass);
    const int64_t from = divide(place, batch->total).rest * size + at;
    const void* const values = batch->fields[field];
    switch (batch->types[field]) {
      case RecordType::u8:
        y[i] = static_cast<const uint8_t*>(values)[from];
        break;
      case RecordType::i32:
        y[i] = static_cast<float>(static_cast<const int32_t*>(values)[from]);
        break;
      case RecordType::f32:
        y[i] = static_cast<const float*>(values)[from];
        break;
    }
  }
};

class FieldOp : public CudaOp {
 public:
  FieldOp(const FieldDesc& desc, const OpSite& site) : CudaOp(site), desc_(desc) {
    PCC_CHECK(out_shape()[0] % desc.replicas == 0, "'", site.name, "': a batch of ", out_shape()[0],
              " for ", desc.replicas, " replicas");
  }

  void forward(const Context& context) override {
    const int64_t samples = out_shape()[0];
    for_each(out_count(),
             Field{context.step, context.feeds + desc_.feed, desc_.field, out_count() / samples,
                   samples / desc_.replicas, desc_.replicas, out()});
  }

 private:
  FieldDesc desc_;
};

struct Constant {
  float value, *y;
  __device__ void operator()(int64_t i) const { y[i] = value; }
};

// Numbers of the stream, as ops/fill.cpp draws them: uniform in [a, b), or normal of mean a and
// deviation b. One thread takes the numbers of a block.
__global__ void __launch_bounds__(kBlock) draw(const StepBlock* step, uint32_t of_site, bool normal,
                                               double a, double b, int64_t count, float* y) {
  const RandomStream stream = step->random(of_site, count);
  const int64_t each = normal ? 2 : 4;
  for (int64_t block = first_element(); each * block < count; block += element_stride()) {
    const auto bits = stream.block(static_cast<uint64_t>(block));
    double values[4];
    if (normal) {
      const double radius = b * sqrt(-2.0 * log(((bits[0] >> 8) + 1) * 0x1.0p-24));
      const double angle = 6.283185307179586476925 * ((bits[1] >> 8) * 0x1.0p-24);
      values[0] = a + radius * cos(angle);
      values[1] = a + radius * sin(angle);
    } else {
      for (size_t k = 0; k < 4; ++k) values[k] = a + (b - a) * ((bits[k] >> 8) * 0x1.0p-24);
    }
    for (int64_t k = 0; k < each && each * block + k < count; ++k)
      y[each * block + k] = static_cast<float>(values[k]);
  }
}

// DummyData.
class FillOp : public CudaOp {
 public:
  FillOp(const FillerDesc& filler, const OpSite& site) : CudaOp(site), filler_(filler) {}

  void forward(const Context& context) override {
    if (filler_.type == FillerDesc::Type::constant)
      return for_each(out_count(), Constant{static_cast<float>(filler_.value), out()});
    const bool normal = filler_.type == FillerDesc::Type::gaussian;
    launch(draw, grid_for(out_count()), kBlock, 0, context.step, site_.stream, normal,
           normal ? filler_.mean : filler_.min, normal ? filler_.std : filler_.max, out_count(),
           out());
  }

 private:
  FillerDesc filler_;
};

// Numbers that are known from the start.
class ValuesOp : public CudaOp {
 public:
  ValuesOp(const std::vector<double>& values, const OpSite& site) : CudaOp(site) {
    const std::vector<float> floats(values.begin(), values.end());
    values_ = site.device->allocate(std::ssize(floats) * static_cast<int64_t>(sizeof(float)));
    site.device->upload(values_->data(), floats.data(), values_->bytes());
  }

  void forward(const Context&) override {
    for_each(out_count(), Copy{reinterpret_cast<const float*>(values_->data()), out()});
  }

 private:
  std::shared_ptr<Memory> values_;
};

}  // namespace

std::unique_ptr<Op> make_transform(const TransformDesc& desc, const OpSite& site) {
  return std::make_unique<TransformOp>(desc, site);
}

std::unique_ptr<Op> make_field(const FieldDesc& desc, const OpSite& site) {
  return std::make_unique<FieldOp>(desc, site);
}

// Fillers that make little sense but for weights are left to the host.
std::unique_ptr<Op> make_fill(const FillDesc& desc, const OpSite& site) {
  using Type = FillerDesc::Type;
  if (desc.filler.values) return std::make_unique<ValuesOp>(*desc.filler.values, site);
  const FillerDesc filler = scaled_filler(desc.filler, site.out[0].shape);
  const bool simple = filler.type == Type::constant || filler.type == Type::uniform ||
                      (filler.type == Type::gaussian && filler.sparse < 0);
  return simple ? std::make_unique<FillOp>(filler, site) : nullptr;
}

}  // namespace pcc::cuda
