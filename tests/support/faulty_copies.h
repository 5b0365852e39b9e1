// FaultyCopies: a TransferPort for tests that hands everything on to another one and lets copies between the
// device and the host fail. The test chooses which. The target of a failed copy has other bytes afterwards.
// It also counts the loads that the other port has refused; for that, each reading of that port's clock must
// be later than the one before (ticking_clock.h).
//
// Threads: the engine thread calls all members.
#pragma once

#include <algorithm>
#include <functional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cache/tier_transfers.h"

namespace prefixd::testing_support {

class FaultyCopies final : public TransferPort {
 public:
  // Whether a copy that has ended well shall have failed.
  using Fails = std::function<bool(const Transfer&)>;

  // `port`, which has these options, must outlive the result. `fails` may be empty.
  FaultyCopies(TransferPort* port, Fails fails, const TierTransfers::Options& options)
      : port_(port),
        fails_(std::move(fails)),
        block_bytes_(options.block_bytes),
        write_device_(options.write_device),
        host_block_(options.host_block) {}

  bool OnDisk(const BlockKey& key) const override { return port_->OnDisk(key); }
  bool HasRecord(const BlockKey& key) const override { return port_->HasRecord(key); }
  bool KeepOnDisk(const BlockKey& key, const DiskRetention& retention) override {
    return port_->KeepOnDisk(key, retention);
  }
  bool MayKeepOnDisk(uint64_t owner) const override { return port_->MayKeepOnDisk(owner); }
  std::optional<DiskRetention> KeptOnDisk(const BlockKey& key) const override {
    return port_->KeptOnDisk(key);
  }
  void Drop(const BlockKey& key) override { port_->Drop(key); }
  void Start(const Transfer& transfer) override {
    Transfer& copy = running_[transfer.id] = transfer;
    copy.tokens = {};
    port_->Start(transfer);
  }
  void Withdraw() override { port_->Withdraw(); }
  void Poll(std::vector<FinishedTransfer>* finished) override {
    std::vector<FinishedTransfer> ended;
    port_->Poll(&ended);
    for (FinishedTransfer& each : ended) {
      End(running_.extract(each.id).mapped(), &each);
      finished->push_back(std::move(each));
    }
  }
  bool TakeDrops(std::vector<RecordDrop>* drops) override { return port_->TakeDrops(drops); }
  const TransferStats& stats() const override { return port_->stats(); }

  // Loads that failed without being tried.
  uint64_t refused_loads() const { return refused_loads_; }

 private:
  void End(const Transfer& transfer, FinishedTransfer* finished) {
    if (transfer.to == Tier::kDevice && finished->result == TransferResult::kFailed && finished->seconds == 0)
      ++refused_loads_;
    const bool is_copy = transfer.from != Tier::kDisk && transfer.to != Tier::kDisk;
    if (!is_copy || finished->result != TransferResult::kOk || !fails_ || !fails_(transfer)) return;
    const std::vector<std::byte> spoilt(block_bytes_, std::byte{0xEE});
    if (transfer.to == Tier::kDevice) {
      const Status written = write_device_(spoilt, transfer.to_block);
      PREFIXD_CHECK(written.ok()) << written.ToString();
    } else {
      std::ranges::copy(spoilt, host_block_(transfer.to_block).begin());
    }
    finished->result = TransferResult::kFailed;
    finished->bytes = 0;
  }

  TransferPort* const port_;
  const Fails fails_;
  const size_t block_bytes_;
  const std::function<Status(std::span<const std::byte>, BlockId)> write_device_;
  const std::function<std::span<std::byte>(BlockId)> host_block_;
  uint64_t refused_loads_ = 0;
  std::unordered_map<uint64_t, Transfer> running_;  // by id, without tokens
};

}  // namespace prefixd::testing_support
