// StackedTransfers: the TransferPort of an engine with a remote tier: one port for the device, the host and
// the disk, and another one whose disk is the remote store. It hands each transfer to one of them. Both are
// TierTransfers in a daemon, with workers of their own, so neither store waits for the other.
//
// Engine thread only.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "cache/transfer_port.h"

namespace prefixd {

// What a remote tier says to the cache, see the functions of TransferPort.
class RemoteDirectory {
 public:
  virtual ~RemoteDirectory() = default;
  virtual RemoteAnswer Find(const RemoteQuestion& question) = 0;
  virtual bool IsWanted(uint64_t asker) const = 0;
  virtual void End(uint64_t asker, size_t computed, RemoteEnd end) = 0;
};

class StackedTransfers final : public TransferPort {
 public:
  // `local` may have no disk.
  StackedTransfers(std::unique_ptr<TransferPort> local, std::unique_ptr<TransferPort> remote,
                   std::shared_ptr<RemoteDirectory> directory);

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
  RemoteAnswer FindOnRemote(const RemoteQuestion& question) override { return directory_->Find(question); }
  bool IsWantedOnRemote(uint64_t asker) const override { return directory_->IsWanted(asker); }
  void EndRemote(uint64_t asker, size_t computed, RemoteEnd end) override {
    directory_->End(asker, computed, end);
  }
  void Drop(const BlockKey& key) override;
  void Start(const Transfer& transfer) override;
  void Withdraw() override;
  void Poll(std::vector<FinishedTransfer>* finished) override;
  bool TakeDrops(std::vector<RecordDrop>* drops) override { return local_->TakeDrops(drops); }
  const TransferStats& stats() const override { return stats_; }

 private:
  const std::unique_ptr<TransferPort> local_, remote_;
  const std::shared_ptr<RemoteDirectory> directory_;
  TransferStats stats_;
};

}  // namespace prefixd
