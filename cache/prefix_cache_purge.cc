// Purges and pins: what operators do to the cache.
//
// A purge leaves no trace of a node: no ghost, no history, no loss. Of nodes that had left the tree before,
// the log of losses keeps a part of a hash, unless all is purged. What is referred to when the purge meets it
// is marked as purged. It goes with its last reference, which comes, because nobody gets another one: a lease
// that meets such a node is detached, as after a key collision, and those that hold one are so at once. Their
// claims end little by little; until then others may wait for blocks that do not come.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

// In nodes that are looked at: of a node that is taken out, of a child that is found, of a claim that ends,
// and of a node that is pinned.
constexpr uint32_t kPurgeCost = 32, kChildCost = 4, kClaimCost = 4, kPinCost = 32;
// Of a node on a path: it lies anywhere in memory.
constexpr uint32_t kPathCost = 2;

}  // namespace

bool PrefixCache::Impl::IsPurging(const BlockKey& root) const {
  if (!purge) return false;
  const PurgeScope& scope = purge->scope;
  return scope.kind == PurgeScope::Kind::kAll ||
         (scope.kind == PurgeScope::Kind::kTenant && root.high == scope.tenant);
}

bool PrefixCache::Impl::IsInTree(NodeId node, const BlockKey& key) const {
  return tree.Contains(node) && tree.key(node) == key;
}

void PrefixCache::Impl::SetPurged(NodeId node, bool is_purged) {
  if (std::exchange(tree.facts(node).purged, is_purged) == is_purged) return;
  purged_nodes += is_purged ? 1 : -1;
}

bool PrefixCache::Impl::IsHeldByPurge(NodeId node) const {
  return purge && purge->start != kNoNode &&
         (node == purge->start || (node == purge->scope.node && tree.key(node) == purge->scope.key));
}

// What the lease has on its path stays there until its end.
void PrefixCache::Impl::DetachPurged(Lease::State& lease) {
  lease.detached = true;
  if (!lease.claimant.keys.empty()) purge->claimants.push_back(&lease);
  EndRemote(lease, RemoteEnd::kOver);
  lease.limited = false;  // so that it notes no tail any more
  lease.tail.clear();
}

bool PrefixCache::Impl::BeginPurge(const PurgeScope& scope) {
  PREFIXD_CHECK(!purge) << "another purge is under way";
  const bool of_prefix = scope.kind == PurgeScope::Kind::kPrefix;
  if (of_prefix && !IsInTree(scope.node, scope.key)) return false;
  purge = ActivePurge{.scope = scope, .next = tree.end()};
  if (of_prefix) {
    purge->start = scope.node;
    DetachBelow(scope.node);
    return true;
  }
  for (Lease::State* lease : leases)
    if (IsPurging(lease->keys->root())) DetachPurged(*lease);
  return true;
}

// Marks the node, so that nobody takes it, and detaches the leases that have.
void PrefixCache::Impl::DetachBelow(NodeId node) {
  SetPurged(node, true);
  const uint32_t depth = tree.depth(node);
  for (Lease::State* lease : leases) {
    const bool holds = lease->path.size() > depth && lease->path[depth] == node;
    if (holds && !lease->detached) DetachPurged(*lease);
  }
}

// From the last block of the prefix towards the root, to the first node that goes. The last block is marked,
// so it stays in the tree, and what precedes it as well.
uint32_t PrefixCache::Impl::FindStart(uint32_t most_nodes) {
  uint32_t seen = 0;
  while (seen < most_nodes) {
    const NodeId start = purge->start, parent = tree.parent(start);
    seen += kPathCost;
    if (parent != kNoNode && tree.only_child(parent) == start &&
        tree.facts(parent).hits == tree.facts(start).hits) {
      purge->start = parent;
      continue;
    }
    DetachBelow(start);
    purge->nodes.push_back(start);
    purge->names = {.root = tree.root_key(start), .keys = {tree.key(start)}};
    break;
  }
  return seen;
}

