#include "cache/prefix_cache_impl.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace prefixd {
namespace {

// After so many blocks in a row of which nothing is known, nothing is looked for: a new prompt of many blocks
// costs few looks.
constexpr size_t kMostNeverSeen = 64;

}  // namespace

size_t MostKept(const PrefixCache::Options& options, uint32_t blocks) {
  return size_t{blocks} * static_cast<size_t>(options.retained_percent) / 100;
}

PrefixCache::Impl::Impl(Options options_in, DeviceCopier* copier_in, TransferPort* port_in)
    : options(std::move(options_in)),
      block_tokens(options.block_tokens),
      most_loads(std::min(options.max_transfers, std::max(4u, options.blocks / 4))),
      copier(copier_in),
      port(port_in),
      tree(block_tokens, size_t{options.blocks} + options.host_blocks),
      ghosts(kGhostsPerBlock * options.blocks),
      losses(MostLosses(options)),
      planner({.policy = options.load_policy,
               .block_tokens = options.block_tokens,
               .block_bytes = options.block_bytes,
               .block_seconds = options.block_seconds}),
      budget(options.spills_slow_steps),
      hints(MostHints(options), &stats.hints) {
  PREFIXD_CHECK(block_tokens > 0 && std::has_single_bit(static_cast<unsigned>(block_tokens))) << block_tokens;
  PREFIXD_CHECK(copier != nullptr && options.key != nullptr && options.max_transfers > 0);
  PREFIXD_CHECK(port != nullptr || (options.host_blocks == 0 && !options.disk && !options.remote))
      << "lower tiers need a port";
  const uint32_t sizes[kPoolTiers] = {options.blocks, options.host_blocks};
  for (int i = 0; i < kPoolTiers; ++i) {
    const std::string_view name = options.eviction.empty() ? kDefaultEviction : options.eviction;
    auto policy = MakeEvictionPolicy(name, {.capacity = std::max(sizes[i], 1u)});
    PREFIXD_CHECK(policy != nullptr) << "there is no eviction policy \"" << name << '"';
    policy->SetCopyCost(kCopyCost);
    tiers[i] = std::make_unique<PoolTier>(sizes[i], std::move(policy), MostKept(options, sizes[i]));
  }
}

std::span<const TokenId> PrefixCache::Impl::TokensOfBlock(std::span<const TokenId> tokens,
                                                          size_t index) const {
  return tokens.subspan(index * static_cast<size_t>(block_tokens), static_cast<size_t>(block_tokens));
}

// --- The block table ---

void PrefixCache::Impl::Place(Lease::State& lease, BlockId block, TableInUse in_use) {
  const size_t index = lease.path.size();
  if (index >= lease.blocks.size()) {
    lease.blocks.push_back(block);
    return;
  }
  if (in_use == TableInUse::kByStep) {
    lease.replaced.push_back(lease.blocks[index]);
  } else {
    pool(Tier::kDevice).Discard(lease.blocks[index]);
  }
  lease.blocks[index] = block;
}

void PrefixCache::Impl::FreeReplaced(Lease::State& lease) {
  for (const BlockId block : lease.replaced) pool(Tier::kDevice).Discard(block);
  lease.replaced.clear();
}

void PrefixCache::Impl::Detach(Lease::State& lease) {
  lease.detached = true;
  claims.EndAll(&lease.claimant);
  EndRemote(lease, RemoteEnd::kOver);
}

BlockWish PrefixCache::Impl::AfterTable(const Lease::State& lease) {
  return {.previous = lease.blocks.empty() ? kNoBlock : lease.blocks.back(), .place = 0};
}

bool PrefixCache::Impl::Reserve(Lease::State& lease, int tokens) {
  const size_t wanted = (static_cast<size_t>(std::max(tokens, 0)) + block_tokens - 1) / block_tokens;
  if (wanted <= lease.blocks.size()) return true;
  const uint32_t tenant = TenantOf(lease);
  if (wanted - lease.blocks.size() > RoomFor(tenant, Tier::kDevice)) return false;
  // First the room for all: what is evicted together lies together, and so will these blocks.
  MakeRoom(Tier::kDevice, tenant, wanted - lease.blocks.size());
  while (lease.blocks.size() < wanted) {
    const std::optional<BlockId> block = TakeBlock(Tier::kDevice, tenant, AfterTable(lease));
    PREFIXD_CHECK(block) << "a cached block cannot be evicted";
    lease.blocks.push_back(*block);
  }
  return true;
}

