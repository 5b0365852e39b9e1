#include "daemon/disk_tier.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "base/background_thread.h"
#include "base/log.h"

namespace prefixd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMaintenancePeriod{200};
constexpr int64_t kReopenNanos = 5'000'000'000;  // from one try to the next
// A failure is shown so long at least: the log, /ready and a probe of it look now and then.
constexpr int64_t kShownNanos = 2'000'000'000;
// A read that takes so long is a failure. A write may be of a whole segment: it may take as much longer as a
// disk of 8 MB/s needs for one.
constexpr int64_t kSlowNanos = 2'000'000'000;
constexpr int64_t kSlowNanosPerByte = 125;

// Adds the counters of `from`, not the gauges.
void AddCounters(const DiskStoreStats& from, DiskStoreStats* sum) {
  sum->written_bytes += from.written_bytes;
  sum->rewritten_bytes += from.rewritten_bytes;
  sum->read_bytes += from.read_bytes;
  sum->evicted_records += from.evicted_records;
  sum->expired_records += from.expired_records;
  sum->evicted_kept_records += from.evicted_kept_records;
  sum->retention.refused += from.retention.refused;
  sum->retention.expired += from.retention.expired;
  sum->retention.displaced += from.retention.displaced;
  sum->ages_at_eviction += from.ages_at_eviction;
  sum->lost_records += from.lost_records;
  sum->damaged_segments += from.damaged_segments;
  sum->failed_writes += from.failed_writes;
  sum->failed_reads += from.failed_reads;
}

Status OutOfOrder() { return Unavailable("the disk cache is out of order"); }

}  // namespace

Result<std::unique_ptr<DiskTier>> DiskTier::Create(DiskStoreOptions options) {
  std::unique_ptr<DiskTier> tier(new DiskTier(std::move(options)));
  const Status opened = tier->OpenStore();
  if (opened.code() == Code::kInvalidArgument || opened.code() == Code::kUnavailable) return opened;
  tier->maintenance_ = std::thread([raw = tier.get()] { raw->Run(); });
  pthread_setname_np(tier->maintenance_.native_handle(), "prefixd-disk");
  tier->watch_ = std::thread([raw = tier.get()] { raw->Watch(); });
  pthread_setname_np(tier->watch_.native_handle(), "prefixd-watch");
  return tier;
}

DiskTier::DiskTier(DiskStoreOptions options)
    : options_(std::move(options)), shares_(options_.shares), calls_(options_.clock) {}

DiskTier::~DiskTier() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  stop_.NotifyAll();
  if (maintenance_.joinable()) maintenance_.join();
  if (watch_.joinable()) watch_.join();
}

std::shared_ptr<DiskStore> DiskTier::store() const {
  MutexLock lock(mutex_);
  return store_;
}

Status DiskTier::OpenStore() {
  DiskStoreOptions options = options_;
  {
    MutexLock lock(mutex_);
    options.shares = shares_;
  }
  Result<std::unique_ptr<DiskStore>> opened = DiskStore::Open(options);
  tried_nanos_ = options_.clock->NowNanos();
  MutexLock lock(mutex_);
  if (!opened.ok()) {
    failure_ = opened.status().message();
    failed_nanos_ = tried_nanos_;
    return opened.status();
  }
  must_scan_ = true;
  store_ = *std::move(opened);
  store_->SetShares(shares_);  // they may have changed meanwhile
  if (!note_before_) note_before_ = store_->note_before();
  return Status::Ok();
}

std::optional<std::string> DiskTier::note_before() const {
  MutexLock lock(mutex_);
  return note_before_ && !note_before_->empty() ? note_before_ : std::nullopt;
}

void DiskTier::CloseStore() {
  const std::string error = store()->stats().last_write_error;
  Log(LogLevel::kError, "the disk cache is closed and opened again", {{"error", error}});
  MutexLock lock(mutex_);
  closing_ = std::move(store_);
  failure_ = "it was closed: " + error;
  failed_nanos_ = options_.clock->NowNanos();
}

// Destroys a store that was closed when its last user is gone, and counts what it has counted by then.
// Returns whether there is none left.
bool DiskTier::FinishClosing() {
  std::shared_ptr<DiskStore> last;
  {
    MutexLock lock(mutex_);
    if (closing_ == nullptr) return true;
    if (closing_.use_count() > 1) return false;
    last = closing_;  // only stats() can get at it now
  }
  (void)last->Sync();  // tells what was pending lost, which counts
  MutexLock lock(mutex_);
  AddCounters(last->stats(), &closed_);
  closing_ = nullptr;  // `last` destroys it, after the lock
  return true;
}

// --- The maintenance thread ---

// The first scan is not in the background: what it has not found yet is computed again.
void DiskTier::Run() {
  bool in_background = false;
  do {
    if (std::shared_ptr<DiskStore> open = store()) {
      if (std::exchange(must_scan_, false)) ScanWhole(*open);
      if (!std::exchange(in_background, true)) RunInBackground();
      Maintain(*open);
      if (open->NeedsReopen()) {
        open.reset();
        CloseStore();
      }
    }
    const bool tries = store() == nullptr && options_.clock->NowNanos() - tried_nanos_ >= kReopenNanos;
    if (FinishClosing() && tries) (void)OpenStore();
  } while (!WaitToStop());
}

