// TierTransfers: the TransferPort of the engine. It moves KV between the device pool, a pool of blocks in
// host memory and a BlockStore, the disk tier. The engine thread only hands out jobs and takes their results:
// workers copy, encode, compress, check, read and write.
//
//   host -> device           a copy of the block                        on `copies`
//   device -> host           a copy of the block                        on `copies`
//   disk -> device           get, compare, decode into the block        on `loads`
//   device or host -> disk   check, encode, put                         on `spills`
//
// They have executors of their own: a load never waits behind a spill, which may take as long as a full
// segment takes to be written, and a copy waits for neither, however slow the disk is. The store makes a
// record durable after the spill has ended, see DiskStore.
//
// Threads: the engine thread calls all members, and the executors run the jobs. The store, the executors and
// the memory of the blocks must outlive the TierTransfers, whose destructor waits for its jobs.
//
// Invariants
//   1. Every transfer that Start was given is reported by Poll exactly once.
//   2. What a load from the disk brings was whole, and its fingerprint, root, key, parent and prefix check
//      were those of the block. The cache compares the tokens.
//      Nor was the record older than allowed, whether or not the store has dropped such records yet.
//   3. What a spill to the disk writes has neither NaN nor infinity.
//   4. After a write that the disk failed, spills to it fail at once for a second: a disk that is out of
//      order costs no work.
//   5. After a read that the disk failed, it is not read for a time (base/read_pause.h): loads from it fail
//      at once, those that wait in the executor as well, and OnDisk returns false for all keys. A block that
//      the disk has already is not written meanwhile.
//   6. After Drop, or a load that ended as kMissing or kCorrupt, OnDisk returns false for the key until a
//      spill of it has ended. The record is deleted.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/executor.h"
#include "cache/transfer_port.h"
#include "storage/block_store.h"
#include "storage/payload_codec.h"

namespace prefixd {

class ReadPause;

class TierTransfers final : public TransferPort {
 public:
  struct Options {
    BlockKey fingerprint;    // of the model
    size_t block_bytes = 0;  // of a block of KV
    CodecChoice codec;       // of records
    // Copy the bytes of a block of the device to the host, and back, and return when that has ended. They
    // fail with the device, and the error counts at the tier kDevice. The memory of the host is that of
    // `host_block` or of `stage`. Called by workers.
    std::function<Status(BlockId from, std::span<std::byte> to)> read_device;
    std::function<Status(std::span<const std::byte> from, BlockId to)> write_device;
    // Lends memory of the host for a block on its way between device and disk, until the result is destroyed.
    // It may wait for what it has lent; a worker has one at a time, and none while it reads or writes the
    // disk.
    std::function<std::shared_ptr<std::byte>()> stage;
    // The memory of a block of the host tier: `block_bytes` bytes. Called by workers; may be empty without
    // such a tier.
    std::function<std::span<std::byte>(BlockId)> host_block;
    // Whether all values of a block's KV are finite. Called by workers.
    std::function<bool(std::span<const std::byte>)> is_finite;
    std::function<void()> wake;  // may be empty; see Engine::Create
    // Lets other threads have the processor; may be empty. A worker calls it after a spill to the disk that
    // was not late, maybe after the destruction of the TierTransfers. A step waits for the slowest of its
    // threads, so it is slowed by one spill then, not by all that wait.
    std::function<void()> give_way;
    const Clock* clock = nullptr;
    int64_t max_age_seconds = 0;       // records of this age are not used; 0: there is no limit
    std::shared_ptr<DropQueue> drops;  // what the store drops; null: it drops nothing by itself
  };
  // Some or all may be the same.
  struct Executors {
    Executor* loads = nullptr;
    Executor* spills = nullptr;
    Executor* copies = nullptr;
  };
  // `store` may be null when there is no disk tier.
  TierTransfers(Options options, BlockStore* store, const Executors& executors);
  // Waits for the jobs under way, so the executors must run them.
  ~TierTransfers() override;

  bool OnDisk(const BlockKey& key) const override;
  bool HasRecord(const BlockKey& key) const override;
  bool KeepOnDisk(const BlockKey& key, const DiskRetention& retention) override;
  bool MayKeepOnDisk(uint64_t owner) const override;
  std::optional<DiskRetention> KeptOnDisk(const BlockKey& key) const override;
  void Drop(const BlockKey& key) override;
  void Start(const Transfer& transfer) override;
  void Withdraw() override;
  void Poll(std::vector<FinishedTransfer>* finished) override;
  bool TakeDrops(std::vector<RecordDrop>* drops) override;
  const TransferStats& stats() const override { return stats_; }

 private:
  struct Outcome;       // of a job
  struct Withdrawable;  // a job that Withdraw may claim
  struct Shared;        // the outcomes that Poll has not taken yet
  using Work = std::function<void(const Options& options, BlockStore* store, Outcome* outcome)>;
  using Claim = std::shared_ptr<std::atomic<bool>>;  // of a job: by the worker, or by Withdraw
  // Runs `work` on the executor, unless the job has been claimed by then. Returns false when the executor
  // does not take it.
  bool Submit(Executor* executor, Outcome outcome, const Claim& claim, Work work);
  void Refuse(Outcome outcome);
  void Finish(Outcome outcome, std::vector<FinishedTransfer>* finished);
  void StartDelete(const BlockKey& key);
  static void CopyOnHost(const Options& options, BlockStore* store, Outcome* outcome);
  static void Write(const Options& options, std::span<const TokenId> tokens, BlockStore* store,
                    Outcome* outcome);
  static void Read(const Options& options, BlockStore* store, ReadPause* pause, Outcome* outcome);

  const std::shared_ptr<const Options> options_;  // the jobs hold it as well
  BlockStore* const store_;
  const Executors executors_;
  const std::shared_ptr<Shared> shared_;
  // Keys whose record is dropped, by the number of the Delete; 0: the executor did not take it, and Poll
  // tries again; kReplaced: a spill that is under way replaces it.
  std::unordered_map<BlockKey, uint64_t> dropped_;
  std::unordered_map<uint64_t, Withdrawable> disk_transfers_;  // that Poll has not reported, by id
  uint64_t drops_ = 0;
  int64_t spills_begin_nanos_ = 0;  // no spill to the disk before
  TransferStats stats_;
};

}  // namespace prefixd
