// DiskStore: a durable BlockStore in a directory, with a cap on its physical bytes.
//
// Records are collected in the open segment, in RAM. A full segment, or one that is kSegmentAge old, is
// sealed: written as a whole to the SegmentDb, which makes it durable. Segments never change. Room is made by
// dropping whole segments, the least worth first (record_value.h); the best of their records are copied
// forward before.
//
//        Put                  Seal                     Evict
//   ------------> open ---------------> on disk ------------------> gone
//                  (RAM)     sealing       ^   |  survivors
//                                          +---+
//
// All records of a store are of one group, the model. Segments of other groups and of unknown formats are
// left alone, but evicted first, the oldest first.
//
// Any thread. The owner calls Maintain about once a second, and Scan once after Open: a record of an earlier
// process is found as soon as the scan has passed it.
//
// Locks: `writer_` is held by whoever adds or drops segments, for as long as that takes. `state_` guards the
// members and is held briefly, never while the medium is read or written. `writer_` is taken before `state_`.
//
// Invariants
//   1. The ledger never exceeds the capacity, from the moment that Open returns. Room for one more segment
//      and for the manifest is kept free, so that survivors can be written before their segment is dropped.
//   2. A key is in at most one of: the open segment, the live records of the segment being sealed, the index.
//   3. The records and live bytes of a segment are the sums over the index entries that name it.
//   4. A deletion is written with the segment after it, and kept by eviction while an older segment is there
//      that may hold the record.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "storage/block_store.h"
#include "storage/byte_ledger.h"
#include "storage/disk_folder.h"
#include "storage/record_index.h"
#include "storage/segment_db.h"
#include "storage/segment_directory.h"

namespace prefixd {

struct DiskStoreOptions {
  std::string path;
  uint64_t capacity = 0;        // bytes; at least kMinDiskCapacity
  BlockKey group;               // of all records that are put: the fingerprint of the model
  int64_t max_age_seconds = 0;  // records are dropped when they have lain this long; 0: never
  const Clock* clock = nullptr;
  DropListener on_drop;              // may be empty
  FileObserver* observer = nullptr;  // may be null
};

inline constexpr uint64_t kMinDiskCapacity = 8 << 20;

struct DiskStoreStats {
  uint64_t records = 0;  // of this store's group that were found by now, those in RAM included
  uint64_t segments = 0;
  uint64_t other_segments = 0;   // of other groups or formats
  uint64_t pending_bytes = 0;    // put but not yet durable
  uint64_t index_bytes = 0;      // RAM of the index
  uint64_t written_bytes = 0;    // put by the caller and made durable
  uint64_t rewritten_bytes = 0;  // copied forward by eviction and merging
  uint64_t read_bytes = 0;
  uint64_t evicted_records = 0;
  uint64_t expired_records = 0;
  uint64_t lost_records = 0;      // not durable because the medium failed, or in a damaged segment
  uint64_t damaged_segments = 0;  // whose directory could not be read, or that had lost a record
  uint64_t failed_writes = 0;     // segments that could not be written
};

class DiskStore final : public BlockStore {
 public:
  // How long a record may wait in RAM before it is made durable, when Maintain is called often enough.
  static constexpr int64_t kSegmentAgeNanos = 1'500'000'000;

  // Evicts until the directory fits the capacity. kInvalidArgument: the capacity is too small. kUnavailable:
  // another process uses the directory.
  static Result<std::unique_ptr<DiskStore>> Open(const DiskStoreOptions& options);
  // The size at which a segment is sealed, which is also the largest record.
  static uint64_t SegmentBytes(uint64_t capacity);
  // Seals the open segment.
  ~DiskStore() override;

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  // Seals the open segment.
  Status Sync() override;
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override { return ledger_.used(); }
  uint64_t capacity() const override { return options_.capacity; }
  uint64_t max_record_bytes() const override { return segment_bytes_; }

  // Seals an open segment that is old enough, drops what has expired and joins small segments.
  Status Maintain();
  DiskStoreStats stats() const;
  // Whether a Scan has passed all segments, so that the index is whole.
  bool scanned() const;
  const ByteLedger& ledger() const { return ledger_; }

