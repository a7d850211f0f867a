// Records: what data layers are fed with, from wherever it comes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace pcc {

enum class RecordType : uint8_t { u8, i32, f32 };

inline int64_t size_of(RecordType type) { return type == RecordType::u8 ? 1 : 4; }

// One part of every record: a picture, its label, a vector of targets.
struct RecordField {
  std::string name;
  Shape shape;  // of one record's: a scalar has no axes
};

// Records as an op reads them, all of a field behind each other, row-major. Plain data: it lies in
// the device's memory while ops run.
struct RecordBatch {
  static constexpr int kMaxFields = 16;

  const void* fields[kMaxFields] = {};
  RecordType types[kMaxFields] = {};
  int64_t first = 0, total = 1;  // the batch begins at index `first`, and index 0 follows the last
  // Of each `step` records from there on the first `run` belong to the batch.
  int64_t run = 1, step = 1;
  // Not 0: the fields are a whole database, which stays as it is for as long as this number.
  uint64_t resident = 0;
  // Where ops go through the records by themselves, so many in each pass: `first` is that of the
  // pass with the number `since`. 0: it is that of every pass.
  int64_t stride = 0;
  uint64_t since = 0;

  // Where record k of that pass lies, as if index 0 did not follow the last. It stays below 2^32
  // (Feeds sees to that).
  constexpr int64_t place(int64_t k, uint64_t pass) const {
    return first + static_cast<int64_t>(pass - since) * stride + k / run * step + k % run;
  }
  constexpr int64_t index(int64_t k, uint64_t pass) const { return place(k, pass) % total; }
};

// Where a data layer's records come from, in order, beginning anew at the end. Implementations read
// ahead on threads of their own.
class RecordFeed {
 public:
  virtual ~RecordFeed() = default;
  virtual std::vector<RecordField> fields() const = 0;
  // Whether records are pictures (C, H, W), uint8 or float32, with an int32 label each, which data
  // layers transform. Else their tops take fields of any shape and type by name, as they are.
  virtual bool pictures() const = 0;
  // The next `count` records; they stay valid until the next call. Advances the position. Throws
  // data errors.
  virtual RecordBatch next(int64_t count) = 0;
  // Record that the next batch begins with, within the database.
  virtual int64_t position() const = 0;
  virtual void seek(int64_t position) = 0;
};

}  // namespace pcc
