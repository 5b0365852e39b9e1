// ModelDisk: a BlockStore that keeps what is durable apart from what is not. It fails at random, from a seed.
// It stands for the disk tier in the simulator. One thread.
//
// Invariants
//   1. A put or a deletion is durable when a Sync after it has succeeded. Of later ones a crash keeps each by
//      chance.
//   2. After a restart a record is found once LearnOne has passed it.
//   3. Every fault of Get is a bad read; a Get that returns other bytes than those of a put is a damaged one.
//   4. A record that is lost without a Delete is told to the listener, except one that Get says is missing.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "tests/sim/sim_disk.h"

namespace prefixd::sim {

// Decides which operation of the medium fails.
class Faults {
 public:
  // Operation number `fail_at` fails, counted from 1; 0: none. `rate`: how probable every other fault is.
  Faults(uint64_t seed, double rate, uint64_t fail_at) : random_(seed), rate_(rate), fail_at_(fail_at) {}

  // Begins an operation. Returns whether it fails.
  bool Fails() {
    ++operations_;
    if (off_ || operations_ == fail_at_) return true;
    return Chance();
  }
  // Whether something else goes wrong.
  bool Chance() { return rate_ > 0 && random_.Chance(rate_); }
  // Every operation fails until SetPower(true).
  void SetPower(bool on) { off_ = !on; }
  bool off() const { return off_; }
  uint64_t operations() const { return operations_; }
  Prng& random() { return random_; }

 private:
  Prng random_;
  const double rate_;
  const uint64_t fail_at_;
  bool off_ = false;
  uint64_t operations_ = 0;
};

class ModelDisk final : public SimDisk {
 public:
  // `faults` must outlive the disk. `on_drop` may be empty.
  ModelDisk(uint64_t capacity, Faults* faults, DropListener on_drop)
      : capacity_(capacity), faults_(faults), on_drop_(std::move(on_drop)) {}

  Result<std::string> Get(const BlockKey& key) override;
  bool Contains(const BlockKey& key) const override { return now_.contains(key) && !unknown_.contains(key); }
  Status PutBatch(std::vector<StoreEntry> batch) override;
  Status Delete(const BlockKey& key) override;
  Status Sync() override;
  Status Scan(const Visitor& visitor) override;
  uint64_t bytes() const override { return bytes_; }
  uint64_t capacity() const override { return capacity_; }
  uint64_t max_record_bytes() const override { return capacity_; }

  void PowerOff() override { faults_->SetPower(false); }
  void Crash() override;
  bool LearnOne() override;
  void EvictOne() override;
  void Damage() override;
  const std::set<BlockKey>& promised() const override { return promised_; }
  uint64_t bad_reads() const override { return bad_reads_; }
  uint64_t damaged_reads() const override { return damaged_reads_; }
  uint64_t repeated_reads() const override { return repeated_reads_; }

 private:
  using Records = std::map<BlockKey, std::string>;
  void Forget(const BlockKey& key);
  void Drop(const BlockKey& key, DropReason reason);
  // A copy of a record as a failing medium returns it.
  std::string Damaged(std::string record);

  const uint64_t capacity_;
  Faults* const faults_;
  const DropListener on_drop_;
  Records now_;
  Records durable_;
  std::map<BlockKey, std::set<std::string>> put_;  // all that were ever put
  std::set<BlockKey> unknown_;                     // of `now_`: the scan has not passed them
  std::set<BlockKey> promised_;
  std::set<BlockKey> refuted_;  // found missing or damaged by a Get, and not put since
  uint64_t bytes_ = 0;
  uint64_t bad_reads_ = 0;
  uint64_t damaged_reads_ = 0;
  uint64_t repeated_reads_ = 0;
};

}  // namespace prefixd::sim
