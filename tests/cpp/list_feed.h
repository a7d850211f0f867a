// Record feeds over lists of numbers: pictures with a label each, and fields by name.
#pragma once

#include <utility>
#include <vector>

#include "ops/records.h"

namespace pcc {

// Records in memory, one after the other and from the first again.
class HeldFeed : public RecordFeed {
 public:
  uint64_t resident = 0;  // RecordBatch::resident: 0, as if it were no database

  RecordBatch next(int64_t count) override {
    RecordBatch batch = whole();
    batch.first = position_;
    batch.total = total_;
    batch.resident = resident;
    seek(position_ + count);
    return batch;
  }
  int64_t position() const override { return position_; }
  void seek(int64_t position) override { position_ = (position % total_ + total_) % total_; }

 protected:
  virtual RecordBatch whole() const = 0;  // fields and their types

  int64_t total_ = 0;

 private:
  int64_t position_ = 0;
};

class ListFeed : public HeldFeed {
 public:
  // values: of all pictures, one behind the other; labels: 0, 1, ... classes - 1, 0, ...
  explicit ListFeed(Shape picture, const std::vector<double>& values = {}, bool is_float = false,
                    int32_t classes = 1 << 30)
      : picture_(std::move(picture)), is_float_(is_float) {
    for (const double value : values) {
      floats_.push_back(static_cast<float>(value));
      bytes_.push_back(static_cast<uint8_t>(value));
    }
    if (!values.empty()) total_ = static_cast<int64_t>(values.size()) / picture_.count();
    for (int64_t r = 0; r < total_; ++r) labels_.push_back(static_cast<int32_t>(r % classes));
  }
  std::vector<RecordField> fields() const override {
    return {{"data", picture_}, {"label", Shape{}}};
  }
  bool pictures() const override { return true; }
  RecordBatch whole() const override {
    RecordBatch batch;
    batch.fields[0] = is_float_ ? static_cast<const void*>(floats_.data()) : bytes_.data();
    batch.types[0] = is_float_ ? RecordType::f32 : RecordType::u8;
    batch.fields[1] = labels_.data();
    batch.types[1] = RecordType::i32;
    return batch;
  }

 private:
  Shape picture_;
  bool is_float_;
  std::vector<uint8_t> bytes_;
  std::vector<float> floats_;
  std::vector<int32_t> labels_;
};

// Records of three fields: `bytes` (2, 2), `number`, and `floats` (3). Those of record r are 4r ..
// 4r + 3, -100 r, and r + 0.25, r + 0.5, r + 0.75.
class FieldsFeed : public HeldFeed {
 public:
  explicit FieldsFeed(int64_t total) {
    total_ = total;
    for (int64_t r = 0; r < total; ++r) {
      for (int64_t i = 0; i < 4; ++i) bytes_.push_back(static_cast<uint8_t>(4 * r + i));
      numbers_.push_back(static_cast<int32_t>(-100 * r));
      for (const float part : {0.25f, 0.5f, 0.75f}) floats_.push_back(static_cast<float>(r) + part);
    }
  }
  std::vector<RecordField> fields() const override {
    return {{"bytes", {2, 2}}, {"number", {}}, {"floats", {3}}};
  }
  bool pictures() const override { return false; }
  RecordBatch whole() const override {
    RecordBatch batch;
    batch.fields[0] = bytes_.data();
    batch.fields[1] = numbers_.data();
    batch.fields[2] = floats_.data();
    batch.types[0] = RecordType::u8;
    batch.types[1] = RecordType::i32;
    batch.types[2] = RecordType::f32;
    return batch;
  }

 private:
  std::vector<uint8_t> bytes_;
  std::vector<int32_t> numbers_;
  std::vector<float> floats_;
};

}  // namespace pcc
