// References, residency and eviction of nodes.
#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

NodeUse PrefixCache::Impl::UseOf(NodeId node) const {
  const RadixTree::Facts& facts = tree.facts(node);
  const uint32_t depth = tree.depth(node);
  return {.last_use = facts.last_use,
          .depth = depth,
          .cost = 1 + options.cost_per_depth * static_cast<float>(depth),
          .tenant = TenantOf(node),
          .hits = facts.hits,
          .admissions = facts.admissions,
          .request_class = facts.request_class};
}

// --- References ---

// Makes `node` a candidate of the tier, or none, as invariant b says.
void PrefixCache::Impl::UpdateCandidate(NodeId node, Tier at) {
  if (node == kNoNode) return;
  const bool evictable =
      tree.block(node, at) != kNoBlock && tree.references(node) == 0 && !tree.HasCachedChild(node, at);
  Retention& retention = tier(at).retention;
  const bool kept = retention.Find(node) != nullptr;
  if (!(evictable && kept) && retention.IsCandidate(node)) retention.RemoveCandidate(node);
  if (evictable && kept && !retention.IsCandidate(node)) retention.AddCandidate(node);
  const bool low = evictable && !kept && hints.IsLow(node);
  if (!low && hints.IsCandidate(at, node)) hints.RemoveCandidate(at, node);
  if (low && !hints.IsCandidate(at, node)) hints.AddCandidate(at, node, TenantOf(node));
  const bool candidate = evictable && !kept && !low;
  TenantEviction& eviction = tier(at).eviction;
  if (candidate == eviction.IsCandidate(node)) return;
  if (candidate) {
    NodeUse use = UseOf(node);
    use.copied =
        (at == Tier::kDevice && tree.block(node, Tier::kHost) != kNoBlock) || DiskHas(tree.key(node));
    eviction.AddCandidate(node, use);
  } else {
    eviction.RemoveCandidate(node);
  }
}

void PrefixCache::Impl::AddReference(NodeId node) {
  if (!tree.AddReference(node)) return;
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    if (tree.block(node, at) == kNoBlock) continue;
    SetLeased(node, at, true);
    UpdateCandidate(node, at);
    UpdateCandidate(tree.parent(node), at);
  }
}

void PrefixCache::Impl::DropReference(NodeId node) {
  if (!tree.DropReference(node)) return;
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    if (tree.block(node, at) == kNoBlock) continue;
    SetLeased(node, at, false);
    UpdateCandidate(node, at);
    UpdateCandidate(tree.parent(node), at);
  }
  if (IsPurged(node)) {
    if (!IsHeldByPurge(node)) SetPurged(node, false);
    PurgeNode(node);
  } else {
    RemoveUnused(node);
  }
}

void PrefixCache::Impl::GiveBack(std::span<const NodeId> nodes, uint8_t request_class) {
  times.Note(++now, seconds);
  // The first blocks of a prefix are spilled first: without them, the later ones cannot be reached.
  const bool may_spill = HasLowerTier() && budget.MaySpill(spill_queue.size());
  const SpillTime time = may_spill ? SpillTime::kBesideSteps : SpillTime::kIdle;
  for (const NodeId node : nodes) QueueSpill(node, time);
  // The last node first: a node that is removed has no children then.
  for (size_t i = nodes.size(); i-- > 0;) {
    RadixTree::Facts& facts = tree.facts(nodes[i]);
    facts.last_use = now;
    facts.request_class = request_class;
    DropReference(nodes[i]);
  }
}

// --- Residency ---

// Adds the time since the last use of a node, which is not known of one that no lease has given back.
void PrefixCache::Impl::AddAge(NodeId node, LatencyHistogram* ages) const {
  const std::optional<double> used = times.Of(tree.facts(node).last_use);
  if (used) ages->Add(seconds - *used);
}

void PrefixCache::Impl::MakeRoom(Tier at, uint32_t tenant, size_t blocks) {
  while (pool(at).free_blocks() < blocks) {
    const std::optional<NodeId> victim = VictimFor(tenant, at);
    if (!victim) return;
    EvictBlock(*victim, at);
  }
}

std::optional<BlockId> PrefixCache::Impl::TakeBlock(Tier at, uint32_t tenant, const BlockWish& wish) {
  MakeRoom(at, tenant, 1);
  return pool(at).Allocate(wish);
}