  // Aborts when an invariant does not hold. O(records). No other thread may call the store.
  void CheckInvariants() const;

 private:
  // After so many errors of the medium while its directory was read, a segment counts as damaged.
  static constexpr uint32_t kMostFailedReads = 3;

  using Bytes = std::shared_ptr<const std::string>;
  // A record in RAM.
  struct Pending {
    BlockKey key;
    Bytes record = nullptr;
    uint8_t cost_class = 0;
    float heat = 0;
    uint64_t created = 0;   // unix seconds
    bool dead = false;      // replaced or deleted since
    bool replaces = false;  // an older record of the key may lie on the disk
    // Of a record that eviction moves: where it lies until now. Otherwise segment 0.
    RecordLocation from = {};
  };
  // The open segment, or the one that is being sealed.
  struct Batch {
    std::vector<Pending> records;
    std::unordered_map<BlockKey, size_t> by_key;  // the live ones
    std::vector<BlockKey> deleted;
    uint64_t bytes = 0;
    int64_t opened_nanos = 0;  // when the first record or deletion came
    bool empty() const { return records.empty() && deleted.empty(); }
  };
  struct Segment {
    bool known = false;         // its directory was read; otherwise the numbers below are 0
    bool foreign = false;       // of another group or format
    uint32_t failed_reads = 0;  // of its directory
    uint64_t count = 0;         // records, dead ones included
    uint64_t bytes = 0;         // of them
    uint64_t live = 0;
    uint64_t live_bytes = 0;
    uint64_t oldest = 0;  // unix seconds: when its first record was put
  };
  // A scan that is under way.
  struct ScanState {
    std::set<uint32_t> ahead;         // segments that it has yet to visit
    std::vector<BlockKey> displaced;  // keys that left such a segment for another place
  };

  explicit DiskStore(const DiskStoreOptions& options);
  Status OpenFolder();

  // disk_store.cc: reading, writing
  Status Seal() REQUIRES(writer_);
  // Takes deletions that could not be written into the open segment.
  void RestoreDeletedLocked(const std::vector<BlockKey>& deleted) REQUIRES(state_);
  // After a failed change of the database.
  Status Repair() REQUIRES(writer_);
  // Writes records and deletions as the next segment, and takes the records into the index that are still
  // alive then. Makes no room.
  Status WriteSegment(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted)
      REQUIRES(writer_);
  uint64_t BoundOf(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted) const;
  void AddLocked(StoreEntry entry) REQUIRES(state_);
  bool IsAliveLocked(const Pending& record) const REQUIRES(state_);
  // Records of the key that lie on the disk are dead, also those that are not known yet.
  void KillOlderLocked(const BlockKey& key) REQUIRES(state_);
  // Takes a key out of the open segment, the one being sealed, or the index. Returns whether it was there.
  bool ForgetLocked(const BlockKey& key) REQUIRES(state_);
  void EraseLocked(const BlockKey& key) REQUIRES(state_);  // from the index
  void IndexLocked(const BlockKey& key, const RecordLocation& location) REQUIRES(state_);
  void TellDropLocked(const BlockKey& key, DropReason reason) REQUIRES(state_);
  // The record of a key that is in RAM; null when it is not.
  Bytes PendingLocked(const BlockKey& key) const REQUIRES(state_);
  // The mean of the LogWorth of a byte.
  double MeanLogWorthLocked() const REQUIRES(state_);
  double TickLocked() const REQUIRES(state_);
  // A record could not be read from where it should lie.
  void LoseLocked(const BlockKey& key, const RecordLocation& location) REQUIRES(state_);

