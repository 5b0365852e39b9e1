#include "storage/disk_catalog.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>

#include "storage/record.h"

namespace prefixd {
namespace {

// What is needed of a group while its segments are read, the newest first.
struct Reading {
  std::unordered_set<BlockKey> deleted;  // by the segments so far
  std::unordered_map<BlockKey, uint32_t> root_places;
};

SegmentState StateAfter(const Status& status) {
  switch (status.code()) {
    case Code::kUnsupported:
      return SegmentState::kOtherFormat;
    case Code::kUnavailable:
      return SegmentState::kGone;
    case Code::kCorrupt:
    case Code::kNotFound:  // its file has no directory
      return SegmentState::kDamaged;
    default:
      return SegmentState::kUnreadable;
  }
}

uint32_t PlaceOfRoot(const BlockKey& root, CatalogModel* model, Reading* reading) {
  const auto [found, inserted] =
      reading->root_places.emplace(root, static_cast<uint32_t>(model->roots.size()));
  if (inserted) model->roots.push_back(root);
  return found->second;
}

void AddRecord(uint32_t number, uint32_t ordinal, const DirectoryEntry& entry, CatalogModel* model,
               Reading* reading) {
  CatalogRecord record{.key = entry.key,
                       .root = CatalogRecord::kNoRoot,
                       .segment = number,
                       .ordinal = ordinal,
                       .bytes = entry.bytes};
  const DecodedHead decoded = DecodeRecordHead(std::as_bytes(std::span(entry.head)));
  if (decoded.defect == RecordDefect::kNone) {
    const RecordHead& head = decoded.head;
    record.parent = head.parent;
    record.tokens = head.token_count;
    record.root = PlaceOfRoot(head.root, model, reading);
    model->raw_bytes = SaturatingAdd(model->raw_bytes, head.raw_bytes);
    model->stored_bytes = SaturatingAdd(model->stored_bytes, head.stored_bytes);
  } else {
    ++model->no_head;
  }
  model->oldest = model->records.empty() ? entry.created : std::min(model->oldest, entry.created);
  model->newest = std::max(model->newest, entry.created);
  model->bytes += entry.bytes;
  model->tokens += record.tokens;
  model->records.push_back(record);
  model->index.Insert(entry.key, {.segment = static_cast<uint32_t>(model->records.size())});
}

void AddSegment(uint32_t number, const SegmentDirectory& directory, CatalogModel* model, Reading* reading,
                CatalogSegment* segment) {
  segment->group = model->fingerprint = directory.group;
  segment->count = directory.entries.size();
  // From the last record on, as all is read from the newest on: the first of a key is the live one.
  for (size_t i = directory.entries.size(); i-- > 0;) {
    const DirectoryEntry& entry = directory.entries[i];
    segment->bytes += entry.bytes;
    if (model->Find(entry.key) >= 0 || reading->deleted.contains(entry.key)) continue;
    ++segment->live;
    segment->live_bytes += entry.bytes;
    AddRecord(number, static_cast<uint32_t>(i), entry, model, reading);
  }
  reading->deleted.insert(directory.deleted.begin(), directory.deleted.end());
  ++model->segments;
  model->physical_bytes += segment->physical_bytes;
  model->dead_bytes += segment->bytes - segment->live_bytes;
}

// Brings the records into the order of the medium.
void Reverse(CatalogModel* model) {
  std::reverse(model->records.begin(), model->records.end());
  for (size_t i = 0; i < model->records.size(); ++i)
    model->index.Find(model->records[i].key)->segment = static_cast<uint32_t>(i + 1);
}

}  // namespace

uint64_t SaturatingAdd(uint64_t a, uint64_t b) {
  return a > std::numeric_limits<uint64_t>::max() - b ? std::numeric_limits<uint64_t>::max() : a + b;
}

int64_t CatalogModel::Find(const BlockKey& key) const {
  const RecordLocation* found = index.Find(key);
  return found == nullptr ? -1 : int64_t{found->segment} - 1;
}

Result<SegmentDirectory> ReadSegmentDirectory(SegmentReader* reader, uint32_t number, std::string* bytes) {
  PREFIXD_ASSIGN_OR_RETURN(*bytes, reader->ReadDirectory(number));
  return DecodeDirectory(*bytes);
}

DiskCatalog ReadDiskCatalog(SegmentReader* reader) {
  DiskCatalog catalog;
  std::map<BlockKey, Reading> readings;
  for (const auto& [number, bytes] : reader->PhysicalBytes()) catalog.segments[number].physical_bytes = bytes;
  for (auto segment = catalog.segments.rbegin(); segment != catalog.segments.rend(); ++segment) {
    std::string bytes;
    const auto directory = ReadSegmentDirectory(reader, segment->first, &bytes);
    if (directory.ok()) {
      AddSegment(segment->first, *directory, &catalog.models[directory->group], &readings[directory->group],
                 &segment->second);
    } else {
      segment->second.state = StateAfter(directory.status());
      segment->second.error = directory.status().message();
    }
  }
  for (auto& [fingerprint, model] : catalog.models) Reverse(&model);
  return catalog;
}

}  // namespace prefixd
