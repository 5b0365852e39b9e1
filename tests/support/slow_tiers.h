// SlowTiers: TierTransfers with a host tier of its own, for tests. The test's executor runs every transfer,
// so it decides when a transfer ends, and in which order. A store double decides which records are lost or
// damaged, and a function which copies of the host tier fail.
//
// Threads: the engine thread calls all members; the executor's threads move the bytes.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cache/tier_transfers.h"
#include "tests/support/faulty_copies.h"
#include "tests/support/ticking_clock.h"

namespace prefixd::testing_support {

class SlowTiers final : public TransferPort {
 public:
  // Fills in what `options` leaves empty: all values are finite, and every reading of the clock is a second
  // later than the one before. `copy_fails` may be empty.
  SlowTiers(const TierTransfers::Options& options, uint32_t host_blocks, BlockStore* store,
            Executor* executor, FaultyCopies::Fails copy_fails = {})
      : bytes_(options.block_bytes),
        host_(options.block_bytes * host_blocks),
        copies_(&transfers_, std::move(copy_fails), Completed(options)),
        transfers_(Completed(options), store, {executor, executor, executor}) {}

  bool OnDisk(const BlockKey& key) const override { return copies_.OnDisk(key); }
  bool HasRecord(const BlockKey& key) const override { return copies_.HasRecord(key); }
  bool KeepOnDisk(const BlockKey& key, const DiskRetention& retention) override {
    return copies_.KeepOnDisk(key, retention);
  }
  bool MayKeepOnDisk(uint64_t owner) const override { return copies_.MayKeepOnDisk(owner); }
  std::optional<DiskRetention> KeptOnDisk(const BlockKey& key) const override {
    return copies_.KeptOnDisk(key);
  }
  void Drop(const BlockKey& key) override { copies_.Drop(key); }
  void Start(const Transfer& transfer) override { copies_.Start(transfer); }
  void Withdraw() override { copies_.Withdraw(); }
  void Poll(std::vector<FinishedTransfer>* finished) override { copies_.Poll(finished); }
  bool TakeDrops(std::vector<RecordDrop>* drops) override { return copies_.TakeDrops(drops); }
  const TransferStats& stats() const override { return copies_.stats(); }

  // Loads that failed without being tried.
  uint64_t refused_loads() const { return copies_.refused_loads(); }

 private:
  TierTransfers::Options Completed(TierTransfers::Options options) {
    options.host_block = [this](BlockId block) { return std::span(host_).subspan(block * bytes_, bytes_); };
    if (!options.is_finite) options.is_finite = [](std::span<const std::byte>) { return true; };
    if (options.clock == nullptr) options.clock = &clock_;
    return options;
  }

  const size_t bytes_;  // of a block
  std::vector<std::byte> host_;
  const TickingClock clock_{1'000'000'000};
  FaultyCopies copies_;
  TierTransfers transfers_;
};

}  // namespace prefixd::testing_support
