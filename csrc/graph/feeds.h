// Feeds: the records of a net's data layers, fetched before a pass and put where ops find them.
#pragma once

#include <memory>
#include <vector>

#include "graph/build.h"
#include "ops/device.h"

namespace pcc {

// A database that the host holds whole goes to the device once, if it fits there (Device::hold):
// ops then find each pass's records by the number of the pass, and nothing is sent any more.
// Everything else is sent batch by batch while the device works on what came before.
class Feeds {
 public:
  Feeds() = default;
  // options: which share of each batch is taken.
  Feeds(std::shared_ptr<Device> device, std::vector<FeedUse> uses, const NetOptions& options);

  // The next records of the layers [first, last], for so many passes from that number on. Throws
  // data errors.
  void advance(int first, int last, uint64_t pass, int64_t passes = 1);
  // Whether all of the last ones lie on the device for good.
  bool resident() const;
  // Back by so many passes, so that their records come again.
  void rewind(int64_t passes);
  // What Context::feeds points to.
  const RecordBatch* batches() const;
  // The same for ops that the host runs; of the last pass.
  const RecordBatch* host_batches() const { return on_host_.data(); }

 private:
  struct Source {
    FeedUse use;
    std::vector<RecordField> fields;
    uint64_t resident = 0;                      // the database that `held` is of; 0: none
    std::vector<std::shared_ptr<Memory>> held;  // per field
    std::unique_ptr<Staging> staging;
    int64_t staged_bytes = 0;  // for which there is room

    int64_t bytes_of(const RecordBatch& batch, size_t field) const {
      return fields[field].shape.count() * size_of(batch.types[field]);
    }
  };
  RecordBatch next(const Source& source) const;
  bool hold(Source& source, RecordBatch& batch);
  void send(Source& source, RecordBatch& batch, int64_t batches);

  std::shared_ptr<Device> device_;
  int64_t rank_ = 0, ranks_ = 1, replicas_ = 1;
  std::vector<Source> sources_;
  std::vector<RecordBatch> on_host_, latest_;  // where the records lie on the host; for the device
  std::shared_ptr<Memory> block_;
};

}  // namespace pcc
