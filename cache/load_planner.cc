#include "cache/load_planner.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {
namespace {

// Where one way takes this many times as long as the other, the other is taken alone: a split would gain
// little, and would cost work that others need.
constexpr double kClearlySlower = 2.5;
constexpr double kKept = 1 - 1.0 / 64;  // of the sums of a rate, with each further load
constexpr double kOutdatedSeconds = 1;
constexpr double kOutdatedBlocks = 8;  // what older loads count
constexpr double kStartBlocks = 4;     // what the estimate at the start counts
constexpr size_t kProbeBlocks = 8;
// A tier stalls when no load has ended for so long.
constexpr double kShortestStall = 0.05;
constexpr double kStallBlocks = 16;
// So much of a hit is computed while a tier stalls, and looked again: each part has a step of its own.
constexpr double kLeastPart = 1.0 / 16;
// Seconds. A hit that comes so soon is not worth work that others need, if it is not clearly slower.
constexpr double kShortWait = 0.02;
constexpr double kLongestUnknownWait = 1;  // seconds, while nothing is known about computing

size_t Index(Tier tier) { return static_cast<size_t>(tier); }

// Returns the least number in [1, most] for which `holds` is true, or `most`. Once true, it stays true.
template <typename Holds>
size_t Fewest(size_t most, const Holds& holds) {
  size_t few = 0, enough = most;
  while (enough - few > 1) {
    const size_t middle = few + (enough - few) / 2;
    (holds(middle) ? enough : few) = middle;
  }
  return enough;
}

}  // namespace

LoadPlanner::LoadPlanner(const Options& options) : options_(options) {
  for (int i = 0; i < kTiers; ++i) {
    if (options.block_seconds[i] > 0)
      rates_[i] = {.blocks = kStartBlocks,
                   .seconds = kStartBlocks * options.block_seconds[i],
                   .bytes = kStartBlocks * static_cast<double>(options.block_bytes)};
  }
}

// --- Measurement ---

void LoadPlanner::Started(uint64_t id, Tier from) {
  PREFIXD_CHECK(running_.try_emplace(id, Running{from, now_}).second) << id;
}

void LoadPlanner::Ended(const FinishedTransfer& finished) {
  const auto it = running_.find(finished.id);
  PREFIXD_CHECK(it != running_.end()) << finished.id;
  const auto [from, started] = it->second;
  running_.erase(it);
  if (finished.ended <= 0) return;  // it was refused
  Rate& rate = rates_[Index(from)];
  if (finished.ended - rate.last_end > kOutdatedSeconds && rate.blocks > kOutdatedBlocks) {
    const double share = kOutdatedBlocks / rate.blocks;
    rate = {rate.blocks * share, rate.seconds * share, rate.bytes * share, rate.last_end};
  }
  const double busy = std::max(0.0, finished.ended - std::max(started, rate.last_end));
  rate.last_end = std::max(rate.last_end, finished.ended);
  const bool ok = finished.result == TransferResult::kOk;
  rate.blocks = kKept * rate.blocks + (ok ? 1 : 0);  // a load that fails takes its time for nothing
  rate.seconds = kKept * rate.seconds + busy;
  rate.bytes = kKept * rate.bytes + static_cast<double>(finished.bytes);
}

double LoadPlanner::block_seconds(Tier tier) const {
  const Rate& rate = rates_[Index(tier)];
  return rate.blocks > 0 ? rate.seconds / rate.blocks : rate.seconds;
}

double LoadPlanner::bytes_per_second(Tier tier) const {
  const Rate& rate = rates_[Index(tier)];
  return rate.seconds > 0 ? rate.bytes / rate.seconds : 0;
}

LoadPlanner::BlockCounts LoadPlanner::running_by_tier() const {
  BlockCounts counts{};
  for (const auto& [id, load] : running_) ++counts[Index(load.from)];
  return counts;
}

double LoadPlanner::Stall(Tier tier) const {
  double oldest = now_;
  for (const auto& [id, load] : running_) {
    if (load.from == tier) oldest = std::min(oldest, load.started);
  }
  return std::max(0.0, now_ - std::max(oldest, rates_[Index(tier)].last_end));
}

bool LoadPlanner::Stalls(std::span<const Tier> tiers) const {
  return std::ranges::any_of(kLowerTiers, [&](Tier tier) {
    return std::ranges::count(tiers, tier) > 0 &&
           Stall(tier) > std::max(kShortestStall, kStallBlocks * block_seconds(tier));
  });
}

// --- Decisions ---

double LoadPlanner::LoadSeconds(Tier tier, size_t blocks, size_t ahead) const {
  if (blocks == 0) return 0;
  const double one = block_seconds(tier);
  return std::max(0.0, Stall(tier) - one) + static_cast<double>(blocks + ahead) * one;
}

// The tiers are read at the same time.
double LoadPlanner::LoadSeconds(std::span<const Tier> tiers, const BlockCounts& ahead) const {
  double longest = 0;
  for (const Tier tier : kLowerTiers) {
    const auto blocks = static_cast<size_t>(std::ranges::count(tiers, tier));
    longest = std::max(longest, LoadSeconds(tier, blocks, ahead[Index(tier)]));
  }
  return longest;
}

