// DiskStore: a durable BlockStore in a directory, with a cap on its physical bytes.
//
// Records are collected in the open segment, in RAM. A full segment, or one that is kSegmentAgeNanos old, is
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
// Any thread. The owner calls Maintain every 200 ms, and Scan once after Open: a record of an earlier process
// is found as soon as the scan has passed it.
//
// A medium that cannot be written: the records of the segment are told lost, and for kRetryNanos PutBatch
// refuses records with kUnavailable. Then the next PutBatch, Sync or Maintain tries again. So RAM holds two
// segments at most. What is beyond such a try, as a database that is damaged or a directory that was removed,
// is told by NeedsReopen: nothing is written any more, and the owner destroys the store and opens another.
//
// Locks: `writer_` is held by whoever adds or drops segments, for as long as that takes; `learner_` by who
// takes a segment into the index. `state_` guards the members. It is held for a few records at a time, never
// while the medium is read or written, so that Contains never waits long. They are taken in this order.
//
// Invariants
//   1. The ledger never exceeds the capacity, from the moment that Open returns. Room for one more segment
//      and for the manifest is kept free, so that survivors can be written before their segment is dropped.
//   2. A key is in at most one of: the open segment, the live records of the segment being sealed, the index.
//   3. The records and live bytes of a segment are the sums over the index entries that name it.
//   4. A deletion is written with the segment after it, and kept by eviction while an older segment is there
//      that may hold the record.
//   5. Of each owner, eviction leaves what RecordOwners holds: what it used last, and nearly all of the rest
//      that one round of eviction finds. Only a capacity that is lowered, and a medium that fails or is full,
//      drop some of it.
//   6. `state_` is held for the work of kSlice records at most. What needs more lets go of it in between, and
//      what it has not reached yet may change meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/latency_histogram.h"
#include "base/mutex.h"
#include "storage/block_store.h"
#include "storage/byte_ledger.h"
#include "storage/disk_folder.h"
#include "storage/kept_records.h"
#include "storage/record_index.h"
#include "storage/record_owners.h"
#include "storage/record_value.h"
#include "storage/segment_db.h"
#include "storage/segment_directory.h"

namespace prefixd {

struct DiskStoreOptions {
  std::string path;
  uint64_t capacity = 0;                // bytes; at least kMinDiskCapacity
  BlockKey group;                       // of all records that are put: the fingerprint of the model
  std::string note = {};                // see DiskFolder::Open
  int64_t max_age_seconds = 0;          // records are dropped when they have lain this long; 0: never
  int retained_percent = 25;            // of the capacity: as many bytes of records can be kept
  std::vector<OwnerShare> shares = {};  // until SetShares
  const Clock* clock = nullptr;
  DropListener on_drop;  // may be empty
  // Called, on any thread, when the directory of a segment of another group is read; may be empty. It must
  // not call the store.
  std::function<void(const SegmentDirectory&)> on_foreign = nullptr;
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
  uint64_t kept_records = 0, kept_bytes = 0, most_kept_bytes = 0;  // by retention; its budget
  KeptRecords::Counters retention;
  uint64_t evicted_kept_records = 0;              // to make room, although they were kept
  LatencyHistogram ages_at_eviction{kAgeBounds};  // of the evicted records, since they were written
  uint64_t lost_records = 0;      // not durable because the medium failed, or in a damaged segment
  uint64_t damaged_segments = 0;  // whose directory could not be read, or that had lost a record
  uint64_t failed_writes = 0;     // tries to write a segment, or to work again, that failed
  uint64_t failed_reads = 0;      // of a record or a directory: the medium failed, or it was damaged
  bool writing_fails = false;     // the last try failed; what is put may be refused
  std::string last_write_error;   // of the last that failed; empty when none did
  std::string last_read_error;
  uint64_t most_work = 0;  // the most steps, of a record each, that Contains ever had to wait for
};

class DiskStore final : public BlockStore {
 public:
  // The age at which Maintain seals the open segment. When it is called every 200 ms, and a segment is
  // written in 300 ms, what was put is durable 2 s later.
  static constexpr int64_t kSegmentAgeNanos = 1'500'000'000;
  // How long nothing is tried after a failed write.
  static constexpr int64_t kRetryNanos = 1'000'000'000;
  // A segment is full with so many records, in a small store with fewer, however small they are.
  static constexpr size_t kMostRecords = 16384;
  // For how many records `state_` is held at once. That takes about 10 microseconds.
  static constexpr size_t kSlice = 32;

