#include "tests/sim/real_disk.h"

#include <utility>

#include "base/check.h"

namespace prefixd::sim {

RealDisk::RealDisk(uint64_t seed, BlockKey group, double error_rate, const Clock* clock, DropListener on_drop)
    : folder_("/dev/shm"),
      group_(group),
      error_rate_(error_rate),
      clock_(clock),
      on_drop_(std::move(on_drop)),
      medium_((folder_.path() / "kv").string(), seed) {
  Open();
}

void RealDisk::Open() {
  medium_.Heal();
  auto store = DiskStore::Open({.path = (folder_.path() / "kv").string(),
                                .capacity = kMinDiskCapacity,
                                .group = group_,
                                .clock = clock_,
                                .on_drop =
                                    [this](const BlockKey& key, DropReason reason) {
                                      Forget(key);
                                      if (on_drop_) on_drop_(key, reason);
                                    },
                                .observer = &medium_});
  PREFIXD_CHECK(store.ok()) << store.status().ToString();
  store_ = std::move(*store);
  live_.clear();
  const Status status = store_->Scan([this](const BlockKey& key, std::string_view) {
    live_.insert(key);
    return true;
  });
  PREFIXD_CHECK(status.ok() && store_->scanned()) << status.ToString();
  medium_.SetRates({.io_error = error_rate_, .disk_full = error_rate_});
}

Result<std::string> RealDisk::Get(const BlockKey& key) {
  Result<std::string> record = store_->Get(key);
  NoteDamage();
  if (!record.ok()) {
    ++bad_reads_;
  } else if (!put_[key].contains(*record)) {
    ++bad_reads_;
    ++damaged_reads_;
  }
  return record;
}

Status RealDisk::PutBatch(std::vector<StoreEntry> batch) {
  for (StoreEntry& entry : batch) {
    const BlockKey key = entry.key;
    put_[key].insert(entry.record);
    std::vector<StoreEntry> one;
    one.push_back(std::move(entry));
    promised_.erase(key);  // a crash before the next Sync may leave neither record
    live_.insert(key);
    const Status status = store_->PutBatch(std::move(one));
    NoteDamage();
    if (!status.ok()) return status;
  }
  return Status::Ok();
}

Status RealDisk::Delete(const BlockKey& key) {
  const Status status = store_->Delete(key);
  Forget(key);
  return status;
}

Status RealDisk::Sync() {
  const Status status = store_->Sync();
  NoteDamage();
  if (!status.ok()) return status;
  for (const BlockKey& key : live_)
    if (store_->Contains(key)) promised_.insert(key);
  return status;
}

void RealDisk::Crash() {
  store_ = nullptr;
  medium_.Crash(true);
  Open();
}

void RealDisk::Forget(const BlockKey& key) {
  live_.erase(key);
  promised_.erase(key);
}

void RealDisk::NoteDamage() {
  if (store_->stats().damaged_segments > 0) promised_.clear();
}

}  // namespace prefixd::sim