// Nodes go after those that continue them, as far as their numbers tell: otherwise the last one would take
// all that it continues out of the tree at once.
bool PrefixCache::Impl::ContinuePurge(uint32_t most_nodes) {
  PREFIXD_CHECK(purge) << "no purge is under way";
  const bool of_prefix = purge->scope.kind == PurgeScope::Kind::kPrefix;
  uint32_t seen = of_prefix && purge->names.keys.empty() ? FindStart(most_nodes) : 0;
  if (of_prefix && purge->names.keys.empty()) return false;
  if (seen < most_nodes) seen += EndClaims(most_nodes - seen);
  if (!purge->claimants.empty()) return false;
  if (!of_prefix) {
    while (purge->next > 0 && seen < most_nodes) {
      const NodeId node = --purge->next;
      seen += tree.Contains(node) && IsPurging(tree.root_key(node)) ? PurgeOrMark(node) : 1;
    }
    return purge->next == 0;
  }
  std::deque<NodeId>& nodes = purge->nodes;
  while (purge->listed < nodes.size() && seen < most_nodes) seen += ListChildren(most_nodes - seen);
  if (purge->listed < nodes.size()) return false;
  while (!nodes.empty() && seen < most_nodes) {
    const NodeId node = nodes.back();
    nodes.pop_back();
    seen += IsInTree(node, purge->names.keys[nodes.size()]) ? PurgeOrMark(node) : 1;
  }
  return nodes.empty();
}

uint32_t PrefixCache::Impl::EndClaims(uint32_t most) {
  uint32_t seen = 0;
  while (!purge->claimants.empty() && seen < most) {
    const size_t room = 1 + (most - seen) / kClaimCost;
    const size_t ended = claims.EndSome(&purge->claimants.back()->claimant, room);
    if (ended < room) purge->claimants.pop_back();
    seen += 1 + kClaimCost * static_cast<uint32_t>(ended);
  }
  return seen;
}

uint32_t PrefixCache::Impl::ListChildren(uint32_t most_nodes) {
  const NodeId node = purge->nodes[purge->listed];
  bool all = true;
  std::vector<NodeId> children;
  if (IsInTree(node, purge->names.keys[purge->listed]))
    all = tree.ChildrenAfter(node, &purge->last_child, 1 + most_nodes / kChildCost, &children);
  for (const NodeId child : children) {
    purge->nodes.push_back(child);
    purge->names.keys.push_back(tree.key(child));
  }
  if (all) {
    ++purge->listed;
    purge->last_child.reset();
  }
  return 1 + kChildCost * static_cast<uint32_t>(children.size());
}

PrefixCache::Purged PrefixCache::Impl::EndPurge() {
  PREFIXD_CHECK(purge) << "no purge is under way";
  if (purge->start != kNoNode) {
    for (const NodeId node : {purge->scope.node, purge->start}) {  // the last one first
      if (!tree.Contains(node) || !IsPurged(node) || tree.references(node) > 0) continue;
      SetPurged(node, false);
      PurgeNode(node);
    }
  }
  if (purge->scope.kind == PurgeScope::Kind::kAll) {
    TakeDrops();  // so that none comes later
    losses.Clear();
  }
  Purged result = std::move(purge->result);
  purge.reset();
  result.in_use = purged_nodes;
  return result;
}

uint32_t PrefixCache::Impl::PurgeOrMark(NodeId node) {
  if (tree.references(node) == 0) {
    if (node != purge->start) SetPurged(node, false);
    const uint32_t before = tree.size();
    PurgeNode(node);
    return kPurgeCost * std::max(before - tree.size(), uint32_t{1});
  }
  SetPurged(node, true);
  disk_kept.erase(node);
  for (const Tier at : {Tier::kDevice, Tier::kHost}) EndRetention(node, at);
  return kPurgeCost;
}

