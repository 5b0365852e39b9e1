// LoadPlanner: decides which blocks of a hit in lower tiers are loaded and which are computed, and how long a
// lease may wait for loads. It compares what the engine says that computing takes with what it has measured
// of each tier. Engine thread only. It reads no clock: the cache tells it the time.
//
//   |--- computed, from the front --->|<--- loaded, from the back ---|
//   0                          Plan::compute                      blocks
//
// Of a tier it measures the seconds per block: from the end of a load to the end of the next one, while loads
// are under way. So it holds for the number of loads that run at once, queue and medium included. Of the last
// 64 blocks or so, the newer ones count more; what is older than a second counts like 8 blocks. Loads that
// are under way and of which none has ended for a while say that the tier stalls: to expect as long a pause
// again is the best guess. A lease that waits for it computes a sixteenth of its hit meanwhile.
//
// Where loading a hit is clearly faster than computing it alone, it is loaded however long the loads that
// come first take: on a CPU, computing slows loads down, and all who wait lose more than one gains.
//
// The estimates need loads. After a second without any, a hit that is not worth loading has its last 8
// blocks, or the half of it, loaded beside the computing (a probe), so that a tier that has become fast again
// is used again.
//
// Invariants
//   1. Of a plan, Plan::compute is 0 for kLoad, in between for kSplit, and all blocks for kRecompute, or all
//      but those of a probe.
//   2. With LoadPolicy::kAuto a lease waits only while loading is what Decide would say again, and no longer
//      than kAllowance of the time that computing the whole hit takes, and half a step (at most half of that
//      time) or 20 ms, beyond what computing takes, and the queue of loads that was planned: MayWait says no
//      when the time since the decision and the time to compute what is missing exceed it. That time is no
//      more than it was at the decision: others who compute since then would have slowed this one, too. It
//      also says no when the loads would end after that time without the queue, unless to compute instead
//      takes clearly longer than they do. Where the hit is loaded however long the queue is, that time is
//      with the queue.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <unordered_map>

#include "cache/tier.h"
#include "cache/transfer_port.h"

namespace prefixd {

enum class LoadPolicy : uint8_t {
  kAuto,
  kLoad,       // load all that lower tiers have, however long it takes
  kRecompute,  // load nothing
};

constexpr std::string_view LoadPolicyName(LoadPolicy policy) {
  constexpr std::string_view kNames[] = {"auto", "load", "recompute"};
  return kNames[static_cast<size_t>(policy)];
}

// What was decided for a hit in a lower tier. The metric of decisions has its labels in the same order.
enum class LoadDecision : uint8_t {
  kLoad,
  kRecompute,
  kSplit,
  kOvertaken,  // it was loaded too late: a part of it is computed after all
};
inline constexpr int kLoadDecisions = 4;
constexpr std::string_view LoadDecisionName(LoadDecision decision) {
  constexpr std::string_view kNames[kLoadDecisions] = {"load", "recompute", "split", "overtaken"};
  return kNames[static_cast<size_t>(decision)];
}

// What the engine knows about computing, for one sequence.
class ComputeEstimate {
 public:
  virtual ~ComputeEstimate() = default;
  // Whether the blocks are only loaded, never computed: then nothing is leased from other daemons, and
  // Seconds() is only how long a load is waited for.
  virtual bool OnlyLoads() const { return false; }
  // Seconds until the tokens [from, to) of the sequence are computed, beside what else is computed now. 0:
  // not known.
  virtual double Seconds(int from, int to) const = 0;
  // As if nothing else were computed.
  virtual double SecondsAlone(int from, int to) const { return Seconds(from, to); }
  // Of a step.
  virtual double StepSeconds() const = 0;
};

class LoadPlanner {
 public:
  struct Options {
    LoadPolicy policy = LoadPolicy::kAuto;
    int block_tokens = 16;
    size_t block_bytes = 0;
    // Seconds for a block, by tier, before anything is measured; 0: not known, and then it is loaded.
    std::array<double, kTiers> block_seconds{};
  };
  explicit LoadPlanner(const Options& options);

  // `now` in seconds; it never falls.
  void SetTime(double now) { now_ = now; }
  double now() const { return now_; }
  void Started(uint64_t id, Tier from);
  // Requires that the transfer was Started.
  void Ended(const FinishedTransfer& finished);

  using BlockCounts = std::array<size_t, kTiers>;
  struct Plan {
    LoadDecision decision = LoadDecision::kLoad;
    size_t compute = 0;      // leading blocks that are computed
    bool is_probe = false;   // the loads are to measure; nobody should wait for them
    size_t first = 0;        // of the blocks of the hit
    size_t blocks = 0;       // of the hit
    double seconds = 0;      // to compute all of them; 0: not known
    double queue = 0;        // seconds until the loads of others that come first have ended
    bool any_queue = false;  // it is loaded however long that is
    double rate = 0;         // seconds for a block of the slowest tier, when this was decided
  };
  // `tiers` are those of the blocks of a hit, from block number `first` of the sequence on; kDevice: it needs
  // no load. `ahead`: blocks that are loaded before these, by the tier that they come from. Requires that one
  // is not kDevice.
  Plan Decide(std::span<const Tier> tiers, size_t first, const BlockCounts& ahead,
              const ComputeEstimate* compute) const;

  // Whether a lease that has nothing to compute waits for its loads. `plan` is what was decided, at the time
  // `decided`; `missing` are the tiers of the blocks from number `first` on that have not come, or kDevice
  // for those among them that have. When it does not wait, it computes the first `*instead` of them: some,
  // after which it may ask again, or all when the allowance of invariant 2 is used up.
  bool MayWait(const Plan& plan, double decided, std::span<const Tier> missing, size_t first,
               const ComputeEstimate* compute, size_t* instead) const;

  size_t running() const { return running_.size(); }
  BlockCounts running_by_tier() const;
  // When a load of the tier has ended last; below 0: never.
  double last_end(Tier tier) const { return rates_[static_cast<size_t>(tier)].last_end; }
  // 0: not known.
  double block_seconds(Tier tier) const;
  double bytes_per_second(Tier tier) const;

  static constexpr double kAllowance = 0.05;

 private:
  struct Rate {
    // Sums over the last loads, of which the older ones count less.
    double blocks = 0, seconds = 0, bytes = 0;
    double last_end = -1;  // of a load, or before there was one: below 0
  };
  struct Running {
    Tier from;
    double started;
  };
  // How long no load of the tier has ended while some are under way.
  double Stall(Tier tier) const;
  bool Stalls(std::span<const Tier> tiers) const;
  // Until `blocks` are loaded from `tier`, after `ahead` others.
  double LoadSeconds(Tier tier, size_t blocks, size_t ahead) const;
  double LoadSeconds(std::span<const Tier> tiers, const BlockCounts& ahead) const;
  // To compute the blocks [from, to). 0: not known.
  double ComputeSeconds(size_t from, size_t to, const ComputeEstimate* compute) const;
  bool IsClearlyFaster(double load, size_t from, size_t to, const ComputeEstimate* compute) const;
  double SlowestBlock(std::span<const Tier> tiers) const;
  // Whether nothing is known of the lowest of the tiers that is younger than a second.
  bool IsOutdated(std::span<const Tier> tiers) const;

  const Options options_;
  double now_ = 0;
  std::array<Rate, kTiers> rates_{};
  std::unordered_map<uint64_t, Running> running_;  // loads, by transfer
};

}  // namespace prefixd
