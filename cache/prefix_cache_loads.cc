// Loads from lower tiers: which blocks are loaded for a lease, and which it computes meanwhile or instead.
#include <algorithm>
#include <unordered_set>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

constexpr size_t kWindow = 1024;    // blocks that are planned at once
constexpr size_t kLongestHole = 4;  // blocks without KV, after which a hit is looked for
constexpr double kShortRun = 0.25;  // of a step

}  // namespace

bool PrefixCache::Impl::UseLowerTiers(Lease::State& lease, const Request& request, Acquired* acquired) {
  if (!HasLowerTier()) return false;
  const size_t at = lease.path.size();
  const bool within_block = lease.ready % block_tokens != 0;
  if (!within_block) {
    // The block that the limit cuts is loaded too: a part of it can be copied.
    const size_t end = std::min((static_cast<size_t>(request.limit) + block_tokens - 1) / block_tokens,
                                request.tokens.size() / static_cast<size_t>(block_tokens));
    if (lease.ready >= request.limit || at >= end) return false;
    StartLoads(lease);
    // It has been decided already that the next block is not loaded.
    const bool loads_next = !lease.loading.empty() && lease.load_begin == at;
    if (lease.waited && !loads_next && IsClaimedByAnother(lease, request.tokens)) return false;
    if (lease.loading.empty() && lease.load_begin <= at) {
      if (WaitsForRemote(lease, request, end)) {
        lease.is_asking = true;
        acquired->state = AcquireState::kLoading;
        acquired->loads_from = Tier::kRemote;
        return true;
      }
      PlanLoads(lease, request, end, acquired);
      if (lease.loading.empty() && lease.load_begin <= at) return false;
      StartLoads(lease);
    }
    if (lease.load_begin == at) {
      if (tree.block(lease.loading.front().node, Tier::kDevice) != kNoBlock)
        return false;  // the limit cuts it
      if (WaitsForLoad(lease, request, acquired)) {
        acquired->state = AcquireState::kLoading;
        acquired->loads_from = lease.loading.front().from;
        return true;
      }
    }
    if (lease.loading.empty() && lease.load_begin >= end) return false;  // all that is left is computed
  } else {
    StartLoads(lease);
  }
  ExtendLoads(lease, request);
  const size_t stop = ClaimPart(lease);
  if (stop == at && !within_block) return false;  // another lease computes it
  acquired->until = static_cast<int>(stop) * block_tokens;
  return true;
}

// --- Plans ---

void PrefixCache::Impl::FindRun(const Lease::State& lease, std::span<const TokenId> tokens, size_t from,
                                size_t to, std::vector<Tier>* tiers) const {
  RadixTree::Position at = lease.at();
  bool in_tree = true;
  for (size_t index = lease.path.size(); index < to; ++index) {
    const BlockKey& key = lease.keys->key(index);
    const NodeId node = in_tree ? tree.FindChild(at, key) : kNoNode;
    in_tree = node != kNoNode;
    if (in_tree && (!IsBlock(node, *lease.keys, tokens, index) || IsPurged(node))) return;
    if (in_tree) at.node = node;
    if (index < from) continue;
    Tier tier = Tier::kHost;
    if (in_tree && tree.block(node, Tier::kDevice) != kNoBlock) {
      tier = Tier::kDevice;
    } else if (in_tree && IsLoading(node)) {
      tier = running.at(loads.at(node)).from;
    } else if (!in_tree || tree.block(node, Tier::kHost) == kNoBlock) {
      const std::optional<Tier> record = RecordTier(key);
      if (!record) return;
      tier = *record;
    }
    tiers->push_back(tier);
  }
}

bool PrefixCache::Impl::IsShortRun(const Request& request, size_t from, size_t blocks) const {
  if (blocks == 0 || options.load_policy != LoadPolicy::kAuto || request.compute == nullptr) return false;
  const auto token = [&](size_t block) { return static_cast<int>(block) * block_tokens; };
  return request.compute->Seconds(token(from), token(from + blocks)) <
         kShortRun * request.compute->StepSeconds();
}