  // Evicts until the directory fits the capacity. kInvalidArgument: the capacity is too small, or the
  // directory is a mistake (disk_folder.h). kUnavailable: another process uses the directory.
  static Result<std::unique_ptr<DiskStore>> Open(const DiskStoreOptions& options);
  // The size at which a segment is sealed, which is also the largest record.
  static uint64_t SegmentBytes(uint64_t capacity);
  // Seals the open segment.
  ~DiskStore() override;

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  // A segment says what is kept, so a restart knows it. Of a use that makes it longer, a crash may lose up to
  // a quarter of the time.
  bool Keep(const BlockKey& key, const RecordRetention& retention) override;
  bool MayKeep(uint64_t owner, uint64_t bytes) const override;
  std::optional<RecordRetention> KeptUntil(const BlockKey& key) const override;
  // Seals the open segment. Tries at once, also after a failure.
  Status Sync() override;
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override { return ledger_.used(); }
  uint64_t capacity() const override { return options_.capacity; }
  uint64_t max_record_bytes() const override { return segment_bytes_; }

  // Seals an open segment that is old enough, tries again after a failure, drops what has expired and joins
  // small segments. Asks the file system whether the directory is still there; with nothing else to do, this
  // is all it does, and it looks at no record. Between two tries it returns ok.
  Status Maintain();
  // Whether the store can only be destroyed: the database is damaged, or the directory was removed or
  // replaced. Maintain, Sync and PutBatch say why, with kUnavailable; Get may still find what it can read. A
  // store that is opened then finds what is left. What was pending is told lost by the destructor; nothing is
  // told of the other records, which the next store may have or not.
  bool NeedsReopen() const;
  // What owners may have, in place of what was said before. Guarantees count up to MostHeld of the capacity
  // together. What somebody has beyond its limit is dropped by the next Maintain.
  void SetShares(const std::vector<OwnerShare>& shares);
  // The bytes of the durable records of an owner that were found by now; also of all that have a share.
  uint64_t BytesOf(uint64_t owner) const;
  std::unordered_map<uint64_t, uint64_t> OwnedBytes() const;
  // How many bytes of records can be held for owners: eviction needs others to drop.
  static uint64_t MostHeld(uint64_t capacity) { return capacity / 2; }
  DiskStoreStats stats() const;
  // Whether a Scan has passed all segments, so that the index is whole.
  bool scanned() const;
  const ByteLedger& ledger() const { return ledger_; }
  const std::string& note_before() const { return folder_->note_before(); }

  // Aborts when an invariant does not hold. O(records). No other thread may call the store.
  void CheckInvariants() const;

 private:
  // After so many errors of the medium while its directory was read, a segment counts as damaged.
  static constexpr uint32_t kMostFailedReads = 3;
  // So many deletions wait in RAM while they cannot be written; then the store needs to be opened again.
  static constexpr size_t kMostDeleted = 1 << 18;
  // A failure that lasts is logged so often.
  static constexpr int64_t kLogNanos = 60'000'000'000;

  // Holds `state_`, and counts the steps that are made meanwhile. Lets a caller that goes first, such as a
  // waiting Contains, have it before: otherwise a loop of slices would have the lock again before the other
  // thread is awake.
  class SCOPED_CAPABILITY StateLock {
   public:
    explicit StateLock(const DiskStore* store, bool goes_first = false) ACQUIRE(store->state_);
    ~StateLock() RELEASE();
    StateLock(const StateLock&) = delete;
    StateLock& operator=(const StateLock&) = delete;

   private:
    const DiskStore* const store_;
  };

  using Bytes = std::shared_ptr<const std::string>;
  // A record in RAM.
  struct Pending {
    BlockKey key;
    Bytes record = nullptr;
    uint8_t cost_class = 0;
    float heat = 0;
    uint64_t created = 0;   // unix seconds
    uint64_t owner = 0;     // see RecordOwners::OwnerOf
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
    bool keeps = false;        // something that is kept has to be written
    int64_t opened_nanos = 0;  // when the first record or deletion came, or what is kept
    bool empty() const { return records.empty() && deleted.empty() && !keeps; }
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
  using Segments = std::map<uint32_t, Segment>;
  // A scan that is under way.
  struct ScanState {
    std::set<uint32_t> ahead;         // segments that it has yet to visit, or is looking at
    uint32_t current = 0;             // the segment that it is looking at
    uint32_t passed = 0;              // how many of the records of that one it has seen
    std::vector<BlockKey> displaced;  // keys that left their place ahead of it for another
    bool IsAhead(const RecordLocation& place) const {
      return ahead.contains(place.segment) && !(place.segment == current && place.ordinal < passed);
    }
  };

