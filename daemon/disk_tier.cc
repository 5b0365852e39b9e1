#include "daemon/disk_tier.h"

#include <pthread.h>
#include <sys/stat.h>

#include <chrono>
#include <utility>

#include "base/log.h"

namespace prefixd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaintenancePeriod{200};
constexpr int64_t kReopenNanos = 5'000'000'000;  // from one try to the next
// After so long without an error a failure counts as over, although nothing was written since.
constexpr int64_t kQuietNanos = 10'000'000'000;

// 0: there is no such directory.
uint64_t InodeOf(const std::string& path) {
  struct stat facts {};
  return stat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
}

// Adds the counters of `closed`. The gauges are those of `now`.
DiskStoreStats Add(DiskStoreStats now, const DiskStoreStats& closed) {
  now.written_bytes += closed.written_bytes;
  now.rewritten_bytes += closed.rewritten_bytes;
  now.read_bytes += closed.read_bytes;
  now.evicted_records += closed.evicted_records;
  now.expired_records += closed.expired_records;
  now.lost_records += closed.lost_records;
  now.damaged_segments += closed.damaged_segments;
  now.failed_writes += closed.failed_writes;
  return now;
}

Status OutOfOrder() { return Unavailable("the disk cache is out of order"); }

}  // namespace

Result<std::unique_ptr<DiskTier>> DiskTier::Create(DiskStoreOptions options) {
  std::unique_ptr<DiskTier> tier(new DiskTier(std::move(options)));
  const Status opened = tier->OpenStore();
  if (opened.code() == Code::kInvalidArgument || opened.code() == Code::kUnavailable) return opened;
  tier->thread_ = std::thread([raw = tier.get()] { raw->Run(); });
  pthread_setname_np(tier->thread_.native_handle(), "prefixd-disk");
  return tier;
}

DiskTier::DiskTier(DiskStoreOptions options) : options_(std::move(options)) {}

DiskTier::~DiskTier() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<DiskStore> DiskTier::store() const {
  MutexLock lock(mutex_);
  return store_;
}

Status DiskTier::OpenStore() {
  Result<std::unique_ptr<DiskStore>> opened = DiskStore::Open(options_);
  Note(opened.status());
  if (!opened.ok()) return opened.status();
  inode_ = InodeOf(options_.path);
  must_scan_ = true;
  MutexLock lock(mutex_);
  store_ = *std::move(opened);
  failure_.clear();
  must_reopen_ = false;
  written_at_failure_ = 0;
  return Status::Ok();
}

// The last user of the store destroys it.
void DiskTier::CloseStore() {
  std::shared_ptr<DiskStore> closing;
  {
    MutexLock lock(mutex_);
    closing.swap(store_);
  }
  const DiskStoreStats last = closing->stats();
  MutexLock lock(mutex_);
  DiskStoreStats sums = Add(last, closed_);
  sums.records = sums.segments = sums.other_segments = sums.pending_bytes = sums.index_bytes = 0;
  closed_ = sums;
}

void DiskTier::Note(const Status& status) {
  if (status.ok()) return;
  MutexLock lock(mutex_);
  failure_ = status.message();
  failed_nanos_ = options_.clock->NowNanos();
  if (status.code() == Code::kCorrupt) must_reopen_ = true;
}

// --- The maintenance thread ---

void DiskTier::Run() {
  bool told_failure = false;
  do {
    if (const std::shared_ptr<DiskStore> open = store()) {
      if (std::exchange(must_scan_, false)) ScanWhole(*open);
      Note(open->Maintain());
    }
    Recover();
    const std::string failure = stats().failure;
    if (!failure.empty() && !told_failure)
      Log(LogLevel::kError, "the disk cache fails; requests are served without it", {{"error", failure}});
    if (failure.empty() && told_failure) Log(LogLevel::kInfo, "the disk cache works again");
    told_failure = !failure.empty();
  } while (!WaitToStop());
}