size_t PrefixCache::Impl::FindNextRun(const Lease::State& lease, std::span<const TokenId> tokens, size_t from,
                                      size_t end, std::vector<Tier>* tiers) const {
  for (const size_t last = std::min(end, from + kLongestHole + 1); from < last; ++from) {
    FindRun(lease, tokens, from, std::min(end, from + kWindow), tiers);
    if (!tiers->empty()) break;
  }
  return from;
}

void PrefixCache::Impl::PlanLoads(Lease::State& lease, const Request& request, size_t end,
                                  Acquired* acquired) {
  const bool loads_all = lease.another_wait.is_on();
  std::vector<Tier> run;
  size_t from = FindNextRun(lease, request.tokens, lease.path.size(), end, &run);
  // Each hole costs a step. So what is short between two of them is computed with both.
  while (!loads_all && IsShortRun(request, from, run.size()) && from < lease.path.size() + kWindow) {
    std::vector<Tier> next;
    const size_t begin = FindNextRun(lease, request.tokens, from + run.size(), end, &next);
    if (next.empty()) break;
    from = begin;
    run = std::move(next);
  }
  // What follows the last block that is not on the device needs no decision.
  const auto last = std::find_if(run.rbegin(), run.rend(), [](Tier at) { return at != Tier::kDevice; });
  const std::span<const Tier> lower(run.begin(), last.base());
  if (lower.empty() && (from == lease.path.size() || run.size() < kLeastSaved)) return;
  lease.plan.compute = 0;
  if (!lower.empty()) {
    // To compute a part of what came from another daemon gains nothing while the rest is to come.
    lease.plan = loads_all
                     ? LoadPlanner::Plan{.first = from, .blocks = lower.size()}
                     : planner.Decide(lower, from, LoadsAhead(lease, from + run.size()), request.compute);
    lease.decided = planner.now();
    lease.overtaken = -1;
    NoteDecision(lease.plan, lower, acquired);
  }
  const size_t end_of_run = from + run.size();
  const bool few = run.size() - lower.size() < kLeastSaved;
  if (lease.plan.compute < (few ? lower.size() : run.size())) {
    AddLoading(lease, from + lease.plan.compute, end_of_run);
  } else if (run.size() == kWindow && end_of_run < end) {
    lease.load_begin = end_of_run;  // what follows is decided then
    lease.overtaken = planner.now();
  }
}

// The loads of others that come before those of the blocks up to `end`, without those that are of the same
// blocks: requests that begin alike share them.
LoadPlanner::BlockCounts PrefixCache::Impl::LoadsAhead(const Lease::State& lease, size_t end) const {
  std::unordered_set<NodeId> own;
  RadixTree::Position at = lease.at();
  for (size_t index = lease.path.size(); index < end; ++index) {
    at.node = tree.FindChild(at, lease.keys->key(index));
    if (at.node == kNoNode) break;
    own.insert(at.node);
  }
  LoadPlanner::BlockCounts ahead{};
  for (const auto& [node, id] : loads) {
    if (!own.contains(node)) ++ahead[static_cast<size_t>(running.at(id).from)];
  }
  for (const Lease::State* other : leases) {
    if (other->to_start == 0 || own.contains(other->loading[other->to_start - 1].node)) continue;
    for (size_t i = 0; i < other->to_start; ++i) {
      const NodeId node = other->loading[i].node;
      if (tree.block(node, Tier::kDevice) == kNoBlock) ++ahead[static_cast<size_t>(SourceOf(node))];
    }
  }
  return ahead;
}

void PrefixCache::Impl::NoteDecision(const LoadPlanner::Plan& plan, std::span<const Tier> blocks,
                                     Acquired* acquired) {
  const Tier lowest = std::ranges::max(blocks);
  CountDecision(lowest, plan.decision, acquired);
  // What the remote tier has does not count as a copy.
  if (options.load_policy != LoadPolicy::kAuto || plan.seconds == 0 || lowest == Tier::kRemote) return;
  const double share = planner.block_seconds(lowest) * static_cast<double>(blocks.size()) / plan.seconds;
  // That of the tier from which such copies come back: what the device evicts, the host has first.
  const Tier above = lowest == Tier::kDisk && options.host_blocks > 0 ? Tier::kHost : Tier::kDevice;
  tier(above).eviction.SetCopyCost(std::clamp(share, kLeastCopyCost, 1.0));
}

