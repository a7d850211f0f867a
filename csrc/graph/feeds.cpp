#include "graph/feeds.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace pcc {

namespace {

// Ops count a place in a database, and how far they have gone from there, in 32 bits.
constexpr int64_t kFarthest = int64_t{1} << 30;

// Whether ops that were told `from` find the records of `to` by themselves.
bool leads_to(const RecordBatch& from, const RecordBatch& to) {
  return to.resident != 0 && from.resident == to.resident && from.stride == to.stride &&
         std::equal(from.fields, from.fields + RecordBatch::kMaxFields, to.fields) &&
         to.since >= from.since &&
         to.since - from.since < static_cast<uint64_t>(kFarthest / (to.stride + 1)) &&
         from.index(0, to.since) == to.index(0, to.since);
}

}  // namespace

Feeds::Feeds(std::shared_ptr<Device> device, std::vector<FeedUse> uses, const NetOptions& options)
    : device_(std::move(device)),
      rank_(options.rank),
      ranks_(options.ranks),
      replicas_(options.replicas) {
  for (FeedUse& use : uses) {
    Source source;
    source.fields = use.records->fields();
    PCC_CHECK(source.fields.size() <= RecordBatch::kMaxFields, "a record source of ",
              source.fields.size(), " fields; there can be ", RecordBatch::kMaxFields);
    source.use = std::move(use);
    sources_.push_back(std::move(source));
  }
  latest_.resize(sources_.size());
  on_host_.resize(sources_.size());
  block_ = device_->allocate(static_cast<int64_t>(latest_.size() * sizeof(RecordBatch)));
}

void Feeds::advance(int first, int last, uint64_t pass, int64_t passes) {
  bool told = true;  // whether ops know where to look
  for (size_t s = 0; s < sources_.size(); ++s) {
    Source& source = sources_[s];
    if (source.use.layer < first || source.use.layer > last) continue;
    const int64_t batches = source.use.batches * passes;
    RecordBatch batch = on_host_[s] = next(source);
    if (hold(source, batch)) {
      for (int64_t b = 1; b < batches; ++b) on_host_[s] = next(source);
    } else if (batches > 1 || !device_->host_visible()) {
      send(source, batch, batches);
    }
    batch.since = pass;
    batch.stride = (batch.resident ? ranks_ : 1) * source.use.samples;
    if (leads_to(latest_[s], batch)) continue;
    latest_[s] = batch;
    told = false;
  }
  if (!told)
    device_->upload(block_->data(), latest_.data(),
                    static_cast<int64_t>(latest_.size() * sizeof(RecordBatch)));
}

// Of the records of all ranks each takes those of its replicas.
RecordBatch Feeds::next(const Source& source) const {
  RecordBatch batch = source.use.records->next(ranks_ * source.use.samples / source.use.batches);
  batch.first += rank_ * replicas_;
  batch.run = replicas_;
  batch.step = ranks_ * replicas_;
  return batch;
}

// Whether the batch is of a database that lies in the device's memory, or now does: then says
// where.
bool Feeds::hold(Source& source, RecordBatch& batch) {
  if (batch.resident == 0 || batch.total >= kFarthest) return false;
  if (device_->host_visible()) return true;
  if (batch.resident != source.resident) {
    source.resident = batch.resident;
    source.held.clear();
    for (size_t f = 0; f < source.fields.size(); ++f) {
      source.held.push_back(device_->hold(batch.resident * RecordBatch::kMaxFields + f,
                                          batch.fields[f],
                                          source.bytes_of(batch, f) * batch.total));
      if (source.held.back()) continue;
      source.held.clear();
      break;
    }
  }
  if (source.held.empty()) return false;
  for (size_t f = 0; f < source.held.size(); ++f) batch.fields[f] = source.held[f]->data();
  return true;
}

// Sends the records of a batch, and of those that follow it.
void Feeds::send(Source& source, RecordBatch& batch, int64_t batches) {
  constexpr int64_t kAligned = 256;
  const int64_t count = source.use.samples / source.use.batches;
  std::array<int64_t, RecordBatch::kMaxFields> offsets{};
  int64_t bytes = 0;
  for (size_t f = 0; f < source.fields.size(); ++f) {
    offsets[f] = bytes;
    bytes += (source.bytes_of(batch, f) * count * batches + kAligned - 1) / kAligned * kAligned;
  }
  if (source.staged_bytes < bytes) {
    source.staging.reset();
    source.staging = device_->stage(bytes);
    source.staged_bytes = bytes;
  }
  char* const room = static_cast<char*>(source.staging->fill());
  const auto types = std::to_array(batch.types);
  for (int64_t b = 0; b < batches; ++b) {
    if (b > 0) batch = next(source);
    PCC_DATA(std::to_array(batch.types) == types, "a record source changed its types");
    for (size_t f = 0; f < source.fields.size(); ++f) {
      const int64_t record = source.bytes_of(batch, f);
      char* const to = room + offsets[f] + b * count * record;
      for (int64_t k = 0; k < count; ++k)
        std::memcpy(to + k * record,
                    static_cast<const char*>(batch.fields[f]) + batch.index(k, 0) * record,
                    static_cast<size_t>(record));
    }
  }
  const char* const there = static_cast<const char*>(source.staging->send());
  for (size_t f = 0; f < source.fields.size(); ++f) batch.fields[f] = there + offsets[f];
  batch.first = 0;
  batch.run = batch.step = 1;
  batch.total = count * batches;
  batch.resident = 0;
}

bool Feeds::resident() const {
  return std::all_of(latest_.begin(), latest_.end(),
                     [](const RecordBatch& batch) { return batch.resident != 0; });
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
