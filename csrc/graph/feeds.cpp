#include "graph/feeds.h"

namespace pcc {

Feeds::Feeds(std::shared_ptr<Device> device, std::vector<FeedUse> uses, const NetOptions& options)
    : device_(std::move(device)),
      rank_(options.rank),
      ranks_(options.ranks),
      replicas_(options.replicas) {
  for (FeedUse& use : uses) {
    Source source;
    source.fields = use.records->fields();
    source.memory.resize(source.fields.size());
    PCC_CHECK(source.memory.size() <= RecordBatch::kMaxFields, "a record source of ",
              source.memory.size(), " fields; there can be ", RecordBatch::kMaxFields);
    source.use = std::move(use);
    sources_.push_back(std::move(source));
  }
  latest_.resize(sources_.size());
  on_host_.resize(sources_.size());
  block_ = device_->allocate(static_cast<int64_t>(latest_.size() * sizeof(RecordBatch)));
}

void Feeds::advance(int first, int last) {
  bool any = false;
  for (size_t s = 0; s < sources_.size(); ++s) {
    Source& source = sources_[s];
    if (source.use.layer < first || source.use.layer > last) continue;
    // The records of all ranks, of which each takes those of its replicas.
    RecordBatch& batch = on_host_[s];
    batch = source.use.records->next(ranks_ * source.use.samples);
    batch.first += rank_ * replicas_;
    batch.run = replicas_;
    batch.step = ranks_ * replicas_;
    latest_[s] = batch;
    if (!device_->host_visible()) bring(source, latest_[s]);
    any = true;
  }
  if (any)
    device_->upload(block_->data(), latest_.data(),
                    static_cast<int64_t>(latest_.size() * sizeof(RecordBatch)));
}

// Copies a batch into the device's memory, or, where it lies in a database that the host holds
// whole, that database, once.
void Feeds::bring(Source& source, RecordBatch& batch) {
  const bool is_there = batch.resident != 0 && batch.resident == source.resident;
  for (size_t f = 0; f < source.fields.size(); ++f) {
    const int64_t record = source.fields[f].shape.count() * size_of(batch.types[f]);
    const int64_t bytes = record * batch.total;
    std::shared_ptr<Memory>& memory = source.memory[f];
    if (!is_there) {
      if (!memory || memory->bytes() < bytes) memory = device_->allocate(bytes);
      device_->upload(memory->data(), batch.fields[f], bytes);
    }
    batch.fields[f] = memory->data();
  }
  source.resident = batch.resident;
}

void Feeds::rewind(int64_t passes) {
  for (const Source& source : sources_) {
    RecordFeed& records = *source.use.records;
    records.seek(records.position() - passes * ranks_ * source.use.samples);
  }
}

const RecordBatch* Feeds::batches() const {
  return block_ ? reinterpret_cast<const RecordBatch*>(block_->data()) : nullptr;
}

}  // namespace pcc