  explicit DiskStore(const DiskStoreOptions& options);
  Status OpenFolder();
  // With the memory that a full segment needs, so that none is allocated while `state_` is held.
  static Batch NewBatch();

  // disk_store.cc: reading, writing
  // Also tries to work again after a failure, when there is nothing to write.
  Status Seal() REQUIRES(writer_);
  Status TrySeal(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted) REQUIRES(writer_);
  // The records of the batch that is being sealed which are alive.
  std::vector<Pending> SealingRecords(size_t count) REQUIRES(writer_);
  bool IsFullLocked(uint64_t size) const REQUIRES(state_);
  // Writes records, deletions, and up to `most_kept` of what is kept as the next segment, and takes the
  // records into the index that are still alive then. Makes no room.
  Status WriteSegment(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted,
                      uint64_t most_kept) REQUIRES(writer_);
  uint64_t BoundOf(const std::vector<Pending>& records, const std::vector<BlockKey>& deleted,
                   uint64_t most_kept) const;
  // Takes the records of a segment that was written into the index.
  void IndexSegment(uint32_t number, const std::vector<Pending>& records) REQUIRES(writer_);
  void AddLocked(StoreEntry entry) REQUIRES(state_);
  bool IsAliveLocked(const Pending& record) const REQUIRES(state_);
  // Records of the key that lie on the disk are dead, also those that are not known yet.
  void KillOlderLocked(const BlockKey& key) REQUIRES(state_);
  // Takes a key out of the open segment, the one being sealed, or the index. Returns whether there is, or
  // will be, a record of the key on the disk.
  bool ForgetLocked(const BlockKey& key) REQUIRES(state_);
  RecordLocation* FindLocked(const BlockKey& key) REQUIRES(state_);  // in the index
  const RecordLocation* FindLocked(const BlockKey& key) const REQUIRES(state_);
  void EraseLocked(const BlockKey& key) REQUIRES(state_);  // from the index
  // Sets the number of the owner.
  void IndexLocked(const BlockKey& key, RecordLocation location, uint64_t owner) REQUIRES(state_);
  void TellDropLocked(const BlockKey& key, DropReason reason) REQUIRES(state_);
  // The record of a key that is in RAM; null when it is not.
  Bytes PendingLocked(const BlockKey& key) const REQUIRES(state_);
  // The mean of the LogWorth of a byte.
  double MeanLogWorthLocked() const REQUIRES(state_);
  double TickLocked() const REQUIRES(state_);
  // A record could not be read from where it should lie.
  void LoseLocked(const BlockKey& key) REQUIRES(state_);

  // disk_store_keep.cc: what is kept
  uint64_t NowSeconds() const { return static_cast<uint64_t>(options_.clock->UnixSeconds()); }
  // How much of what is kept a segment has to say that is written now.
  uint64_t Unwritten() const EXCLUDES(state_);
  std::vector<KeptEntry> TakeUnwritten(uint64_t most) REQUIRES(writer_);
  void MarkUnwritten(const std::vector<BlockKey>& keys) REQUIRES(writer_);
  // The open segment has to say what is kept, if that cannot wait.
  void OpenForKeptLocked() REQUIRES(state_);
  void LearnKept(uint32_t number, const std::vector<KeptEntry>& kept) REQUIRES(learner_);
  // Forgets what segments say of records that are gone. Requires that all segments are known.
  void ForgetAbsent() EXCLUDES(state_);
  void EndExpired() EXCLUDES(state_);

  // disk_store_health.cc: failures, upkeep
  // An error when nothing is to be written now.
  Status MayPutLocked() const REQUIRES(state_);
  // An error when the store needs to be opened again; also finds out whether it does.
  Status CheckFolder() REQUIRES(writer_);
  Status DemandReopen(const Status& why);
  // After a failed change of the database.
  Status Repair() REQUIRES(writer_);
  // What came of a try to write `bytes` bytes.
  void NoteWrite(const Status& status, uint64_t bytes) REQUIRES(writer_);
  void NoteRead(const Status& failure);
  // Tells the records of the batch that could not be sealed.
  void LoseSealing(const std::vector<Pending>& records) REQUIRES(writer_);
  // Takes deletions that could not be written into the open segment.
  void RestoreDeleted(std::vector<BlockKey> deleted) REQUIRES(writer_);
  // Drops what has expired and joins small segments.
  Status Tidy() REQUIRES(writer_);