void DiskTier::Maintain(DiskStore& open) {
  const RunningCalls::Call call(&calls_, RunningCalls::Kind::kWrite);
  (void)open.Maintain();  // the statistics of the store have its errors
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
    Maintain(open);
    MutexLock lock(mutex_);
    stopping = stopping_;
    return !stopping;
  });
  if (!status.ok())
    Log(LogLevel::kWarning, "the disk cache could not be scanned whole", {{"error", status.ToString()}});
  if (!status.ok() || stopping) return;
  Log(LogLevel::kInfo, "the disk cache is scanned",
      {{"records", open.stats().records},
       {"seconds", static_cast<double>(options_.clock->NowNanos() - begun) * 1e-9}});
}

// --- The thread that looks for failures ---

void DiskTier::Watch() {
  bool told_failure = false;
  do {
    const bool fails = TakeNote();
    if (fails && !told_failure)
      Log(LogLevel::kError, "the disk cache fails; requests are served without it",
          {{"error", stats().failure}});
    if (!fails && told_failure) Log(LogLevel::kInfo, "the disk cache works again");
    told_failure = fails;
  } while (!WaitToStop());
}

// Takes note of errors, and of the end of a failure. Returns whether the disk cache fails.
bool DiskTier::TakeNote() {
  const std::shared_ptr<DiskStore> open = store();
  const int64_t now = options_.clock->NowNanos();
  DiskStoreStats facts;
  if (open != nullptr) facts = open->stats();
  std::string failure = facts.writing_fails ? facts.last_write_error : SlowCall();
  MutexLock lock(mutex_);
  if (open != nullptr && !failure.empty()) {
    failure_ = std::move(failure);
    failed_nanos_ = now;
  } else if (open != nullptr && now - failed_nanos_ >= kShownNanos) {
    failure_.clear();
  }
  return !failure_.empty();
}

bool DiskTier::WaitToStop() {
  MutexLock lock(mutex_);
  if (!stopping_) stop_.WaitFor(mutex_, kMaintenancePeriod);
  return stopping_;
}

// --- BlockStore ---

Result<std::string> DiskTier::Get(const BlockKey& key) {
  const std::shared_ptr<DiskStore> open = store();
  if (open == nullptr) return OutOfOrder();
  const RunningCalls::Call call(&calls_, RunningCalls::Kind::kRead);
  return open->Get(key);
}

bool DiskTier::Contains(const BlockKey& key) const {
  const std::shared_ptr<DiskStore> open = store();
  return open != nullptr && open->Contains(key);
}

Status DiskTier::PutBatch(std::vector<StoreEntry> batch) {
  const std::shared_ptr<DiskStore> open = store();
  if (open == nullptr) return OutOfOrder();
  const RunningCalls::Call call(&calls_, RunningCalls::Kind::kWrite);
  return open->PutBatch(std::move(batch));
}

bool DiskTier::Keep(const BlockKey& key, const RecordRetention& retention) {
  const std::shared_ptr<DiskStore> open = store();
  return open != nullptr && open->Keep(key, retention);
}

bool DiskTier::MayKeep(uint64_t owner, uint64_t bytes) const {
  const std::shared_ptr<DiskStore> open = store();
  return open != nullptr && open->MayKeep(owner, bytes);
}

std::optional<RecordRetention> DiskTier::KeptUntil(const BlockKey& key) const {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? std::nullopt : open->KeptUntil(key);
}

Status DiskTier::Delete(const BlockKey& key) {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? OutOfOrder() : open->Delete(key);
}

Status DiskTier::Sync() {
  const std::shared_ptr<DiskStore> open = store();
  if (open == nullptr) return OutOfOrder();
  const RunningCalls::Call call(&calls_, RunningCalls::Kind::kWrite);
  return open->Sync();
}

Status DiskTier::Scan(const Visitor& visitor) {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? Status::Ok() : open->Scan(visitor);
}

void DiskTier::SetShares(std::vector<OwnerShare> shares) {
  MutexLock lock(mutex_);
  shares_ = std::move(shares);
  if (store_ != nullptr) store_->SetShares(shares_);
}

uint64_t DiskTier::bytes() const {
  const std::shared_ptr<DiskStore> open = store();
  return open == nullptr ? 0 : open->bytes();
}

uint64_t DiskTier::max_record_bytes() const { return DiskStore::SegmentBytes(options_.capacity); }

std::string DiskTier::SlowCall() const {
  const auto segment = static_cast<int64_t>(DiskStore::SegmentBytes(options_.capacity));
  return calls_.SlowerThan(kSlowNanos, kSlowNanos + kSlowNanosPerByte * segment);
}

DiskTierStats DiskTier::stats() const {
  DiskTierStats stats{.on = true, .capacity = options_.capacity};
  std::shared_ptr<DiskStore> open;
  std::shared_ptr<DiskStore> closing;
  DiskStoreStats closed;
  {
    MutexLock lock(mutex_);  // at once, so that each store counts once
    open = store_;
    closing = closing_;
    closed = closed_;
    stats.failure = failure_;
  }
  if (open != nullptr) {
    stats.store = open->stats();
    stats.bytes = open->bytes();
    stats.owned_bytes = open->OwnedBytes();
  }
  if (closing != nullptr) AddCounters(closing->stats(), &stats.store);
  AddCounters(closed, &stats.store);
  if (stats.failure.empty()) stats.failure = SlowCall();
  return stats;
}

}  // namespace prefixd
