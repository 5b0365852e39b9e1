// Tiers: owns what lies below the device cache of a running daemon: the memory of the host tier, the disk
// tier, the remote tier, and the workers that move KV. It makes the engine's TransferPort.
//
// Threads: the main thread creates it. Any thread may call the other members. It must outlive the engine.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "cache/drop_queue.h"
#include "cache/tier_transfers.h"
#include "daemon/disk_tier.h"
#include "daemon/mirrored_store.h"
#include "daemon/remote_tier.h"
#include "daemon/tier_plan.h"
#include "engine/engine.h"
#include "engine/other_models.h"
#include "kernels/backend.h"

namespace prefixd {

class Tiers {
 public:
  // `shares` are what tenants may have of the disk cache until SetShares. `backend` and `clock` must outlive
  // the result. `progress` is that of Backend::AllocateHostKv. `chat_template` is the source of the chat
  // template, empty if there is none.
  // kInvalidArgument and kUnavailable: the directory of the disk cache cannot be used; kResourceExhausted: no
  // memory for the host tier.
  static Result<std::unique_ptr<Tiers>> Create(const TierPlan& plan, const KvLayout& layout,
                                               const BlockKey& fingerprint, std::string_view chat_template,
                                               std::vector<OwnerShare> shares, Backend* backend,
                                               const Clock* clock, const MemoryProgress& progress);

  // For Engine::Create; empty when there is no lower tier.
  LowerTiers lower_tiers();
  // What the directory of the disk cache has of other models.
  const OtherModels* other_models() const { return &other_models_; }
  // Whether the daemon that had this directory before had another chat template.
  bool HasOtherTemplate() const;
  DiskTierStats disk() const { return disk_ == nullptr ? DiskTierStats() : disk_->stats(); }
  RemoteTierStats remote() const { return remote_ == nullptr ? RemoteTierStats() : remote_->stats(); }
  RemoteTier* remote_tier() { return remote_.get(); }  // null: there is none
  // Seconds to load a block from the remote tier, measured now; 0: not known. Waits for it.
  double ProbeRemote() const { return remote_ == nullptr ? 0 : remote_->ProbeRead(layout_.BlockBytes()); }
  // Deletes the records that match, also of the remote tier, and makes that durable. Returns how many there
  // were. Reads the heads of all records, and waits for the disk. Ends early, with kUnavailable, when `stop`
  // is true. The bytes stay in their segments until these are rewritten. `matches` runs on the calling
  // thread.
  Result<uint64_t> DeleteRecords(const std::function<bool(const RecordHead&)>& matches,
                                 const std::atomic<bool>& stop);
  void SetShares(std::vector<OwnerShare> shares) {
    if (disk_ != nullptr) disk_->SetShares(std::move(shares));
  }
  // Makes durable what was spilled. May wait for the disk.
  Status SyncDisk() { return disk_ == nullptr ? Status::Ok() : disk_->Sync(); }

 private:
  Tiers() = default;
  void MakeRemote(const RemotePlan& plan);
  // The port to the host tier, the disk and the device, or from the device to the remote tier alone.
  TierTransfers::Options TransferOptions(KvPool& pool, std::function<void()> wake);
  Status DeleteFrom(BlockStore* store, const std::function<bool(const RecordHead&)>& matches,
                    const std::atomic<bool>& stop, uint64_t* deleted);

  KvLayout layout_;
  CodecChoice codec_;
  int64_t max_age_seconds_ = 0;  // of records
  BlockKey fingerprint_;
  const Clock* clock_ = nullptr;
  std::unique_ptr<KvPool> host_;
  std::unique_ptr<KvCopier> copier_;
  std::shared_ptr<DropQueue> drops_;  // null: there is no disk tier
  OtherModels other_models_;
  std::string note_;  // for the next daemon that opens the directory: which chat template this one has
  std::unique_ptr<DiskTier> disk_;
  CodecChoice remote_codec_;
  std::unique_ptr<RemoteTier> remote_;
  std::unique_ptr<MirroredStore> mirrored_;  // the disk, where there is a remote tier as well
  // Destroyed first: their jobs use the other members.
  std::unique_ptr<ThreadExecutor> loads_, spills_, copies_, remote_loads_, remote_spills_;
};

}  // namespace prefixd