  // disk_store_evict.cc: room, survivors, expiry
  bool Fits(uint64_t bytes, uint64_t headroom) const;
  // Whether survivors of so many bytes fit. In Open they may take room that is not there any more later.
  bool FitsWhileDropping(uint64_t bytes) const;
  // Makes room for a segment of at most `bytes`.
  Status MakeRoom(uint64_t bytes) REQUIRES(writer_);
  // Makes all segments known: which record of a key is the newest, and what a segment is worth, must be known
  // before one is dropped.
  Status LearnAll() REQUIRES(writer_);
  // The segments to drop next, the least worth first; together at least `bytes`, if there are that many.
  // Looks at every record of the index.
  std::vector<uint32_t> Victims(uint64_t bytes) REQUIRES(writer_);
  // The bytes of owners of which not all may be dropped, by number.
  using ByOwner = std::map<uint16_t, uint64_t>;
  // A segment that could be dropped.
  struct Choice {
    bool foreign = false;
    double worth = 0;  // of its records
    uint64_t bytes = 0;
    ByOwner owned;
  };
  std::unordered_map<uint32_t, Choice> Choices(const std::vector<uint64_t>& spare) REQUIRES(writer_);
  // Small ones that fit one segment together, the smallest first.
  std::vector<uint32_t> SmallSegments() REQUIRES(writer_);
  bool IsSmall(const Segment& segment) const;
  // Their numbers cannot change meanwhile; what is known of them can.
  Segments CopySegments() REQUIRES(writer_);
  // Drops the segments. Keeps at most `keep_bytes` of their records, the best ones, in a new segment; with
  // `keep_all` all that have not expired, whatever they are worth.
  Status Rewrite(const std::vector<uint32_t>& numbers, uint64_t keep_bytes, bool keep_all) REQUIRES(writer_);
  // A record that could be copied forward.
  struct Candidate {
    RecordLocation location;
    BlockKey key;
    uint64_t created = 0;
    uint64_t owner = 0;  // see RecordOwners::OwnerOf
    bool kept = false;
    bool held = false;  // for its owner
    double worth() const { return LogWorth(location.heat, static_cast<uint8_t>(location.cost_class)); }
  };
  static constexpr uint64_t kUnknownTime = UINT64_MAX;
  // A record that a segment has, alive or not.
  struct Listed {
    BlockKey key;
    uint64_t created = 0;  // unix seconds, or kUnknownTime
  };
  struct Rewriting {
    std::set<uint32_t> dropped;
    std::map<uint32_t, std::vector<Listed>> records;  // of the segments that are dropped
    std::vector<Candidate> candidates;                // the live ones
    std::vector<BlockKey> deleted;                    // deletions that must be kept
    std::vector<BlockKey> retained;                   // records that the segments say are kept
    uint64_t bytes = 0;                               // of the segments
  };
  // Reads the directory of a segment, once for the whole of Rewrite.
  Status Examine(uint32_t number, const Segments& segments, Rewriting* rewriting) REQUIRES(writer_);
  void ExamineEntries(uint32_t number, const SegmentDirectory& directory, bool dead_below,
                      Rewriting* rewriting) REQUIRES(writer_);
  // The records of a segment whose directory was readable once and is no more.
  std::vector<Listed> IndexedIn(uint32_t number) REQUIRES(writer_);
  // The deletions that must be written now that all but the records `kept` are dropped.
  std::vector<BlockKey> DeletionsToKeep(const Rewriting& rewriting, const std::unordered_set<BlockKey>& kept)
      REQUIRES(writer_);
  // All that are held, then those that are kept, within `most_kept`, then the best within `keep_bytes`.
  std::vector<Pending> ReadSurvivors(std::vector<Candidate> candidates, uint64_t keep_bytes,
                                     uint64_t most_kept, bool keep_all) REQUIRES(writer_);
  // Takes the records of a segment out of the index, but for those that are kept.
  void DropRecords(uint32_t number, const std::vector<Listed>& records,
                   const std::unordered_set<BlockKey>& kept) REQUIRES(writer_);
  Status DropSegment(uint32_t number) REQUIRES(writer_);
  Status DropExpired() REQUIRES(writer_);
  bool Expired(uint64_t created) const;

