// Purges records from the database of a disk cache that no daemon uses: PlanPurge finds what has to be done,
// ExecutePurge does it. A segment never changes, so one that has a record to remove is dropped, and what it
// keeps is written to a new segment before. One thread.
//
// Guarantees
//   1. When ExecutePurge has returned ok, no file of the database has a record that the filter matches, dead
//      copies included: of records that were replaced or deleted before. Segments that are damaged are gone,
//      too, because nobody can tell whose records they have.
//   2. Live records that the filter does not match stay, unless they are damaged. What was dead stays dead.
//   3. The law of the ledger holds. Where there is no room for a new segment beside the old one, the kept
//      records wait in RAM while the old one is dropped; a crash then loses these records.
//   4. A crash leaves a database in which every record is whole, and no purged record has come back. The
//      purge can be repeated.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "hashing/block_key.h"
#include "storage/byte_ledger.h"
#include "storage/disk_catalog.h"
#include "storage/disk_folder.h"
#include "storage/segment_db.h"

namespace prefixd {

// A record as a filter sees it, which need not be alive.
struct FilteredRecord {
  const BlockKey& model;
  uint32_t segment = 0;
  uint32_t ordinal = 0;
  const DirectoryEntry& entry;
};
// Whether a record goes. It must answer the same whenever it is asked.
using RecordFilter = std::function<bool(const FilteredRecord& record)>;

// Matches the records of those roots for which `is_one` is true. A record without a readable head matches,
// too, because nobody can tell whose it is.
RecordFilter RootFilter(std::function<bool(const BlockKey& model, const BlockKey& root)> is_one);
// The same for the roots of a salt without a tenant.
RecordFilter TenantFilter(const std::string& salt);
// Matches what was put at or before this time, in unix seconds.
RecordFilter AgeFilter(int64_t created_until);
RecordFilter ModelFilter(const BlockKey& fingerprint);
RecordFilter AllOf(std::vector<RecordFilter> filters);

struct PurgePlan {
  std::vector<uint32_t> segments;         // that are dropped, ascending
  uint64_t segment_bytes = 0;             // physical, of these
  uint64_t records = 0;                   // live ones that go
  uint64_t bytes = 0;                     // of them
  std::map<BlockKey, uint64_t> by_model;  // how many of them are of which model
  uint64_t dead_records = 0;              // dead copies that match, or of a model that loses all its records
  uint64_t kept_records = 0;              // that are written again
  uint64_t kept_bytes = 0;
  uint64_t damaged_segments = 0;  // that go
  uint64_t other_segments = 0;    // of another format, which stay: their records cannot be read
  using Gone = std::vector<bool>;
  std::map<BlockKey, Gone>
      gone;  // by model: whether a live record goes, by its place in CatalogModel::records
  // Keys that a segment to be dropped keeps dead in a segment that stays, by model.
  std::map<BlockKey, std::vector<BlockKey>> deletions;
};
// kUnavailable, kIo: a segment could be read when the catalog was made, and not any more.
Result<PurgePlan> PlanPurge(SegmentReader* reader, const DiskCatalog& catalog, const RecordFilter& filter);

struct PurgeResult {
  uint64_t rewritten_records = 0;
  uint64_t rewritten_bytes = 0;
  uint64_t lost_records = 0;  // that should have stayed and could not be read
};
// Requires the database that the catalog was made of, with nothing written since. `progress` is called with
// the physical bytes of each segment that has been dropped; it may be empty.
Status ExecutePurge(SegmentDb* db, const DiskCatalog& catalog, const PurgePlan& plan,
                    const RecordFilter& filter, const std::function<void(uint64_t bytes)>& progress,
                    PurgeResult* result);

// Opens the database of the folder and purges it. The law: not more than the bytes that are used now, plus
// what a store keeps free, which is the reserve of RocksDB and room for one segment (DiskStore, invariant 1).
// So the cap of the daemon that filled the cache holds, though it is not known here. `observer` may be null.
Status PurgeDatabase(DiskFolder* folder, ByteLedger* ledger, const DiskCatalog& catalog,
                     const PurgePlan& plan, const RecordFilter& filter, FileObserver* observer,
                     const std::function<void(uint64_t bytes)>& progress, PurgeResult* result);

}  // namespace prefixd
