// StackedTransfers: the TransferPort of an engine with a remote tier: one port for the device, the host and
// the disk, and another one whose disk is the remote store. It hands each transfer to one of them. Both are
// TierTransfers in a daemon, with workers of their own, so neither store waits for the other.
//
// Engine thread only.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cache/transfer_port.h"

namespace prefixd {

class StackedTransfers final : public TransferPort {
 public:
  // See TransferPort::FindOnRemote.
  using Find = std::function<bool(std::span<const BlockKey>)>;

  // `local` may have no disk. `find` may be empty.
  StackedTransfers(std::unique_ptr<TransferPort> local, std::unique_ptr<TransferPort> remote, Find find);

  bool OnDisk(const BlockKey& key) const override { return local_->OnDisk(key); }
  bool HasRecord(const BlockKey& key) const override { return local_->HasRecord(key); }
  bool KeepOnDisk(const BlockKey& key, const DiskRetention& retention) override {
    return local_->KeepOnDisk(key, retention);
  }
  bool MayKeepOnDisk(uint64_t owner) const override { return local_->MayKeepOnDisk(owner); }
  std::optional<DiskRetention> KeptOnDisk(const BlockKey& key) const override {
    return local_->KeptOnDisk(key);
  }
  bool OnRemote(const BlockKey& key) const override { return remote_->OnDisk(key); }
  bool FindOnRemote(std::span<const BlockKey> keys) override { return find_ && find_(keys); }
  void Drop(const BlockKey& key) override;
  void Start(const Transfer& transfer) override;
  void Withdraw() override;
  void Poll(std::vector<FinishedTransfer>* finished) override;
  bool TakeDrops(std::vector<RecordDrop>* drops) override { return local_->TakeDrops(drops); }
  const TransferStats& stats() const override { return stats_; }

 private:
  const std::unique_ptr<TransferPort> local_, remote_;
  const Find find_;
  TransferStats stats_;
};

}  // namespace prefixd
