// Feeds: the records of a net's data layers, fetched before a pass and put where ops find them.
#pragma once

#include <memory>
#include <vector>

#include "graph/build.h"
#include "ops/device.h"

namespace pcc {

class Feeds {
 public:
  Feeds() = default;
  // options: which share of each batch is taken.
  Feeds(std::shared_ptr<Device> device, std::vector<FeedUse> uses, const NetOptions& options);

  // The next records of the layers [first, last]. Throws data errors.
  void advance(int first, int last);
  // Back by so many passes, so that their records come again.
  void rewind(int64_t passes);
  // What Context::feeds points to.
  const RecordBatch* batches() const;
  // The same for ops that the host runs.
  const RecordBatch* host_batches() const { return on_host_.data(); }

 private:
  struct Source {
    FeedUse use;
    std::vector<RecordField> fields;
    std::vector<std::shared_ptr<Memory>> memory;  // per field, where the device needs its own copy
    uint64_t resident = 0;                        // the database that lies there; 0: a batch
  };
  void bring(Source& source, RecordBatch& batch);

  std::shared_ptr<Device> device_;
  int64_t rank_ = 0, ranks_ = 1, replicas_ = 1;
  std::vector<Source> sources_;
  std::vector<RecordBatch> on_host_, latest_;  // where the records lie on the host; for the device
  std::shared_ptr<Memory> block_;
};

}  // namespace pcc