bool DiskTier::WaitToStop() {
  MutexLock lock(mutex_);
  if (!stopping_) stop_.WaitFor(mutex_, kMaintenancePeriod);
  return stopping_;
}

// The index of a large cache takes a while. Records that are put meanwhile become durable in time.
void DiskTier::ScanWhole(DiskStore& open) {
  const int64_t begun = options_.clock->NowNanos();
  int64_t maintained = begun;
  bool stopping = false;
  const Status status = open.Scan([&](const BlockKey&, std::string_view) {
    const int64_t now = options_.clock->NowNanos();
    if (now - maintained < std::chrono::nanoseconds(kMaintenancePeriod).count()) return true;
    maintained = now;
    Note(open.Maintain());
    MutexLock lock(mutex_);
    stopping = stopping_;
    return !stopping;
  });
  Note(status);
  if (!status.ok() || stopping) return;
  Log(LogLevel::kInfo, "the disk cache is scanned",
      {{"records", open.stats().records},
       {"seconds", static_cast<double>(options_.clock->NowNanos() - begun) * 1e-9}});
}

// Closes a store that cannot go on, opens one that is closed, and finds out whether a failure is over.
void DiskTier::Recover() {
  const int64_t now = options_.clock->NowNanos();
  std::shared_ptr<DiskStore> open = store();
  if (open != nullptr && InodeOf(options_.path) != inode_) {
    Note(Status(Code::kCorrupt, "the directory '" + options_.path + "' vanished or was replaced"));
  }
  uint64_t written = 0;
  std::string reopen;  // why; empty: it stays open
  {
    MutexLock lock(mutex_);
    if (open != nullptr) written = open->stats().written_bytes;
    if (must_reopen_ && open != nullptr) reopen = failure_;
    const bool wrote_since = written > written_at_failure_;
    if (failure_.empty()) {
      written_at_failure_ = written;
    } else if (open != nullptr && !must_reopen_ && (wrote_since || now - failed_nanos_ >= kQuietNanos)) {
      failure_.clear();
    }
  }
  if (!reopen.empty()) {
    Log(LogLevel::kError, "the disk cache is closed and opened again", {{"error", reopen}});
    CloseStore();
  }
  open.reset();
  if (store() != nullptr || now - tried_nanos_ < kReopenNanos) return;
  tried_nanos_ = now;
  (void)OpenStore();  // it notes a failure
}

// --- BlockStore ---

Result<std::string> DiskTier::Get(const BlockKey& key) {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? Result<std::string>(OutOfOrder()) : open->Get(key);
}

bool DiskTier::Contains(const BlockKey& key) const {
  const std::shared_ptr<DiskStore> open = store();
  return open != nullptr && open->Contains(key);
}

Status DiskTier::PutBatch(std::vector<StoreEntry> batch) {
  const std::shared_ptr<DiskStore> open = store();
  if (open == nullptr) return OutOfOrder();
  Status status = open->PutBatch(std::move(batch));
  Note(status);
  return status;
}

Status DiskTier::Delete(const BlockKey& key) {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? Status::Ok() : open->Delete(key);
}

Status DiskTier::Sync() {
  const std::shared_ptr<DiskStore> open = store();
  if (open == nullptr) return OutOfOrder();
  Status status = open->Sync();
  Note(status);
  return status;
}

Status DiskTier::Scan(const Visitor& visitor) {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? Status::Ok() : open->Scan(visitor);
}

uint64_t DiskTier::bytes() const {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? 0 : open->bytes();
}

uint64_t DiskTier::max_record_bytes() const { return DiskStore::SegmentBytes(options_.capacity); }

DiskTierStats DiskTier::stats() const {
  const std::shared_ptr<DiskStore> open = store();
  DiskTierStats stats{.on = true, .capacity = options_.capacity};
  if (open != nullptr) {
    stats.store = open->stats();
    stats.bytes = open->bytes();
    stats.scanned = open->scanned();
  }
  MutexLock lock(mutex_);
  stats.store = Add(stats.store, closed_);
  stats.failure = failure_;
  return stats;
}

}  // namespace prefixd