void PrefixCache::Impl::CountDecision(Tier lowest, LoadDecision decision, Acquired* acquired) {
  ++stats.load_decisions[static_cast<size_t>(lowest)][static_cast<size_t>(decision)];
  ++acquired->decisions[static_cast<size_t>(decision)];
}

// A block of which only the port knows gets a node, and so do those before it.
void PrefixCache::Impl::AddLoading(Lease::State& lease, size_t from, size_t to) {
  PREFIXD_CHECK(lease.loading.empty() || lease.load_begin == to) << lease.load_begin << " is not " << to;
  RadixTree::Position at = lease.at();
  std::vector<NodeId> nodes;
  for (size_t index = lease.path.size(); index < to; ++index) {
    NodeId node = tree.FindChild(at, lease.keys->key(index));
    if (node == kNoNode) node = tree.Add(at, lease.keys->key(index), lease.keys->check(index));
    at.node = node;
    if (index >= from) nodes.push_back(node);
  }
  for (const NodeId node : nodes) AddReference(node);
  for (size_t i = nodes.size(); i-- > 0;) lease.loading.push_front({nodes[i], Tier::kDevice});
  lease.to_start += nodes.size();
  lease.load_begin = from;
}

// When all loads have ended and there are still blocks to compute, some of these may be loaded as well. After
// loads of this hit were too late, or were not worth it, a load of some lease must have ended first.
void PrefixCache::Impl::ExtendLoads(Lease::State& lease, const Request& request) {
  const size_t first = lease.path.size() + (lease.ready % block_tokens != 0 ? 1 : 0);
  if (options.load_policy != LoadPolicy::kAuto || lease.load_begin < first + kLeastSaved) return;
  if (lease.overtaken >= 0 &&
      std::ranges::all_of(kLowerTiers, [&](Tier at) { return planner.last_end(at) <= lease.overtaken; }))
    return;
  if (lease.to_start > 0 || Missing(lease) > 0) return;
  std::vector<Tier> tiers;
  FindRun(lease, request.tokens, first, lease.load_begin, &tiers);
  if (tiers.size() != lease.load_begin - first) return;
  while (!tiers.empty() && tiers.back() == Tier::kDevice) tiers.pop_back();
  if (tiers.size() < kLeastSaved) return;
  LoadPlanner::Plan plan = planner.Decide(tiers, first, planner.running_by_tier(), request.compute);
  if (plan.is_probe || plan.compute == tiers.size()) return;
  // Only now, because it takes longer: with what other leases have still to start.
  plan = planner.Decide(tiers, first, LoadsAhead(lease, lease.load_begin), request.compute);
  if (plan.is_probe || plan.compute == tiers.size()) return;
  // The one that is computed next stays: another lease may wait for it.
  AddLoading(lease, first + std::max<size_t>(plan.compute, 1), lease.load_begin);
  StartLoads(lease);
}

// --- The loads of a lease ---

void PrefixCache::Impl::StartLoads(Lease::State& lease) {
  for (; lease.to_start > 0; --lease.to_start) {
    Lease::State::Loading& next = lease.loading[lease.to_start - 1];
    const bool missing = tree.block(next.node, Tier::kDevice) == kNoBlock && !IsLoading(next.node);
    const bool to_load = missing && HasKv(next.node);
    if (to_load && !StartLoad(next.node, BesideLoaded(lease, lease.to_start - 1)))
      return;  // no transfer or no block is free
    if (const auto load = loads.find(next.node); load != loads.end())
      next.from = running.at(load->second).from;
  }
}

// Returns how many blocks at the front of `loading` reach to the last one that is not on the device.
size_t PrefixCache::Impl::Missing(const Lease::State& lease) const {
  size_t missing = lease.loading.size();
  while (missing > 0 && tree.block(lease.loading[missing - 1].node, Tier::kDevice) != kNoBlock) --missing;
  return missing;
}