  // disk_store_owners.cc
  std::vector<RecordOwners::Owner> CopyOwners() const EXCLUDES(state_);
  // How many bytes of each owner, by number, may be dropped now.
  std::vector<uint64_t> SpareBytes() REQUIRES(writer_);
  // How many of the bytes may not be dropped.
  static uint64_t HeldOf(const ByOwner& owned, const std::vector<uint64_t>& spare);
  // Marks those that are not dropped: of each owner, all but the least worth within what may be dropped.
  void MarkHeld(std::vector<Candidate>* candidates) REQUIRES(writer_);
  // Deletes what owners have beyond their limit, the least worth first.
  void DropSurplus() REQUIRES(writer_);
  void DropOwned(const Candidate& candidate) REQUIRES(state_);

  // disk_store_scan.cc
  // Reads the directory of a segment and takes its records into the index. The heads refer to `*bytes`.
  Result<SegmentDirectory> ReadDirectory(uint32_t number, std::string* bytes);
  void LearnSegment(uint32_t number, const SegmentDirectory& directory) REQUIRES(learner_);
  void LearnRecordLocked(uint32_t number, uint32_t ordinal, const DirectoryEntry& entry) REQUIRES(state_);
  void LearnDeletionLocked(uint32_t number, const BlockKey& key) REQUIRES(state_);
  // Its records are in the index now.
  void MakeKnown(uint32_t number, bool foreign) EXCLUDES(state_);
  // Makes the segment known if it is not. The heads refer to `*bytes`.
  Result<SegmentDirectory> Learn(uint32_t number, std::string* bytes);
  // The records in RAM when a scan begins.
  std::vector<std::pair<BlockKey, Bytes>> BeginScan(ScanState* scan);
  // Visits the live records of a segment that lies ahead of the scan. Returns whether the scan goes on.
  Result<bool> VisitSegment(uint32_t number, ScanState* scan, const Visitor& visitor);
  Result<bool> VisitDisplaced(ScanState* scan, const Visitor& visitor);

  const DiskStoreOptions options_;
  const uint64_t segment_bytes_;
  const uint64_t most_records_;  // of a segment
  const uint64_t max_segments_;
  const uint64_t reserve_;  // bytes that the database needs beside its segments
  ByteLedger ledger_;
  std::unique_ptr<DiskFolder> folder_;
  std::unique_ptr<SegmentDb> db_;

  Mutex writer_;
  uint32_t next_segment_ GUARDED_BY(writer_) = 1;
  bool broken_ GUARDED_BY(writer_) = false;        // a change of the database failed
  uint64_t failed_bytes_ GUARDED_BY(writer_) = 0;  // of the last segment that could not be written
  int64_t logged_nanos_ GUARDED_BY(writer_) = 0;   // when a failure was logged
  int64_t next_tidy_nanos_ GUARDED_BY(writer_) = INT64_MIN;
  int64_t expiry_seconds_ GUARDED_BY(writer_) = INT64_MIN;  // when it was looked for expired records

  Mutex learner_;

  mutable std::atomic<int> waiting_{0};  // callers that go first and wait for `state_`
  mutable Mutex state_;
  mutable uint64_t work_ GUARDED_BY(state_) = 0;  // steps since `state_` was taken
  mutable uint64_t most_work_ GUARDED_BY(state_) = 0;
  bool reopen_ GUARDED_BY(state_) = false;
  int64_t next_try_nanos_ GUARDED_BY(state_) = 0;  // while writing fails
  Batch open_ GUARDED_BY(state_);
  Batch sealing_ GUARDED_BY(state_);
  RecordIndex index_ GUARDED_BY(state_);
  KeptRecords kept_ GUARDED_BY(state_);
  RecordOwners owners_ GUARDED_BY(state_);
  // Whether anything was kept since Open. Until then KeptUntil, which is asked for each block, takes no lock.
  std::atomic<bool> ever_kept_{false};
  // Segments are added and removed by who holds `writer_`, too.
  Segments segments_ GUARDED_BY(state_);
  uint64_t unknown_segments_ GUARDED_BY(state_) = 0;
  uint64_t other_segments_ GUARDED_BY(state_) = 0;
  uint64_t small_segments_ GUARDED_BY(state_) = 0;
  // While there are unknown segments: the deletions of any segment, with its number by key. Then null.
  std::unique_ptr<RecordIndex> deleted_ GUARDED_BY(state_);
  std::vector<ScanState*> scans_ GUARDED_BY(state_);
  double first_tick_ GUARDED_BY(state_) = 0;  // of this process: the last one of the process before
  // Over the index: the sums of the bytes, and of the bytes times their LogWorth.
  uint64_t live_bytes_ GUARDED_BY(state_) = 0;
  double log_worth_ GUARDED_BY(state_) = 0;
  DiskStoreStats stats_ GUARDED_BY(state_);
};

}  // namespace prefixd
