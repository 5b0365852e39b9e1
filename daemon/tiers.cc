#include "daemon/tiers.h"

#include <random>
#include <thread>
#include <utility>

#include "base/background_thread.h"
#include "base/bytes.h"
#include "base/log.h"
#include "cache/stacked_transfers.h"
#include "daemon/disk_observer.h"
#include "daemon/limit_table.h"
#include "engine/pool_copies.h"
#include "hashing/checksum.h"
#include "kernels/finite.h"

namespace prefixd {
namespace {

// More jobs than the cache ever starts at once, and room for deletions.
constexpr size_t kQueuedJobs = 1024;

constexpr std::string_view kTemplate = "template ";  // the beginning of a note

// All records of a segment are of one model, and have as many tokens.
void AddOtherModel(const SegmentDirectory& directory, OtherModels* others) {
  if (directory.entries.empty()) return;
  const DecodedHead first = DecodeRecordHead(std::as_bytes(std::span(directory.entries.front().head)));
  if (first.defect != RecordDefect::kNone || first.head.token_count > OtherModels::kMostBlockTokens) return;
  std::vector<BlockKey> keys;
  for (const DirectoryEntry& entry : directory.entries) keys.push_back(entry.key);
  others->Add(directory.group, static_cast<int>(first.head.token_count), keys);
}

// The number of a daemon, unlike those of others.
uint64_t NewHolder() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

Result<std::unique_ptr<Tiers>> Tiers::Create(const TierPlan& plan, const KvLayout& layout,
                                             const BlockKey& fingerprint, std::string_view chat_template,
                                             std::vector<OwnerShare> shares, Backend* backend,
                                             const Clock* clock, const MemoryProgress& progress) {
  std::unique_ptr<Tiers> tiers(new Tiers());
  tiers->layout_ = layout;
  tiers->codec_ = plan.disk.codec;
  tiers->max_age_seconds_ = plan.disk.max_age_seconds;
  tiers->fingerprint_ = fingerprint;
  tiers->clock_ = clock;
  if (plan.host_blocks > 0) {
    PREFIXD_ASSIGN_OR_RETURN(tiers->host_, backend->AllocateHostKv(layout, plan.host_blocks, progress));
    Log(LogLevel::kInfo, "host cache",
        {{"size", FormatSize(plan.host_blocks * uint64_t{layout.BlockBytes()})},
         {"blocks", plan.host_blocks}});
  }
  if (plan.disk.on) {
    tiers->drops_ = std::make_shared<DropQueue>();
    tiers->note_ =
        std::string(kTemplate) + ToHex({.low = Checksum(std::as_bytes(std::span(chat_template)))}).substr(16);
    DiskStoreOptions store{
        .path = plan.disk.dir,
        .capacity = plan.disk.capacity,
        .group = fingerprint,
        .note = tiers->note_,
        .max_age_seconds = plan.disk.max_age_seconds,
        .retained_percent = plan.disk.retained_percent,
        .shares = std::move(shares),
        .clock = clock,
        .on_drop = [drops = tiers->drops_](const BlockKey& key,
                                           DropReason reason) { drops->Add(key, reason); },
        .on_foreign = [others = &tiers->other_models_](
                          const SegmentDirectory& directory) { AddOtherModel(directory, others); },
        .observer = DiskObserver(plan.disk.dir)};
    Result<std::unique_ptr<DiskTier>> disk = DiskTier::Create(std::move(store));
    if (!disk.ok()) return disk.status().WithContext("disk-cache-dir");
    tiers->disk_ = *std::move(disk);
    const bool disk_opens = tiers->disk_->stats().failure.empty();
    Log(LogLevel::kInfo, "disk cache",
        {{"directory", plan.disk.dir},
         {"capacity", FormatSize(plan.disk.capacity)},
         {"capacity_source", plan.disk.capacity_source},
         // Nothing can be told of one that does not open yet; an error line says why.
         {"bytes", disk_opens ? FormatSize(tiers->disk_->bytes()) : "unknown"}});
  }
  if (plan.remote.on) tiers->MakeRemote(plan.remote);
  if (tiers->host_ == nullptr && tiers->disk_ == nullptr && tiers->remote_ == nullptr) return tiers;
  PREFIXD_ASSIGN_OR_RETURN(tiers->copier_, backend->CreateKvCopier(layout));
  tiers->loads_ = std::make_unique<ThreadExecutor>(kLoadThreads, kQueuedJobs);
  tiers->spills_ = std::make_unique<ThreadExecutor>(kSpillThreads, kQueuedJobs);
  tiers->copies_ = std::make_unique<ThreadExecutor>(kCopyThreads, kQueuedJobs);
  // Spills can wait: the threads that compute and load come first.
  static_assert(kSpillThreads == 1, "each of them has to run this");
  const bool submitted = tiers->spills_->TrySubmit(RunInBackground);
  PREFIXD_CHECK(submitted);
  return tiers;
}

bool Tiers::HasOtherTemplate() const {
  const std::optional<std::string> before = disk_ == nullptr ? std::nullopt : disk_->note_before();
  return before && before->starts_with(kTemplate) && *before != note_;
}

Result<uint64_t> Tiers::DeleteRecords(const std::function<bool(const RecordHead&)>& matches,
                                      const std::atomic<bool>& stop) {
  uint64_t deleted = 0;
  Status failure;  // the first; one store is purged although the other fails
  if (disk_ != nullptr && !disk_->is_open()) {
    failure = Unavailable("the disk cache is out of order: " + disk_->stats().failure);
  } else if (disk_ != nullptr) {
    failure = DeleteFrom(disk_.get(), matches, stop, &deleted);
    if (failure.ok() && deleted > 0) failure = disk_->Sync();
  }
  if (remote_ != nullptr) {
    const Status remote = DeleteFrom(remote_.get(), matches, stop, &deleted);
    if (failure.ok() && !remote.ok()) failure = remote.WithContext("remote-cache");
  }
  PREFIXD_RETURN_IF_ERROR(failure);
  return deleted;
}

Status Tiers::DeleteFrom(BlockStore* store, const std::function<bool(const RecordHead&)>& matches,
                         const std::atomic<bool>& stop, uint64_t* deleted) {
  Status failure;
  const auto visit = [&](const BlockKey& key, std::string_view head) {
    const DecodedHead decoded = DecodeRecordHead(std::as_bytes(std::span(head)));
    if (stop) failure = Unavailable("the daemon ends");
    if (stop || decoded.defect != RecordDefect::kNone || !matches(decoded.head)) return !stop.load();
    failure = store->Delete(key);
    if (!failure.ok()) return false;
    ++*deleted;
    if (store == disk_.get()) drops_->Add(key, std::nullopt);
    return true;
  };
  const Status scanned = store == remote_.get() ? remote_->ScanUntil(visit, &stop) : store->Scan(visit);
  PREFIXD_RETURN_IF_ERROR(scanned);
  return failure;
}

void Tiers::MakeRemote(const RemotePlan& plan) {
  RemoteTier::Options options{
      .store = {.address = plan.address,
                .tls = plan.tls,
                .fingerprint = fingerprint_,
                .clock = clock_,
                .max_record_bytes = RecordBytes(layout_),
                .max_age_seconds = plan.max_age_seconds,
                .known_keys = Limit<size_t>("remote-keys")},
      .write_rate = plan.write_rate,
      .queue_bytes = Limit<uint64_t>("remote-queue"),
      .leases = {
          .least_seconds = plan.lease_seconds, .all_wanted = plan.write_through, .holder = NewHolder()}};
  remote_codec_ = plan.codec;
  remote_ = std::make_unique<RemoteTier>(std::move(options));
  if (disk_ != nullptr) mirrored_ = std::make_unique<MirroredStore>(disk_.get(), remote_.get());
  remote_loads_ = std::make_unique<ThreadExecutor>(kLoadThreads, kQueuedJobs);
  remote_spills_ = std::make_unique<ThreadExecutor>(kSpillThreads, kQueuedJobs);
  const bool submitted = remote_spills_->TrySubmit(RunInBackground);
  PREFIXD_CHECK(submitted);
  Log(LogLevel::kInfo, "remote cache",
      {{"store", plan.address.Name()}, {"write_rate", FormatSize(plan.write_rate)}});
}

TierTransfers::Options Tiers::TransferOptions(KvPool& pool, std::function<void()> wake) {
  TierTransfers::Options options;
  options.fingerprint = fingerprint_;
  options.block_bytes = layout_.BlockBytes();
  options.codec = codec_;
  CopyFromPool(copier_.get(), &pool, &options);
  if (host_ != nullptr) {
    options.host_block = [this](BlockId block) {
      return std::span(host_->block(block), layout_.BlockBytes());
    };
  }
  options.is_finite = [layout = layout_](std::span<const std::byte> block) {
    return AllFinite(block, layout);
  };
  options.wake = std::move(wake);
  options.give_way = std::this_thread::yield;
  options.clock = clock_;
  options.max_age_seconds = max_age_seconds_;
  options.drops = drops_;
  return options;
}

LowerTiers Tiers::lower_tiers() {
  if (loads_ == nullptr) return {};
  return [this](KvPool& pool, std::function<void()> wake) -> std::unique_ptr<TransferPort> {
    BlockStore* const disk = mirrored_ != nullptr ? static_cast<BlockStore*>(mirrored_.get()) : disk_.get();
    auto local = std::make_unique<TierTransfers>(
        TransferOptions(pool, wake), disk,
        TierTransfers::Executors{.loads = loads_.get(), .spills = spills_.get(), .copies = copies_.get()});
    if (remote_ == nullptr) return local;
    TierTransfers::Options options = TransferOptions(pool, wake);
    options.codec = remote_codec_;
    options.drops = nullptr;
    auto remote = std::make_unique<TierTransfers>(
        std::move(options), remote_.get(),
        TierTransfers::Executors{
            .loads = remote_loads_.get(), .spills = remote_spills_.get(), .copies = copies_.get()});
    remote_->SetWake(std::move(wake));
    // Goes with the port, after which nobody may be woken.
    std::shared_ptr<RemoteTier> directory(remote_.get(), [](RemoteTier* tier) { tier->SetWake(nullptr); });
    return std::make_unique<StackedTransfers>(std::move(local), std::move(remote), std::move(directory));
  };
}

}  // namespace prefixd