std::vector<Tier> PrefixCache::Impl::MissingTiers(const Lease::State& lease) const {
  std::vector<Tier> missing(Missing(lease), Tier::kDevice);
  for (size_t i = 0; i < missing.size(); ++i) {
    const NodeId node = lease.loading[i].node;
    if (tree.block(node, Tier::kDevice) != kNoBlock) continue;
    const auto load = loads.find(node);
    missing[i] = load != loads.end() ? running.at(load->second).from : SourceOf(node);
  }
  return missing;
}

bool PrefixCache::Impl::WaitsForLoad(Lease::State& lease, const Request& request, Acquired* acquired) {
  Lease::State::Loading& front = lease.loading.front();
  const bool tried = lease.to_start == 0;
  // After a failed load the lease computes, unless another tier has the block.
  if (tried && !IsLoading(front.node) && !Resides(front.node, front.from) &&
      StartLoad(front.node, BesideLoaded(lease, 0)))
    front.from = running.at(loads.at(front.node)).from;
  // Spills hold transfers, too: each that ends lets a load begin.
  if (IsLoading(front.node) || (!tried && HasKv(front.node) && !running.empty())) {
    const std::vector<Tier> missing = MissingTiers(lease);
    size_t instead = missing.size();
    const bool from_another = lease.another_wait.is_on() && options.load_policy == LoadPolicy::kAuto;
    if (from_another ? MayWaitForAnother(lease, request)
                     : planner.MayWait(lease.plan, lease.decided, missing, lease.load_begin, request.compute,
                                       &instead)) {
      claims.EndAll(&lease.claimant);  // of blocks that were to be computed and have been loaded
      return true;
    }
    // A probe is no promise.
    if (lease.overtaken < 0 && !lease.plan.is_probe)
      CountDecision(missing.front(), LoadDecision::kOvertaken, acquired);
    lease.overtaken = planner.now();
    ComputeInstead(lease, instead);
    return false;
  }
  const size_t missing = Missing(lease);
  size_t failed = lease.to_start;
  while (failed < missing && tree.block(lease.loading[failed].node, Tier::kDevice) == kNoBlock &&
         !IsLoading(lease.loading[failed].node))
    ++failed;
  ComputeInstead(lease, std::max<size_t>(failed, 1));
  return false;
}

void PrefixCache::Impl::ComputeInstead(Lease::State& lease, size_t blocks) {
  lease.load_begin += blocks;
  lease.to_start -= std::min(lease.to_start, blocks);
  for (; blocks > 0; --blocks) {
    DropReference(lease.loading.front().node);
    lease.loading.pop_front();
  }
}

size_t PrefixCache::Impl::ClaimPart(Lease::State& lease) {
  RadixTree::Position at = lease.at();
  bool in_tree = true;  // all are, if anything is loaded behind them
  size_t index = lease.path.size();
  for (; index < lease.load_begin; ++index) {
    const BlockKey& key = lease.keys->key(index);
    const NodeId node = in_tree ? tree.FindChild(at, key) : kNoNode;
    in_tree = node != kNoNode;
    if (in_tree) at.node = node;
    // A block that is on the device has come meanwhile.
    const bool computes = (!in_tree || tree.block(node, Tier::kDevice) == kNoBlock) &&
                          (claims.TryClaim(key, &lease.claimant) || claims.Find(key) == &lease.claimant);
    // A block of which a part is computed is completed.
    if (!computes && lease.ready <= static_cast<int>(index) * block_tokens) break;
  }
  return index;
}

void PrefixCache::Impl::DropLoading(Lease::State& lease) {
  for (; !lease.loading.empty(); lease.loading.pop_back()) DropReference(lease.loading.back().node);
  lease.to_start = 0;
}

// --- Transfers to the device ---

