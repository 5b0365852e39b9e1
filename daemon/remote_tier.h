// RemoteTier: owns the remote tier of a running daemon: the RedisStore of --remote-cache, what is asked of it
// and written to it in the background, and a circuit breaker. To the engine it is a BlockStore.
//
//   Find          asks in the background which records the store has; Contains says what is known.
//   PutBatch      puts records into a bounded queue. They are written in the background: those that the store
//                 does not have already, at most a stated number of bytes per second; a tenth of that while
//                 what daemons write is seldom read (daemon/write_economy.h). What another daemon waits for
//                 (StoreEntry::used_again is false) is not slowed.
//
// What takes long to compute, one of the daemons that ask for it computes (daemon/remote_leases.h).
//
// After a call that failed, the store is left alone for a second, and for twice as long after each further
// failure, up to 30 seconds (base/read_pause.h); then it is asked how it is, and left alone until it has
// answered. Meanwhile Contains says no, nothing is asked or read, and what is to be written is dropped. A
// store that is full gets no records for 10 seconds. Of a cluster, RedisStore leaves the server alone that
// failed, and the others are used.
//
// Threads: any thread may call the members. It has two threads: one asks, one writes.
//
// Invariants
//   1. Contains, Find and PutBatch never wait for the store.
//   2. The queue has at most `queue_bytes` bytes of records, and each key once. What has no room is dropped
//      and counted.
//   3. In the queue, what another daemon waits for comes before everything else, in its order, and it is
//      dropped only when nothing else is left to drop. It waits for one record at most: the one that is on
//      its way to the store.
//   4. `wake` is not called after SetWake has replaced it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "base/read_pause.h"
#include "cache/stacked_transfers.h"
#include "daemon/remote_leases.h"
#include "daemon/write_economy.h"
#include "storage/redis_store.h"

namespace prefixd {

// What became of records that were to be written. prefixd_remote_writes_total has a label for each, in the
// same order.
enum class RemoteWrite : uint8_t {
  kWritten,
  kPresent,  // the store had it
  kQueue,    // there was no room in the queue, because writes are limited or the store is slow
  kFull,     // the store is full
  kFailed,   // the store failed, or is left alone after a failure
};
inline constexpr int kRemoteWrites = 5;

struct RemoteTierStats {
  bool on = false;
  std::string failure;    // why it is left alone, or was just now; empty: it works
  uint64_t bytes = 0;     // of the server, whatever it holds
  uint64_t capacity = 0;  // 0: it has no limit, or has not said
  uint64_t written_bytes = 0;
  uint64_t write_rate = 0;      // what may be written now, bytes per second
  double read_per_written = 0;  // see WriteEconomy; 0 also when it is not known
  std::array<uint64_t, kRemoteWrites> writes{};
  std::array<uint64_t, kRemoteLeases> leases{};
  uint64_t finds = 0;     // questions which records there are
  uint64_t failures = 0;  // calls that failed
};

class RemoteTier final : public BlockStore, public RemoteDirectory {
 public:
  static constexpr size_t kMostQuestions = 64;  // that wait
  // Of these, of leases, and of waits.
  static constexpr uint64_t kQuestionBytes =
      (kMostQuestions + 2 * RemoteLeases::kMost) * RemoteLeases::kQuestionBytes;
  struct Options {
    RedisStoreOptions store;
    uint64_t write_rate = 64 << 20;   // bytes per second
    uint64_t queue_bytes = 64 << 20;  // a record that is larger is written as well, alone
    RemoteLeases::Options leases;     // all_wanted: all that is computed is wanted
  };
  explicit RemoteTier(Options options);
  ~RemoteTier() override;

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override;
  Status PutBatch(std::vector<StoreEntry> batch) override;
  // Asks nothing of a store that has no such record, as far as is known. What waits to be written is not
  // written any more, and what is being written is deleted by the thread that writes it.
  Status Delete(const BlockKey& key) override;
  Status Sync() override { return Status::Ok(); }
  // Begins with the records that wait to be written, also while the store is left alone.
  Status Scan(const Visitor& visitor) override { return ScanUntil(visitor, nullptr); }
  // See RedisStore::ScanUntil.
  Status ScanUntil(const Visitor& visitor, const std::atomic<bool>* stop);
  uint64_t bytes() const override { return store_.bytes(); }
  uint64_t capacity() const override { return store_.capacity(); }
  uint64_t max_record_bytes() const override { return store_.max_record_bytes(); }

