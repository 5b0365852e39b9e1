// DiskTier: owns the disk tier of a running daemon: the DiskStore in the directory of --disk-cache-dir, its
// maintenance, and its recovery. To the engine it is a BlockStore that may be out of order for a while: then
// it has no records, and puts fail with kUnavailable.
//
//              Open           an error of the medium
//   starting ---------> open ------------------------> out of order
//      |  |              ^                                  |
//      |  +--(medium)----|--------------------------------->|
//      v                 +--------- a try every few seconds-+
//   refused (the options are wrong, or another process uses the directory)
//
// A read that has run for 2 seconds counts as a failure as well, until it ends, and so does a write that has
// run for as much longer as a slow disk needs for a segment: requests wait for such a disk, and its owner has
// to know.
//
// Threads: any thread may call the members. One thread at a time creates and destroys it. It has two threads:
// one maintains the store and scans it after each opening, so that it may hang with the medium. The other
// never touches the medium. It takes note of failures and logs them.
//
// Invariants
//   1. What was put is durable within 2 seconds, or told to the drop listener, unless the medium hangs.
//   2. The counters of the statistics never fall, and have everything that any store of this process counted.
//   3. No call waits for the maintenance longer than for one write of a segment, and Contains never waits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "daemon/running_calls.h"
#include "storage/disk_store.h"

namespace prefixd {

struct DiskTierStats {
  bool on = false;
  uint64_t bytes = 0;     // physical
  uint64_t capacity = 0;  // of them
  std::string failure;    // why it is out of order, cannot be written or hangs; empty: it works
  std::unordered_map<uint64_t, uint64_t> owned_bytes;  // of records, by owner, of those with a share
  DiskStoreStats store;  // sums over all openings of this process; the gauges of the present one
};

class DiskTier final : public BlockStore {
 public:
  // Opens the store, or logs why the medium fails and goes on trying. kInvalidArgument: the options are
  // wrong, or the directory is none that this process may use. kUnavailable: another process uses it.
  static Result<std::unique_ptr<DiskTier>> Create(DiskStoreOptions options);
  ~DiskTier() override;

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  bool Keep(const BlockKey& key, const RecordRetention& retention) override;
  bool MayKeep(uint64_t owner, uint64_t bytes) const override;
  std::optional<RecordRetention> KeptUntil(const BlockKey& key) const override;
  Status Delete(const BlockKey& key) override;
  Status Sync() override;
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override;
  uint64_t capacity() const override { return options_.capacity; }
  uint64_t max_record_bytes() const override;

  // What owners may have, in place of DiskStoreOptions::shares; also of a store that is opened later.
  void SetShares(std::vector<OwnerShare> shares);
  bool is_open() const { return store() != nullptr; }
  // The note of the process that had the directory before; nothing: not opened yet, or there was none.
  std::optional<std::string> note_before() const;
  DiskTierStats stats() const;

 private:
  explicit DiskTier(DiskStoreOptions options);
  std::shared_ptr<DiskStore> store() const;
  Status OpenStore();
  void CloseStore();
  bool FinishClosing();
  // The maintenance thread.
  void Run();
  void Maintain(DiskStore& open);
  void ScanWhole(DiskStore& open);
  // The thread that looks for failures.
  void Watch();
  bool TakeNote();
  // What the medium has not done in time; empty: nothing. Any thread.
  std::string SlowCall() const;
  // Both. Return whether the tier is being destroyed, the one after a while.
  bool WaitToStop();

  const DiskStoreOptions options_;
  mutable Mutex mutex_;
  std::vector<OwnerShare> shares_ GUARDED_BY(mutex_);
  std::shared_ptr<DiskStore> store_ GUARDED_BY(mutex_);        // null: out of order
  std::string failure_ GUARDED_BY(mutex_);                     // see DiskTierStats
  int64_t failed_nanos_ GUARDED_BY(mutex_) = 0;                // when the last error came
  std::optional<std::string> note_before_ GUARDED_BY(mutex_);  // of the first opening
  // A store that was closed while others still use it; no other is opened until they have let go of it.
  std::shared_ptr<DiskStore> closing_ GUARDED_BY(mutex_);
  DiskStoreStats closed_ GUARDED_BY(mutex_);  // counters of the stores before that
  CondVar stop_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  // Create, then the maintenance thread.
  bool must_scan_ = false;      // the store was opened
  int64_t tried_nanos_ = 0;     // when the store was opened last
  mutable RunningCalls calls_;  // to the store
  std::thread maintenance_, watch_;
};

}  // namespace prefixd
