// TimedPort: a TransferPort whose transfers end at times that follow from the conditions of a timed
// simulation. It moves no bytes. Its disk is a set of records. One thread.
#pragma once

#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/transfer_port.h"
#include "tests/sim/timed_conditions.h"

namespace prefixd::sim {

class TimedPort final : public TransferPort {
 public:
  TimedPort(uint64_t seed, const TimedConditions* conditions);

  void SetTime(double now) { now_ = now; }
  // When the next transfer ends; infinity: none runs.
  double NextEnd() const;

  bool OnDisk(const BlockKey& key) const override { return records_.contains(key); }
  void Drop(const BlockKey& key) override { records_.erase(key); }
  void Start(const Transfer& transfer) override;
  void Poll(std::vector<FinishedTransfer>* finished) override;
  bool TakeDrops(std::vector<RecordDrop>*) override { return true; }
  const TransferStats& stats() const override { return stats_; }

  uint64_t failed = 0, lost = 0, refused = 0;  // loads

 private:
  // The times from which on a part of a medium is free. Loads and spills have one each.
  struct Lane {
    std::vector<double> workers;
    double bandwidth = 0;
    size_t running = 0;
  };
  struct Running {
    FinishedTransfer finished;
    double ends;
    Lane* lane;
    std::optional<BlockKey> writes;  // a record
    std::vector<TokenId> tokens;     // of that record
  };
  double EndOf(const TierConditions& tier, Lane* lane) const;
  void Read(const TierConditions& tier, const Transfer& transfer, FinishedTransfer* finished);

  const TimedConditions& conditions_;
  Prng random_;
  double now_ = 0;
  std::array<Lane, kTiers> loads_, spills_;
  std::vector<Running> running_;
  std::unordered_map<BlockKey, std::vector<TokenId>> records_;
  TransferStats stats_;
};

}  // namespace prefixd::sim
