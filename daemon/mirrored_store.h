// MirroredStore: the disk tier of a daemon that has a remote tier as well. It is the store on the disk; what
// is written there, or read from there, and was used again, is offered to the remote tier. So what other
// daemons may want goes there when it goes to the disk, and what the remote tier could not take then, or has
// lost, when it is used the next time.
//
// Threads: any. Invariant: no call waits for the remote tier.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "daemon/remote_tier.h"
#include "storage/block_store.h"
#include "storage/record.h"

namespace prefixd {

class MirroredStore final : public BlockStore {
 public:
  // Both must outlive it.
  MirroredStore(BlockStore* disk, RemoteTier* remote) : disk_(disk), remote_(remote) {}

  Result<std::string> Get(const BlockKey& key) override {
    Result<std::string> record = disk_->Get(key);
    // A record that is damaged here would be a miss everywhere.
    if (record.ok() && remote_->Wants(key) &&
        DecodeRecord(std::as_bytes(std::span(*record))).defect == RecordDefect::kNone)
      Offer({.key = key, .record = *record, .used_again = true});
    return record;
  }
  Status PutBatch(std::vector<StoreEntry> batch) override {
    for (const StoreEntry& entry : batch) {
      if (entry.used_again && remote_->Wants(entry.key)) Offer(entry);
    }
    return disk_->PutBatch(std::move(batch));
  }
  bool Contains(const BlockKey& key) const override { return disk_->Contains(key); }
  bool Keep(const BlockKey& key, const RecordRetention& retention) override {
    return disk_->Keep(key, retention);
  }
  bool MayKeep(uint64_t owner, uint64_t bytes) const override { return disk_->MayKeep(owner, bytes); }
  std::optional<RecordRetention> KeptUntil(const BlockKey& key) const override {
    return disk_->KeptUntil(key);
  }
  Status Delete(const BlockKey& key) override { return disk_->Delete(key); }
  Status Sync() override { return disk_->Sync(); }
  Status Scan(const Visitor& visitor) override { return disk_->Scan(visitor); }
  uint64_t bytes() const override { return disk_->bytes(); }
  uint64_t capacity() const override { return disk_->capacity(); }
  uint64_t max_record_bytes() const override { return disk_->max_record_bytes(); }

 private:
  void Offer(StoreEntry entry) {
    std::vector<StoreEntry> batch;
    batch.push_back(std::move(entry));
    (void)remote_->PutBatch(std::move(batch));  // what it drops, it counts
  }

  BlockStore* const disk_;
  RemoteTier* const remote_;
};

}  // namespace prefixd