void PrefixCache::Impl::EvictBlock(NodeId node, Tier at) {
  if (tier(at).retention.Find(node) != nullptr) ++stats.retention_evicted[static_cast<size_t>(at)];
  ++stats.evicted_blocks[static_cast<size_t>(at)];
  AddAge(node, &stats.age_at_eviction[static_cast<size_t>(at)]);
  RemoveBlock(node, at, at == Tier::kDevice ? MissReason::kEvictedDevice : MissReason::kEvictedHost);
}

void PrefixCache::Impl::AdmitBlock(NodeId node, Tier at, BlockId block) {
  PREFIXD_CHECK(tree.references(node) > 0) << "node " << node;  // so it is no candidate yet
  pool(at).Publish(block);
  const bool arrives = !tree.InMemory(node);
  if (arrives) CountUp(&tree.facts(node).admissions);
  tree.SetBlock(node, at, block);
  TellStored(node, at);
  if (at == Tier::kDevice) claims.End(tree.key(node));  // nobody needs to compute it any more
  tier(at).eviction.Insert(node, UseOf(node));
  KeepInTier(node, at);
  if (arrives) KeepAsOnDisk(node);
}

void PrefixCache::Impl::RemoveBlock(NodeId node, Tier at, MissReason reason) {
  TakeOut(node, at);
  LoseKv(node, reason);
}

void PrefixCache::Impl::TakeOut(NodeId node, Tier at) {
  const BlockId block = tree.block(node, at);
  TellRemoved(node, at);
  if (tree.references(node) > 0) SetLeased(node, at, false);
  tier(at).eviction.Count(TenantOf(node), 0, -1);
  pool(at).Evict(block);
  tree.ClearBlock(node, at);
  UpdateCandidate(node, at);
  UpdateCandidate(tree.parent(node), at);
  tier(at).eviction.Remove(node, UseOf(node));
  tier(at).retention.Forget(node);
}

void PrefixCache::Impl::TellStored(NodeId node, Tier at) const {
  if (options.residency == nullptr || IsPartial(node)) return;
  options.residency->OnStored({.key = tree.key(node),
                               .parent = tree.parent_key(node),
                               .root = tree.root_key(node),
                               .tokens = tree.tokens(node)},
                              at);
}

void PrefixCache::Impl::TellRemoved(NodeId node, Tier at) const {
  if (options.residency == nullptr || IsPartial(node)) return;
  options.residency->OnRemoved(tree.root_key(node), tree.key(node), at);
}

void PrefixCache::Impl::TellOnDisk(NodeId node) const {
  TellStored(node, Tier::kDisk);
  // It may have been dropped since, and the drop been taken before.
  if (!DiskHas(tree.key(node))) TellRemoved(node, Tier::kDisk);
}

// Called after a node has lost its KV in one tier. With KV on the disk alone it is a ghost as well, so that
// the tree is bounded whatever the disk has. When the disk loses it later, that is noted in its turn.
void PrefixCache::Impl::LoseKv(NodeId node, MissReason reason) {
  if (tree.InMemory(node)) return;
  disk_kept.erase(node);
  hints.Lost(node);
  tree.DropTokens(node);
  if (OnRemote(tree.key(node))) reason = MissReason::kEvictedRemote;
  losses.Add(tree.key(node), reason, seconds);
  if (tree.IsGhost(node)) return;
  const GhostIndex::Added added = ghosts.Add(node);
  if (added.forgotten != node) tree.SetGhost(node, added.slot);
  if (added.forgotten == kNoNode) return;
  if (added.forgotten != node) tree.ClearGhost(added.forgotten);
  RemoveUnused(added.forgotten);
}

// Called before a node gets KV in memory.
void PrefixCache::Impl::KnowTokens(NodeId node, std::span<const TokenId> tokens) {
  if (tree.HasTokens(node)) return;
  if (tree.IsGhost(node)) {
    ghosts.Remove(node, tree.ghost_slot(node));
    tree.ClearGhost(node);
  }
  tree.SetTokens(node, tokens);
}

// Removes `node` from the tree if nothing needs it, then its parent, and so on.
void PrefixCache::Impl::RemoveUnused(NodeId node) {
  while (node != kNoNode && tree.IsLeaf(node) && !tree.InMemory(node) && !tree.IsGhost(node) &&
         tree.references(node) == 0 && !IsPurged(node)) {
    const NodeId parent = tree.parent(node);
    tree.Remove(node);
    node = parent;
  }
}

}  // namespace prefixd
