// SlowTiers: TierTransfers with a host tier of its own, for tests. The test's executor runs every transfer,
// so it decides when a transfer ends, and in which order. A store double decides which records are lost or
// damaged, and a function which copies of the host tier fail.
//
// Threads: the engine thread calls all members; the executor's threads move the bytes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cache/tier_transfers.h"
#include "tests/support/faulty_copies.h"

namespace prefixd::testing_support {

class SlowTiers final : public TransferPort {
 public:
  // Fills in what `options` leaves empty: all values are finite, and every reading of the clock is a second
  // later than the one before. `copy_fails` may be empty.
  SlowTiers(TierTransfers::Options options, uint32_t host_blocks, BlockStore* store, Executor* executor,
            FaultyCopies::Fails copy_fails = {})
      : bytes_(options.block_bytes),
        host_(options.block_bytes * host_blocks),
        loads_(executor),
        copies_(&transfers_, std::move(copy_fails), options.device_block, HostBlock()),
        transfers_(Completed(std::move(options)), store, &loads_, executor) {}

  bool OnDisk(const BlockKey& key) const override { return copies_.OnDisk(key); }
  void Drop(const BlockKey& key) override { copies_.Drop(key); }
  void Start(const Transfer& transfer) override { copies_.Start(transfer); }
  void Poll(std::vector<FinishedTransfer>* finished) override { copies_.Poll(finished); }
  std::optional<DropReason> WhyLost(const BlockKey& key) const override { return copies_.WhyLost(key); }
  const TransferStats& stats() const override { return copies_.stats(); }

  // Loads that the executor did not take, and which therefore failed.
  uint64_t refused_loads() const { return loads_.refused; }

 private:
  struct CountingExecutor final : Executor {
    explicit CountingExecutor(Executor* executor) : to(executor) {}
    bool TrySubmit(Job job) override {
      const bool accepted = to->TrySubmit(std::move(job));
      if (!accepted) ++refused;
      return accepted;
    }
    Executor* const to;
    uint64_t refused = 0;
  };

  struct RunningClock final : Clock {
    int64_t NowNanos() const override { return UnixSeconds() * 1'000'000'000; }
    int64_t UnixSeconds() const override { return ++now; }
    mutable std::atomic<int64_t> now{0};
  };

  FaultyCopies::Block HostBlock() {
    return [this](BlockId block) { return std::span(host_).subspan(block * bytes_, bytes_); };
  }

  TierTransfers::Options Completed(TierTransfers::Options options) {
    options.host_block = HostBlock();
    if (!options.is_finite) options.is_finite = [](std::span<const std::byte>) { return true; };
    if (options.clock == nullptr) options.clock = &clock_;
    return options;
  }

  const size_t bytes_;  // of a block
  std::vector<std::byte> host_;
  const RunningClock clock_;
  CountingExecutor loads_;
  FaultyCopies copies_;
  TierTransfers transfers_;
};

}  // namespace prefixd::testing_support