// --- Commit, Release ---

std::vector<PrefixCache::Run> PrefixCache::Impl::Commit(Lease::State& lease, std::span<const TokenId> tokens,
                                                        TableInUse in_use) {
  PREFIXD_CHECK(lease.computes) << "Commit before Acquire has said kReady";
  PREFIXD_CHECK(lease.settled || tokens.size() <= static_cast<size_t>(lease.until))
      << tokens.size() << " tokens, and the lease computes up to " << lease.until;
  PREFIXD_CHECK(!lease.uncertain_copy) << "Commit before EndStep";
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  PREFIXD_CHECK(tokens.size() <= lease.blocks.size() * block_tokens)
      << tokens.size() << " tokens were not reserved";
  FreeReplaced(lease);
  if (!lease.detached) lease.keys->Extend(tokens);
  std::vector<Run> runs;
  while (!lease.detached && (lease.path.size() + 1) * block_tokens <= tokens.size()) {
    const int end = static_cast<int>(lease.path.size() + 1) * block_tokens;
    if (end > lease.use.write_limit) {
      Detach(lease);
      lease.limited = true;
      break;
    }
    const int written = CommitBlock(lease, TokensOfBlock(tokens, lease.path.size()), in_use);
    if (written == 0) continue;
    stats.written_tokens += static_cast<uint64_t>(written);
    if (!runs.empty() && runs.back().end == end - written) {
      runs.back().end = end;
    } else {
      runs.push_back({end - written, end});
    }
  }
  if (lease.path.size() >= lease.asked_end) EndRemote(lease, RemoteEnd::kOver);
  lease.ready = static_cast<int>(tokens.size());
  NoteTail(lease, tokens);
  EvictSurplus();
  return runs;
}

int PrefixCache::Impl::ReusableTokens(const Lease::State& lease, NodeId node,
                                      std::span<const TokenId> content) const {
  if (node != kNoNode && HasKv(node)) return block_tokens;
  const int partial = tree.LongestPartial(lease.at(), content).tokens;
  return partial < options.min_copy_tokens ? 0 : partial;
}

int PrefixCache::Impl::CommitBlock(Lease::State& lease, std::span<const TokenId> content, TableInUse in_use) {
  const size_t index = lease.path.size();
  const BlockKey& key = lease.keys->key(index);
  NodeId node = tree.FindChild(lease.at(), key);
  if (node == kNoNode) {
    node = tree.Add(lease.at(), key, lease.keys->check(index));
  } else if (!tree.Matches(node, lease.keys->check(index), content)) {
    ++stats.key_collisions;
    Detach(lease);
    return 0;
  }
  if (IsPurged(node)) {
    Detach(lease);
    return 0;
  }
  const int reusable = ReusableTokens(lease, node, content);
  KnowTokens(node, content);
  AddReference(node);
  EndHint(node);
  if (const BlockId present = tree.block(node, Tier::kDevice); present != kNoBlock) {
    Place(lease, present, in_use);
    ++stats.deduplicated_blocks;
  } else {
    // What has a record was computed because that is faster: the disk saves nothing there.
    if (!tree.InMemory(node)) budget.Computed(tree.facts(node).admissions > 0 && !HasRecord(key));
    AdmitBlock(node, Tier::kDevice, lease.blocks[index]);
    ++stats.committed_blocks;
  }
  lease.path.push_back(node);
  KeepLast(lease);
  if (options.remote && port->IsWantedOnRemote(lease.asker)) QueueRemote(node);
  return block_tokens - reusable;
}

void PrefixCache::Impl::Release(Lease::State& lease, bool is_over) {
  claims.EndAll(&lease.claimant);
  EndRemote(lease, RemoteEnd::kOver);
  if (purge) std::erase(purge->claimants, &lease);
  KeepTail(lease);
  CountKept(lease);
  if (is_over) ApplyHint(lease);
  for (size_t i = lease.path.size(); i < lease.blocks.size(); ++i) {
    pool(Tier::kDevice).Discard(lease.blocks[i]);
  }
  FreeReplaced(lease);
  std::erase(uncertain, &lease);
  const size_t all_blocks = static_cast<size_t>(lease.ready / block_tokens);
  const uint8_t request_class =
      RequestClass(static_cast<size_t>(lease.hit_blocks), all_blocks - static_cast<size_t>(lease.hit_blocks));
  for (const Lease::State::Loading& loading : lease.loading) lease.path.push_back(loading.node);
  GiveBack(lease.path, request_class);
  tree.CloseRoot(lease.root);
  leases.erase(&lease);
  EvictSurplus();
}