double LoadPlanner::ComputeSeconds(size_t from, size_t to, const ComputeEstimate* compute) const {
  const auto token = [&](size_t block) { return static_cast<int>(block) * options_.block_tokens; };
  return compute == nullptr ? 0 : compute->Seconds(token(from), token(to));
}

// Than computing alone: beside others that compute, loading would look faster than it is.
bool LoadPlanner::IsClearlyFaster(double load, size_t from, size_t to, const ComputeEstimate* compute) const {
  const auto token = [&](size_t block) { return static_cast<int>(block) * options_.block_tokens; };
  return kClearlySlower * load <= compute->SecondsAlone(token(from), token(to));
}

double LoadPlanner::SlowestBlock(std::span<const Tier> tiers) const {
  double slowest = 0;
  for (const Tier tier : kLowerTiers)
    if (std::ranges::count(tiers, tier) > 0) slowest = std::max(slowest, block_seconds(tier));
  return slowest;
}

bool LoadPlanner::IsOutdated(std::span<const Tier> tiers) const {
  const Tier lowest = std::ranges::max(tiers);
  return Stall(lowest) == 0 && now_ - rates_[Index(lowest)].last_end > kOutdatedSeconds;
}

LoadPlanner::Plan LoadPlanner::Decide(std::span<const Tier> tiers, size_t first, const BlockCounts& ahead,
                                      const ComputeEstimate* compute) const {
  const size_t blocks = tiers.size();
  Plan plan{.first = first, .blocks = blocks, .seconds = ComputeSeconds(first, first + blocks, compute)};
  if (options_.policy == LoadPolicy::kLoad) return plan;
  if (options_.policy == LoadPolicy::kRecompute) {
    plan.decision = LoadDecision::kRecompute;
    plan.compute = blocks;
    return plan;
  }
  const double load = LoadSeconds(tiers, ahead);
  plan.queue = load - LoadSeconds(tiers, {});
  plan.rate = SlowestBlock(tiers);
  if (plan.seconds == 0) return plan;
  const double own = load - plan.queue;
  plan.any_queue = IsClearlyFaster(own, first, first + blocks, compute);
  // Behind the loads of others: what is computed meanwhile would delay them, and this hit comes soon after.
  if (plan.any_queue || (kClearlySlower * own <= plan.seconds && load <= plan.seconds)) return plan;
  if (load <= std::min(kShortWait, kClearlySlower * plan.seconds)) return plan;
  if (load >= kClearlySlower * plan.seconds) {
    plan.decision = LoadDecision::kRecompute;
    plan.is_probe = IsOutdated(tiers);
    const size_t probed = std::min(kProbeBlocks, std::max<size_t>(blocks / 2, 1));
    plan.compute = plan.is_probe ? blocks - probed : blocks;
    return plan;
  }
  // The fewest blocks to compute that take as long as the rest takes to load.
  plan.compute = Fewest(blocks, [&](size_t some) {
    return ComputeSeconds(first, first + some, compute) >= LoadSeconds(tiers.subspan(some), ahead);
  });
  plan.decision = plan.compute < blocks ? LoadDecision::kSplit : LoadDecision::kRecompute;
  return plan;
}

bool LoadPlanner::MayWait(const Plan& plan, double decided, std::span<const Tier> missing, size_t first,
                          const ComputeEstimate* compute, size_t* instead) const {
  *instead = missing.size();
  if (options_.policy == LoadPolicy::kLoad) return true;
  if (plan.is_probe) return false;
  const double waited = now_ - decided;
  if (compute == nullptr || plan.seconds == 0) return waited < kLongestUnknownWait;
  const double load = LoadSeconds(missing, {});
  const Plan now = Decide(missing, first, {}, compute);
  const double grace = std::max(0.5 * std::min(compute->StepSeconds(), plan.seconds), kShortWait);
  // Where others have begun to compute since the decision, computing takes longer than it said. That is no
  // reason to give up loads, which have the tier to themselves.
  const double whole = ComputeSeconds(plan.first, plan.first + plan.blocks, compute);
  const double rest = now.seconds * (whole > plan.seconds ? plan.seconds / whole : 1);
  const double longest = (1 + kAllowance) * plan.seconds + grace;
  // The queue as it would be at the rate of now. It is waited for only while all of it still comes in time.
  const double slower = plan.rate > 0 ? SlowestBlock(missing) / plan.rate : 1;
  const double queue = std::max(0.0, plan.queue * slower - waited);
  // Loads that are later than planned are still waited for where computing instead takes clearly longer.
  const double last = longest + (plan.any_queue ? plan.queue : 0);
  const bool loads_first = waited + queue + load <= last || kClearlySlower * (queue + load) <= rest;
  const bool in_time = waited + rest <= longest + plan.queue && loads_first;
  if (!in_time) return false;
  if (load <= kShortWait || (now.compute == 0 && !Stalls(missing))) return true;
  const double meanwhile = std::max(kShortestStall, kLeastPart * plan.seconds);
  const size_t least = Fewest(
      missing.size(), [&](size_t some) { return ComputeSeconds(first, first + some, compute) >= meanwhile; });
  *instead = std::max(now.compute, least);
  return false;
}

}  // namespace prefixd
