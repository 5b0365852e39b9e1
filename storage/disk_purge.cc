#include "storage/disk_purge.h"

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "storage/record.h"

namespace prefixd {
namespace {

// A store has room for at least so many segments (disk_store.cc).
constexpr uint64_t kLeastSegments = 128;

bool IsLive(const CatalogModel& model, uint32_t segment, uint32_t ordinal, const BlockKey& key) {
  const int64_t place = model.Find(key);
  return place >= 0 && model.records[place].segment == segment && model.records[place].ordinal == ordinal;
}

bool IsLost(SegmentState state) {
  return state != SegmentState::kKnown && state != SegmentState::kOtherFormat;
}

using Gone = PurgePlan::Gone;

// Adds a segment to the plan if it has a record that goes.
Status PlanSegment(SegmentReader* reader, uint32_t number, const CatalogSegment& segment,
                   const CatalogModel& model, const RecordFilter& filter, PurgePlan* plan, Gone* gone) {
  std::string bytes;
  PREFIXD_ASSIGN_OR_RETURN(const SegmentDirectory directory, ReadSegmentDirectory(reader, number, &bytes));
  uint64_t kept_records = 0;
  uint64_t kept_bytes = 0;
  bool affected = false;
  for (uint32_t ordinal = 0; ordinal < directory.entries.size(); ++ordinal) {
    const DirectoryEntry& entry = directory.entries[ordinal];
    const bool goes = filter({model.fingerprint, number, ordinal, entry});
    const bool live = IsLive(model, number, ordinal, entry.key);
    affected |= goes;
    if (live && !goes) {
      ++kept_records;
      kept_bytes += entry.bytes;
    } else if (live) {
      ++plan->records;
      plan->bytes += entry.bytes;
      ++plan->by_model[model.fingerprint];
      (*gone)[model.Find(entry.key)] = true;
    } else if (goes) {
      ++plan->dead_records;
    }
  }
  if (!affected) return Status::Ok();
  plan->segments.push_back(number);
  plan->segment_bytes += segment.physical_bytes;
  plan->kept_records += kept_records;
  plan->kept_bytes += kept_bytes;
  return Status::Ok();
}

// Adds the other segments of models that lose all their records: they have nothing but dead copies.
void PlanEmptied(const DiskCatalog& catalog, PurgePlan* plan) {
  for (const auto& [number, segment] : catalog.segments) {
    if (segment.state != SegmentState::kKnown) continue;
    const auto gone = plan->by_model.find(segment.group);
    if (gone == plan->by_model.end() || gone->second < catalog.models.at(segment.group).records.size())
      continue;
    const auto place = std::lower_bound(plan->segments.begin(), plan->segments.end(), number);
    if (place != plan->segments.end() && *place == number) continue;
    plan->segments.insert(place, number);
    plan->segment_bytes += segment.physical_bytes;
    plan->dead_records += segment.count;
  }
}

// Finds the keys that have a dead copy in a segment that stays and that only dropped segments keep dead.
Status PlanDeletions(SegmentReader* reader, const DiskCatalog& catalog, const CatalogModel& model,
                     const Gone& gone, PurgePlan* plan) {
  const auto dropped = [&](uint32_t number) {
    return std::binary_search(plan->segments.begin(), plan->segments.end(), number);
  };
  const auto stays_live = [&](const BlockKey& key) {
    const int64_t place = model.Find(key);
    return place >= 0 && !gone[place];
  };
  std::vector<uint32_t> staying;
  std::vector<uint32_t> dropping;
  for (const auto& [number, segment] : catalog.segments) {
    if (segment.state != SegmentState::kKnown || segment.group != model.fingerprint) continue;
    if (dropped(number))
      dropping.push_back(number);
    else if (segment.live < segment.count)
      staying.push_back(number);
  }
  if (staying.empty()) return Status::Ok();
  std::unordered_set<BlockKey> named;  // by dropped segments, with no live record afterwards
  for (const uint32_t number : dropping) {
    std::string bytes;
    PREFIXD_ASSIGN_OR_RETURN(const SegmentDirectory directory, ReadSegmentDirectory(reader, number, &bytes));
    for (const DirectoryEntry& entry : directory.entries)
      if (!stays_live(entry.key)) named.insert(entry.key);
    for (const BlockKey& key : directory.deleted)
      if (!stays_live(key)) named.insert(key);
  }
  for (const uint32_t number : staying) {
    if (named.empty()) break;
    std::string bytes;
    PREFIXD_ASSIGN_OR_RETURN(const SegmentDirectory directory, ReadSegmentDirectory(reader, number, &bytes));
    for (const DirectoryEntry& entry : directory.entries)
      if (named.erase(entry.key) > 0) plan->deletions[model.fingerprint].push_back(entry.key);
  }
  return Status::Ok();
}

// What a segment keeps, ready to be written.
struct Kept {
  std::vector<std::string> records;
  SegmentDirectory directory;
};

Result<Kept> ReadKept(SegmentDb* db, uint32_t number, const CatalogModel& model, const Gone& gone,
                      const RecordFilter& filter, PurgeResult* result) {
  std::string bytes;
  PREFIXD_ASSIGN_OR_RETURN(const SegmentDirectory directory, ReadSegmentDirectory(db, number, &bytes));
  Kept kept{.directory = {.group = directory.group, .tick = directory.tick}};
  for (uint32_t ordinal = 0; ordinal < directory.entries.size(); ++ordinal) {
    const DirectoryEntry& entry = directory.entries[ordinal];
    if (!IsLive(model, number, ordinal, entry.key)) continue;
    if (filter({model.fingerprint, number, ordinal, entry})) continue;
    auto record = db->Read(number, ordinal);
    if (!record.ok() || record->size() != entry.bytes) {
      ++result->lost_records;
      continue;
    }
    kept.records.push_back(std::move(*record));
    kept.directory.entries.push_back(entry);
  }
  for (size_t i = 0; i < kept.records.size(); ++i)
    kept.directory.entries[i].head = std::string_view(kept.records[i]).substr(0, kRecordHeaderBytes);
  for (const KeptEntry& entry : directory.kept) {  // also of records in other segments
    const int64_t place = model.Find(entry.key);
    if (place >= 0 && !gone[place]) kept.directory.kept.push_back(entry);
  }
  return kept;
}

Status Write(SegmentDb* db, uint32_t number, const Kept& kept) {
  const std::vector<std::string_view> records(kept.records.begin(), kept.records.end());
  return db->Add(number, records, EncodeDirectory(kept.directory));
}

}  // namespace

RecordFilter RootFilter(std::function<bool(const BlockKey& model, const BlockKey& root)> is_one) {
  return [is_one = std::move(is_one)](const FilteredRecord& record) {
    const DecodedHead decoded = DecodeRecordHead(std::as_bytes(std::span(record.entry.head)));
    return decoded.defect != RecordDefect::kNone || is_one(decoded.head.fingerprint, decoded.head.root);
  };
}

RecordFilter TenantFilter(const std::string& salt) {
  return RootFilter(
      [salt](const BlockKey& model, const BlockKey& root) { return root == RootKey(model, salt); });
}

RecordFilter AgeFilter(int64_t created_until) {
  return [created_until](const FilteredRecord& record) {
    return created_until >= 0 && record.entry.created <= static_cast<uint64_t>(created_until);
  };
}

RecordFilter ModelFilter(const BlockKey& fingerprint) {
  return [fingerprint](const FilteredRecord& record) { return record.model == fingerprint; };
}

RecordFilter AllOf(std::vector<RecordFilter> filters) {
  return [filters = std::move(filters)](const FilteredRecord& record) {
    return std::all_of(filters.begin(), filters.end(), [&](const auto& filter) { return filter(record); });
  };
}

Result<PurgePlan> PlanPurge(SegmentReader* reader, const DiskCatalog& catalog, const RecordFilter& filter) {
  PurgePlan plan;
  std::map<BlockKey, Gone>& gone = plan.gone;
  for (const auto& [fingerprint, model] : catalog.models) gone[fingerprint].resize(model.records.size());
  for (const auto& [number, segment] : catalog.segments) {
    if (segment.state == SegmentState::kOtherFormat) {
      ++plan.other_segments;
    } else if (IsLost(segment.state)) {
      ++plan.damaged_segments;
      plan.segments.push_back(number);
      plan.segment_bytes += segment.physical_bytes;
    } else {
      const CatalogModel& model = catalog.models.at(segment.group);
      PREFIXD_RETURN_IF_ERROR(
          PlanSegment(reader, number, segment, model, filter, &plan, &gone[segment.group]));
    }
  }
  PlanEmptied(catalog, &plan);
  for (const auto& [fingerprint, model] : catalog.models)
    PREFIXD_RETURN_IF_ERROR(PlanDeletions(reader, catalog, model, gone[fingerprint], &plan));
  return plan;
}

Status ExecutePurge(SegmentDb* db, const DiskCatalog& catalog, const PurgePlan& plan,
                    const RecordFilter& filter, const std::function<void(uint64_t bytes)>& progress,
                    PurgeResult* result) {
  uint32_t next = catalog.segments.empty() ? 1 : catalog.segments.rbegin()->first + 1;
  for (const auto& [fingerprint, keys] : plan.deletions) {
    const Kept deletions{.directory = {.group = fingerprint, .deleted = keys}};
    PREFIXD_RETURN_IF_ERROR(Write(db, next++, deletions));
  }
  // The oldest first: a newer segment keeps dead copies in older ones dead until those are gone.
  for (const uint32_t number : plan.segments) {
    const CatalogSegment& segment = catalog.segments.at(number);
    Kept kept;
    if (segment.state == SegmentState::kKnown) {
      const CatalogModel& model = catalog.models.at(segment.group);
      PREFIXD_ASSIGN_OR_RETURN(kept,
                               ReadKept(db, number, model, plan.gone.at(model.fingerprint), filter, result));
    }
    bool written = kept.records.empty() && kept.directory.kept.empty();
    if (!written) {
      const Status status = Write(db, next++, kept);
      if (!status.ok() && status.code() != Code::kResourceExhausted) return status;
      if (!status.ok()) PREFIXD_RETURN_IF_ERROR(db->Recover());
      written = status.ok();
    }
    PREFIXD_RETURN_IF_ERROR(db->Drop(number));
    if (!written) PREFIXD_RETURN_IF_ERROR(Write(db, next++, kept));
    result->rewritten_records += kept.records.size();
    for (const std::string& record : kept.records) result->rewritten_bytes += record.size();
    if (progress) progress(segment.physical_bytes);
  }
  return Status::Ok();
}

Status PurgeDatabase(DiskFolder* folder, ByteLedger* ledger, const DiskCatalog& catalog,
                     const PurgePlan& plan, const RecordFilter& filter, FileObserver* observer,
                     const std::function<void(uint64_t bytes)>& progress, PurgeResult* result) {
  uint64_t largest = 0;
  for (const auto& [number, segment] : catalog.segments) largest = std::max(largest, segment.physical_bytes);
  const uint64_t max_segments = std::max<uint64_t>(kLeastSegments, catalog.segments.size() + 2);
  ledger->SetLimit(ledger->used() + RocksdbReserve(max_segments) + largest);
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<SegmentDb> db,
                           folder->OpenDatabase(max_segments, observer, /*read_ahead=*/true));
  return ExecutePurge(db.get(), catalog, plan, filter, progress, result);
}

}  // namespace prefixd
