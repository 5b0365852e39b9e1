// SlowTiers: a TransferPort with both lower tiers, for tests. The host tier is an array of blocks; the disk
// tier is a BlockStore behind an AsyncStore, with encoded records. An executor runs every transfer, so the
// executor decides when a transfer ends, and in which order. A store double decides which records are lost
// or damaged, and a function which copies of the host tier fail.
//
// Threads: the engine thread calls all members; the executor's threads move the bytes.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/executor.h"
#include "cache/prefix_cache.h"
#include "cache/transfer_port.h"
#include "storage/async_store.h"

namespace prefixd::testing_support {

class SlowTiers final : public TransferPort {
 public:
  struct Options {
    BlockKey fingerprint;
    size_t block_bytes = 0;
    uint32_t host_blocks = 0;
    std::function<std::span<std::byte>(BlockId)> device_block;  // the memory of a block
    std::function<bool(const Transfer&)> host_copy_fails;       // may be empty
    std::function<void()> wake;                                 // may be empty
  };
  // `store` and `executor` must outlive it.
  SlowTiers(Options options, BlockStore* store, Executor* executor);
  // Waits for the copies that run, so the executor must run them.
  ~SlowTiers() override;

  bool OnDisk(const BlockKey& key) const override;
  std::optional<DiskLoss> WhyLost(const BlockKey&) const override { return std::nullopt; }
  const TransferStats& stats() const override { return stats_; }
  void Drop(const BlockKey& key) override;
  void Start(const Transfer& transfer) override;
  void Poll(std::vector<FinishedTransfer>* finished) override;

  // Loads that the executor did not take, and which therefore failed.
  uint64_t refused_loads() const { return refused_loads_; }

 private:
  struct Copies;  // ended copies of the host tier, shared with the executor's jobs
  void Refuse(const Transfer& transfer);
  void StartHostCopy(const Transfer& transfer);
  void StartRead(const Transfer& transfer);
  void StartWrite(const Transfer& transfer);
  FinishedTransfer FinishRead(const Transfer& transfer, AsyncStore::Completion completion);
  void StartDelete(const BlockKey& key);
  std::span<std::byte> HostBlock(BlockId block);

  const Options options_;
  const BlockStore* const store_;
  Executor* const executor_;
  std::vector<std::byte> host_;
  std::shared_ptr<Copies> copies_;
  AsyncStore disk_;
  std::unordered_map<uint64_t, Transfer> reads_;   // by transfer id
  std::unordered_map<uint64_t, BlockKey> writes_;  // by transfer id
  // Keys whose record is dropped, by the tag of the Delete; 0: the executor did not take it, and Poll tries
  // again. To the cache there is no record until the Delete has ended and the store knows it.
  std::unordered_map<BlockKey, uint64_t> dropped_;
  uint64_t drops_ = 0;                     // Deletes so far
  std::vector<FinishedTransfer> refused_;  // that the executor did not take
  uint64_t refused_loads_ = 0;
  TransferStats stats_;
};

}  // namespace prefixd::testing_support
