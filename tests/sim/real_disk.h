// RealDisk: a DiskStore in a temporary folder, whose file operations fail at random, from a seed. A crash
// loses what was not durable. The medium is not damaged: what is owed after damage is for
// tests/storage/disk_store_fault_test.cc. One thread.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "storage/disk_store.h"
#include "tests/sim/sim_disk.h"
#include "tests/support/faulty_disk.h"
#include "tests/support/temp_dir.h"

namespace prefixd::sim {

class RealDisk final : public SimDisk {
 public:
  // `error_rate`: how probable it is that an operation of the medium fails. `clock` must outlive the disk.
  RealDisk(uint64_t seed, BlockKey group, double error_rate, const Clock* clock, DropListener on_drop);

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override { return store_->Contains(key); }
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  bool Keep(const BlockKey& key, const RecordRetention& retention) override {
    return store_->Keep(key, retention);
  }
  bool MayKeep(uint64_t owner, uint64_t bytes) const override { return store_->MayKeep(owner, bytes); }
  std::optional<RecordRetention> KeptUntil(const BlockKey& key) const override {
    return store_->KeptUntil(key);
  }
  Status Sync() override;
  Status Scan(const Visitor& visitor) override { return store_->Scan(visitor); }
  uint64_t bytes() const override { return store_->bytes(); }
  uint64_t capacity() const override { return store_->capacity(); }
  uint64_t max_record_bytes() const override { return store_->max_record_bytes(); }

  void PowerOff() override { medium_.PowerOff(); }
  void Crash() override;
  bool LearnOne() override { return false; }
  void EvictOne() override { (void)store_->Maintain(); }
  void Damage() override { (void)store_->Maintain(); }
  const std::set<BlockKey>& promised() const override { return promised_; }
  uint64_t bad_reads() const override { return bad_reads_; }
  uint64_t damaged_reads() const override { return damaged_reads_; }
  uint64_t repeated_reads() const override { return 0; }

 private:
  void Open();
  // The record is gone.
  void Forget(const BlockKey& key);
  // A segment that often could not be read counts as damaged: nothing is owed then.
  void NoteDamage();

  const testing_support::TempDir folder_;
  const BlockKey group_;
  const double error_rate_;
  const Clock* const clock_;
  const DropListener on_drop_;
  testing_support::FaultyDisk medium_;
  std::map<BlockKey, std::set<std::string>> put_;  // all that were ever put
  std::set<BlockKey> live_;                        // put, and neither deleted nor told dropped since
  std::set<BlockKey> promised_;
  uint64_t bad_reads_ = 0;
  uint64_t damaged_reads_ = 0;
  std::unique_ptr<DiskStore> store_;
};

}  // namespace prefixd::sim