  // Whether a record would be written: it is not known to be there, nor on its way.
  bool Wants(const BlockKey& key) const;
  // See TransferPort.
  RemoteAnswer Find(const RemoteQuestion& question) override;
  bool IsWanted(uint64_t asker) const override {
    return (options_.leases.all_wanted || leases_.IsWanted(asker)) && !IsPaused();
  }
  void End(uint64_t asker, size_t computed, RemoteEnd end) override;
  // Called whenever the engine may learn something new from Find or IsWanted; may be empty.
  void SetWake(std::function<void()> wake);
  // Seconds to read a record of `bytes` bytes, measured now; 0: it cannot be. Waits for the store.
  double ProbeRead(uint64_t bytes);
  // Those of RedisStore, for the warm start and its list. They wait for the store, unless it is left alone.
  Result<std::vector<std::string>> GetHeads(std::span<const BlockKey> keys, size_t bytes);
  Result<std::string> GetHotList(size_t most_bytes);
  Status PutHotList(std::string_view value);

  RemoteTierStats stats() const;

 private:
  // Whether the store is left alone, or has not answered since.
  bool IsPaused() const { return fails_ || pause_.IsOn(clock_); }
  // Takes note of the end of a call that began at that time.
  void Note(const Status& status, int64_t began);
  void Count(RemoteWrite result);
  // The thread that asks.
  void Ask();
  void Answer(RemoteLeases::Question question);
  void WorkOnLeases();
  void Wake();
  void WriteFirst(const BlockKey& key) REQUIRES(mutex_);
  // Whether there is room for the record, made by dropping those that nobody waits for if somebody waits for
  // it.
  bool MakeRoom(const StoreEntry& entry) REQUIRES(mutex_);
  // The thread that writes.
  void Write();
  void WriteOne(const StoreEntry& entry);
  bool IsDropped() const;  // the record that is being written
  // Whether the rate allows to write a record now.
  bool MayWrite(const StoreEntry& entry) REQUIRES(mutex_);
  // Of bytes per second. What another daemon waits for, or --remote-write-through has written, is not slowed.
  uint64_t WriteRate(bool used_again) const REQUIRES(mutex_);
  void AskUsage();

  const Options options_;
  const Clock& clock_;
  RedisStore store_;
  RemoteLeases leases_;
  ReadPause pause_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::function<void()> wake_ GUARDED_BY(mutex_);
  std::deque<RemoteLeases::Question> questions_ GUARDED_BY(mutex_);
  // The keys of that asked now: that the store lacks one is not yet all that there is to say.
  std::vector<BlockKey> answering_ GUARDED_BY(mutex_);
  std::unordered_set<BlockKey> asked_ GUARDED_BY(mutex_);  // what questions ask for first, and that asked now
  std::deque<StoreEntry> queue_ GUARDED_BY(mutex_);
  std::optional<BlockKey> writing_ GUARDED_BY(mutex_);  // the record that left the queue, until it is written
  std::string writing_head_ GUARDED_BY(mutex_);
  bool writing_dropped_ GUARDED_BY(mutex_) = false;         // it was deleted meanwhile
  std::unordered_set<BlockKey> queued_ GUARDED_BY(mutex_);  // keys of the queue, and of what is written now
  uint64_t queued_bytes_ GUARDED_BY(mutex_) = 0;
  int64_t full_until_ GUARDED_BY(mutex_) = 0;  // no writes before: the store was full
  std::string failure_ GUARDED_BY(mutex_);
  std::atomic<bool> fails_{false};            // failure_ says something
  RemoteTierStats stats_ GUARDED_BY(mutex_);  // the counters
  WriteEconomy economy_ GUARDED_BY(mutex_);
  double allowance_ GUARDED_BY(mutex_) = 0;  // bytes that may be written now
  int64_t allowed_nanos_ GUARDED_BY(mutex_) = 0;
  std::thread asks_, writes_;
};

}  // namespace prefixd