// --- ExplainMisses, CountSharedBlocks ---

MissReason PrefixCache::Impl::ReasonOfLoss(const BlockKey& key) {
  TakeDrops();  // what the disk does not have was dropped before
  const std::optional<LossLog::Loss> loss = losses.Find(key);
  return loss ? loss->reason : MissReason::kNeverSeen;
}

std::vector<PrefixCache::MissRun> PrefixCache::Impl::ExplainMisses(const Lease::State& lease,
                                                                   std::span<const TokenId> tokens) {
  PREFIXD_CHECK(lease.computes) << "ExplainMisses before Acquire has said kReady";
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  std::vector<MissRun> runs;
  const auto add = [&](MissReason reason, int count) {
    if (count <= 0) return;
    if (runs.empty() || runs.back().reason != reason) runs.push_back({reason, 0});
    runs.back().tokens += count;
  };
  const int total = static_cast<int>(tokens.size());
  if (!options.reuse || !lease.reads) {
    add(MissReason::kDisabled, total - lease.ready);
    return runs;
  }
  if (!lease.detached) lease.keys->Extend(tokens);
  RadixTree::Position at = lease.at();
  bool in_tree = !lease.detached;
  bool known = in_tree;   // false after a collision
  size_t never_seen = 0;  // blocks in a row
  int explained = lease.ready;
  for (size_t index = lease.path.size(); (index + 1) * block_tokens <= tokens.size(); ++index) {
    const int end = static_cast<int>(index + 1) * block_tokens;
    if (lease.detached && end <= lease.ready) continue;
    MissReason reason = MissReason::kNeverSeen;
    const BlockKey* const key = known ? &lease.keys->key(index) : nullptr;
    const NodeId node = in_tree ? tree.FindChild(at, *key) : kNoNode;
    in_tree = node != kNoNode;
    if (in_tree) at.node = node;
    if (in_tree && !IsBlock(node, *lease.keys, tokens, index)) {
      in_tree = known = false;
    } else if (in_tree && tree.block(node, Tier::kDevice) != kNoBlock) {
      // Cached, but cut off by the limit or by a missing block before it.
      reason = runs.empty() ? MissReason::kBlockTail : runs.back().reason;
    } else if (known && never_seen < kMostNeverSeen) {
      const bool somewhere = (in_tree && tree.InMemory(node)) || HasRecord(*key);
      reason = somewhere ? MissReason::kLoadSlower : ReasonOfLoss(*key);
    }
    never_seen = reason == MissReason::kNeverSeen ? never_seen + 1 : 0;
    add(reason, end - explained);
    explained = end;
  }
  add(MissReason::kBlockTail, total - explained);
  return runs;
}

int PrefixCache::Impl::CountSharedBlocks(const BlockKeys& keys, std::span<const TokenId> tokens) const {
  int shared = 0;
  if (!options.reuse) return shared;
  std::optional<RadixTree::Position> at = tree.FindRoot(keys.root());
  const size_t full_blocks = std::min(keys.size(), tokens.size() / static_cast<size_t>(block_tokens));
  for (size_t index = 0; index < full_blocks; ++index, ++shared) {
    // The ancestors of a leased node are leased, and a lease that claims a block holds the path to it. So the
    // first block that is neither leased nor claimed ends the run.
    const NodeId node = at ? tree.FindChild(*at, keys.key(index)) : kNoNode;
    if (node != kNoNode && (!IsBlock(node, keys, tokens, index) || IsPurged(node))) break;
    const bool on_device = node != kNoNode && tree.block(node, Tier::kDevice) != kNoBlock;
    if (on_device ? tree.references(node) == 0 : claims.Find(keys.key(index)) == nullptr) break;
    if (node == kNoNode) {
      at.reset();
    } else {
      at->node = node;
    }
  }
  return shared;
}

}  // namespace prefixd