  // disk_store_evict.cc: room, survivors, expiry
  bool Fits(uint64_t bytes, uint64_t headroom) const;
  // Makes room for a segment of at most `bytes`.
  Status MakeRoom(uint64_t bytes) REQUIRES(writer_);
  // Makes all segments known: which record of a key is the newest, and what a segment is worth, must be known
  // before one is dropped.
  Status LearnAll() REQUIRES(writer_);
  // The segments to drop next, the least worth first; together at least `bytes`, if there are that many.
  // Looks at every record of the index.
  std::vector<uint32_t> Victims(uint64_t bytes) const;
  std::vector<uint32_t> SmallSegments() const;
  // Drops the segments. Keeps at most `keep_bytes` of their records, the best ones, in a new segment; with
  // `keep_all` all that have not expired, whatever they are worth.
  Status Rewrite(const std::vector<uint32_t>& numbers, uint64_t keep_bytes, bool keep_all) REQUIRES(writer_);
  // A record that could be copied forward.
  struct Candidate {
    RecordLocation location;
    BlockKey key;
    uint64_t created = 0;
  };
  struct Rewriting {
    std::vector<Candidate> candidates;  // the live records
    std::vector<BlockKey> deleted;      // deletions that must be kept
  };
  Status Examine(uint32_t number, const std::set<uint32_t>& dropped, Rewriting* rewriting) REQUIRES(writer_);
  std::vector<Pending> ReadSurvivors(std::vector<Candidate> candidates, uint64_t keep_bytes, bool keep_all)
      REQUIRES(writer_);
  // Whether a segment with a smaller number, none of `dropped`, may hold records that are dead.
  bool DeadBelowLocked(uint32_t number, const std::set<uint32_t>& dropped) const REQUIRES(state_);
  // Takes the records of a segment out of the index, but for those that are kept.
  void DropRecords(uint32_t number, const std::unordered_set<BlockKey>& kept) REQUIRES(writer_);
  Status DropSegment(uint32_t number) REQUIRES(writer_);
  Status DropExpired() REQUIRES(writer_);
  bool Expired(uint64_t created) const;

  // disk_store_scan.cc
  // Reads the directory of a segment and takes its records into the index. The heads refer to `*bytes`.
  Result<SegmentDirectory> ReadDirectory(uint32_t number, std::string* bytes);
  void LearnLocked(uint32_t number, const SegmentDirectory& directory) REQUIRES(state_);
  void MakeKnownLocked(Segment* segment) REQUIRES(state_);
  // Makes the segment known if it is not. The heads refer to `*bytes`.
  Result<SegmentDirectory> Learn(uint32_t number, std::string* bytes);
  // Visits the live records of a segment that lies ahead of the scan. Returns whether the scan goes on.
  Result<bool> VisitSegment(uint32_t number, ScanState* scan, const Visitor& visitor);
  Result<bool> VisitDisplaced(ScanState* scan, const Visitor& visitor);

  const DiskStoreOptions options_;
  const uint64_t segment_bytes_;
  const uint64_t max_segments_;
  const uint64_t reserve_;  // bytes that the database needs beside its segments
  ByteLedger ledger_;
  std::unique_ptr<DiskFolder> folder_;
  std::unique_ptr<SegmentDb> db_;

  Mutex writer_;
  uint32_t next_segment_ GUARDED_BY(writer_) = 1;
  bool broken_ GUARDED_BY(writer_) = false;  // a change of the database failed

  mutable Mutex state_;
  Batch open_ GUARDED_BY(state_);
  Batch sealing_ GUARDED_BY(state_);
  RecordIndex index_ GUARDED_BY(state_);
  std::map<uint32_t, Segment> segments_ GUARDED_BY(state_);
  uint64_t unknown_segments_ GUARDED_BY(state_) = 0;
  // Deletions of segments whose records are not all known yet: the segment that says so, by key.
  std::unordered_map<BlockKey, uint32_t> deleted_ GUARDED_BY(state_);
  std::vector<ScanState*> scans_ GUARDED_BY(state_);
  double first_tick_ GUARDED_BY(state_) = 0;  // of this process: the last one of the process before
  // Over the index: the sums of the bytes, and of the bytes times their LogWorth.
  uint64_t live_bytes_ GUARDED_BY(state_) = 0;
  double log_worth_ GUARDED_BY(state_) = 0;
  DiskStoreStats stats_ GUARDED_BY(state_);
};

}  // namespace prefixd