void PrefixCache::Impl::PurgeNode(NodeId node) {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    if (tree.block(node, at) == kNoBlock) continue;
    if (purge) ++purge->result.blocks[static_cast<size_t>(at)];
    TakeOut(node, at);
  }
  disk_kept.erase(node);
  hints.Forget(node);
  losses.Forget(tree.key(node));
  tree.DropTokens(node);
  if (tree.IsGhost(node)) {
    ghosts.Remove(node, tree.ghost_slot(node));
    tree.ClearGhost(node);
  }
  RemoveUnused(node);
}

// Invariant i.
void PrefixCache::Impl::CheckPurged() const {
  size_t nodes = 0;
  for (NodeId node = 0; node < tree.end(); ++node) {
    if (!tree.Contains(node) || !IsPurged(node)) continue;
    ++nodes;
    PREFIXD_CHECK(tree.references(node) > 0 || IsHeldByPurge(node))
        << "node " << node << " is to go, and nothing refers to it";
  }
  PREFIXD_CHECK(nodes == purged_nodes) << nodes << " nodes are to go, not " << purged_nodes;
  for (const Lease::State* lease : leases) {
    PREFIXD_CHECK(lease->detached ||
                  std::ranges::none_of(lease->path, [&](NodeId node) { return IsPurged(node); }))
        << "a lease adds to what is purged";
    PREFIXD_CHECK(lease->detached || !IsPurging(lease->keys->root())) << "a lease uses what is purged";
  }
}

// --- Pins ---

bool PrefixCache::Impl::MayPin(const Pinning::Place& place, const Pinning& pinning) const {
  return IsInTree(place.node, place.key) && !(pinning.pin && IsPurged(place.node));
}

// The path is listed first, from the last block on. A node stays in the tree as long as it has children, so
// the path can break only where all of it below has left.
bool PrefixCache::Impl::ListPath(Pinning* pinning, uint32_t* seen, uint32_t most_nodes) const {
  if (!std::exchange(pinning->begun, true)) pinning->next = {pinning->node, pinning->key};
  while (pinning->next && *seen < most_nodes) {
    const Pinning::Place place = *pinning->next;
    if (!MayPin(place, *pinning)) return false;
    pinning->path.push_back(place);
    const NodeId parent = tree.parent(place.node);
    pinning->next.reset();
    if (parent != kNoNode) pinning->next = {parent, tree.key(parent)};
    *seen += kPathCost;
  }
  return true;
}

void PrefixCache::Impl::PinNode(NodeId node, Pinning* pinning) {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    const auto i = static_cast<size_t>(at);
    Retention& retention = tier(at).retention;
    if (tree.block(node, at) == kNoBlock) continue;
    if (!pinning->pin) {
      if (retention.IsPinned(node)) EndRetention(node, at);
    } else if (retention.Pin(node, tree.depth(node))) {
      ++pinning->counted.blocks[i];
      UpdateCandidate(node, at);
    } else {
      ++pinning->counted.refused[i];
    }
  }
}

// From the first block on, so that what is pinned can be used.
bool PrefixCache::Impl::Pin(Pinning* pinning, uint32_t most_nodes) {
  uint32_t seen = 0;
  if (!ListPath(pinning, &seen, most_nodes)) return true;
  if (pinning->next) return false;
  Pinned& counted = pinning->counted;
  while (!pinning->path.empty()) {
    if (seen >= most_nodes) return false;
    const Pinning::Place place = pinning->path.back();
    pinning->path.pop_back();
    ++counted.prefix_blocks;
    seen += kPinCost;
    if (MayPin(place, *pinning)) PinNode(place.node, pinning);
  }
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    const auto i = static_cast<size_t>(at);
    counted.all[i] = tier(at).retention.pinned();
    counted.most[i] = tier(at).retention.most_pinned();
  }
  pinning->result = counted;
  return true;
}

}  // namespace prefixd
