#include "tests/sim/model_disk.h"

#include <iterator>

#include "base/check.h"

namespace prefixd::sim {

Result<std::string> ModelDisk::Get(const BlockKey& key) {
  if (refuted_.contains(key)) ++repeated_reads_;
  if (faults_->Fails()) {
    ++bad_reads_;
    return IoError("bad sector");
  }
  const bool lost = faults_->Chance();
  if (lost && Contains(key) && faults_->random().Chance(0.5)) {
    ++bad_reads_;
    Drop(key, DropReason::kLost);
    return Corrupt("damaged");
  }
  if (lost || !Contains(key)) {
    ++bad_reads_;
    refuted_.insert(key);
    return NotFound("no such record");
  }
  std::string record = now_.at(key);
  if (faults_->Chance()) record = Damaged(std::move(record));
  if (!put_.at(key).contains(record)) {
    ++bad_reads_;
    ++damaged_reads_;
    refuted_.insert(key);
  }
  return record;
}

std::string ModelDisk::Damaged(std::string record) {
  Prng& random = faults_->random();
  switch (random.Below(3)) {
    case 0:
      record[random.Below(record.size())] ^= static_cast<char>(1 << random.Below(8));
      break;
    case 1:
      record.resize(random.Below(record.size()));
      break;
    default:
      record.append("x");
  }
  return record;
}

Status ModelDisk::PutBatch(std::vector<StoreEntry> batch) {
  for (StoreEntry& entry : batch) {
    if (faults_->Fails()) return IoError("write failed");
    if (faults_->Chance()) return ResourceExhausted("disk full");
    if (entry.record.size() > capacity_) return ResourceExhausted("too large");
    while (bytes_ + entry.record.size() > capacity_) EvictOne();
    Forget(entry.key);
    refuted_.erase(entry.key);
    put_[entry.key].insert(entry.record);
    bytes_ += entry.record.size();
    now_[entry.key] = std::move(entry.record);
  }
  return Status::Ok();
}

Status ModelDisk::Delete(const BlockKey& key) {
  if (faults_->Fails()) return IoError("write failed");
  Forget(key);
  return Status::Ok();
}

Status ModelDisk::Sync() {
  if (faults_->Fails()) return IoError("sync failed");
  durable_ = now_;
  promised_.clear();
  for (const auto& [key, record] : now_) promised_.insert(key);
  return Status::Ok();
}

Status ModelDisk::Scan(const Visitor& visitor) {
  const Records records = now_;
  for (const auto& [key, record] : records)
    if (!visitor(key, record)) break;
  return Status::Ok();
}

void ModelDisk::Crash() {
  Prng& random = faults_->random();
  for (const auto& [key, record] : now_)
    if (random.Chance(0.3)) durable_[key] = record;
  for (auto record = durable_.begin(); record != durable_.end();) {
    const bool deleted = !now_.contains(record->first);
    record = deleted && random.Chance(0.3) ? durable_.erase(record) : std::next(record);
  }
  now_ = durable_;
  bytes_ = 0;
  refuted_.clear();
  unknown_.clear();
  for (const auto& [key, record] : now_) {
    bytes_ += record.size();
    unknown_.insert(key);
  }
  // Deletions may be lost as well, so the capacity may be exceeded.
  while (bytes_ > capacity_) EvictOne();
}

bool ModelDisk::LearnOne() {
  if (unknown_.empty()) return false;
  unknown_.erase(unknown_.begin());
  return true;
}

void ModelDisk::EvictOne() {
  if (now_.empty()) return;
  const auto index = static_cast<ptrdiff_t>(faults_->random().Below(now_.size()));
  Drop(std::next(now_.begin(), index)->first, DropReason::kEvicted);
}

void ModelDisk::Damage() {
  if (now_.empty()) return;
  Prng& random = faults_->random();
  const auto index = static_cast<ptrdiff_t>(random.Below(now_.size()));
  auto& [key, record] = *std::next(now_.begin(), index);
  record[random.Below(record.size())] ^= static_cast<char>(1 << random.Below(8));
  const auto durable = durable_.find(key);
  if (durable != durable_.end()) durable->second = record;
}

void ModelDisk::Drop(const BlockKey& key, DropReason reason) {
  const BlockKey dropped = key;
  Forget(dropped);
  if (on_drop_) on_drop_(dropped, reason);
}

void ModelDisk::Forget(const BlockKey& key) {
  promised_.erase(key);
  unknown_.erase(key);
  const auto record = now_.find(key);
  if (record == now_.end()) return;
  bytes_ -= record->second.size();
  now_.erase(record);
}

}  // namespace prefixd::sim