// The last block of a prefix is loaded first. Where it begins a group, it leaves room for those before it,
// and what is computed behind the prefix goes on in the group.
BlockWish PrefixCache::Impl::BesideLoaded(const Lease::State& lease, size_t i) const {
  BlockWish wish{.place = static_cast<int>((lease.load_begin + i) % FreeBlocks::kGroup)};
  if (i + 1 == lease.loading.size()) return wish;
  const NodeId next = lease.loading[i + 1].node;
  const auto load = loads.find(next);
  wish.next = load != loads.end() ? running.at(load->second).to_block : tree.block(next, Tier::kDevice);
  return wish;
}

// Starts to bring the KV of a node to the device. Returns false when no tier has it, when too many transfers
// run, or when there is no block for it.
bool PrefixCache::Impl::StartLoad(NodeId node, const BlockWish& wish) {
  if (running.size() >= options.max_transfers || loads.size() >= most_loads) return false;
  // Decided once: other threads change what the remote tier is known to have.
  const std::optional<Tier> from =
      tree.block(node, Tier::kHost) != kNoBlock ? std::optional(Tier::kHost) : RecordTier(tree.key(node));
  if (!from) return false;
  AddReference(node);  // so that it stays while a block is evicted
  const std::optional<BlockId> block = TakeBlock(Tier::kDevice, TenantOf(node), wish);
  if (block) StartTransfer(node, *from, Tier::kDevice, *block);
  DropReference(node);
  return block.has_value();
}

void PrefixCache::Impl::EndLoad(const Running& load, const FinishedTransfer& finished) {
  const NodeId node = load.node;
  TransferResult result = finished.result;
  if (result == TransferResult::kOk && HasRecords(load.from)) result = CheckRecord(node, finished);
  loads.erase(node);
  ++stats.loads[static_cast<size_t>(result)];
  if (result == TransferResult::kOk && load.from == Tier::kHost)
    tier(Tier::kHost).eviction.Hit(node, UseOf(node));
  // A lease may have computed and committed the block meanwhile.
  if (result == TransferResult::kOk && tree.block(node, Tier::kDevice) == kNoBlock && !IsPurged(node)) {
    if (HasRecords(load.from)) budget.Loaded();
    if (load.from == Tier::kDisk) TellOnDisk(node);
    AdmitBlock(node, Tier::kDevice, load.to_block);
  } else {
    pool(Tier::kDevice).Discard(load.to_block);
  }
  if (result != TransferResult::kOk) LoseSource(load, result);
  DropReference(node);
}

// A copy that is missing or damaged is lost. After a load that failed it is not: a later one may succeed.
void PrefixCache::Impl::LoseSource(const Running& load, TransferResult result) {
  if (result == TransferResult::kFailed) return;
  MissReason reason = MissReason::kCorrupt;
  if (result == TransferResult::kMissing) {
    reason = load.from == Tier::kRemote ? MissReason::kEvictedRemote : MissReason::kEvictedDisk;
    // The store has told more.
    const std::optional<LossLog::Loss> loss = losses.Find(tree.key(load.node));
    if (load.from == Tier::kDisk && loss && loss->reason == MissReason::kExpired) reason = loss->reason;
  }
  if (load.from == Tier::kHost) {
    if (!spills.contains(load.node)) RemoveBlock(load.node, Tier::kHost, reason);  // else it is being read
  } else {
    if (load.from == Tier::kDisk) TellRemoved(load.node, Tier::kDisk);
    LoseKv(load.node, reason);
  }
}

// Returns kOk when the tokens of a record are those of the node, which knows them from now on. Otherwise the
// record is dropped: it would hide that the block is not on disk.
TransferResult PrefixCache::Impl::CheckRecord(NodeId node, const FinishedTransfer& finished) {
  if (finished.tokens.size() != static_cast<size_t>(block_tokens)) {
    port->Drop(tree.key(node));
    return TransferResult::kCorrupt;
  }
  if (tree.check(node) != ChildCheck(tree.parent_check(node), finished.tokens) ||
      !tree.Matches(node, tree.check(node), finished.tokens)) {
    ++stats.key_collisions;
    port->Drop(tree.key(node));
    return TransferResult::kCorrupt;
  }
  KnowTokens(node, finished.tokens);
  return TransferResult::kOk;
}

}  // namespace prefixd
