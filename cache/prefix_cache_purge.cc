// Purges and pins: what operators do to the cache.
//
// A purge leaves no trace of a node: no ghost, no history, no loss. Of nodes that had left the tree before,
// the log of losses keeps a part of a hash, unless all is purged. What is referred to when the purge meets it
// is put into `purged`. It goes with its last reference, which comes, because nobody gets another one: a
// lease that meets such a node is detached, as after a key collision, and those that hold one are so at once.
#include <algorithm>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

// In nodes that are looked at: of a node that is taken out, and of a child that is found.
constexpr uint32_t kPurgeCost = 16, kChildCost = 4;

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

// What the lease has on its path stays there until its end.
void PrefixCache::Impl::DetachPurged(Lease::State& lease) {
  Detach(lease);
  lease.limited = false;  // so that it notes no tail any more
  lease.tail.clear();
}

bool PrefixCache::Impl::BeginPurge(const PurgeScope& scope) {
  PREFIXD_CHECK(!purge) << "another purge is under way";
  const bool of_prefix = scope.kind == PurgeScope::Kind::kPrefix;
  if (of_prefix && !IsInTree(scope.node, scope.key)) return false;
  purge.emplace();
  purge->scope = scope;
  purge->next = tree.end();
  if (of_prefix) {
    NodeId start = scope.node;
    for (NodeId parent = tree.parent(start); parent != kNoNode && tree.only_child(parent) == start &&
                                             tree.facts(parent).hits == tree.facts(start).hits;
         parent = tree.parent(start))
      start = parent;
    purge->start = start;
    purge->nodes.push_back(start);
    purge->names = {.root = tree.root_key(start), .keys = {tree.key(start)}};
    purged.insert(start);
  }
  for (Lease::State* lease : leases) {
    const uint32_t depth = of_prefix ? tree.depth(purge->start) : 0;
    const bool holds = of_prefix && lease->path.size() > depth && lease->path[depth] == purge->start;
    if (holds || IsPurging(lease->keys->root())) DetachPurged(*lease);
  }
  return true;
}

// Nodes go after those that continue them, as far as their numbers tell: otherwise the last one would take
// all that it continues out of the tree at once.
bool PrefixCache::Impl::ContinuePurge(uint32_t most_nodes) {
  PREFIXD_CHECK(purge) << "no purge is under way";
  uint32_t seen = 0;
  if (purge->scope.kind != PurgeScope::Kind::kPrefix) {
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

uint32_t PrefixCache::Impl::ListChildren(uint32_t most_nodes) {
  const NodeId node = purge->nodes[purge->listed];
  const size_t begin = purge->next_child;
  bool all = true;
  std::vector<NodeId> children;
  if (IsInTree(node, purge->names.keys[purge->listed]))
    all = tree.ChildrenFrom(node, &purge->next_child, 1 + most_nodes / kChildCost, &children);
  for (const NodeId child : children) {
    purge->nodes.push_back(child);
    purge->names.keys.push_back(tree.key(child));
  }
  const size_t seen = 1 + (purge->next_child - begin) + kChildCost * children.size();
  if (all) {
    ++purge->listed;
    purge->next_child = 0;
  }
  return static_cast<uint32_t>(seen);
}

PrefixCache::Purged PrefixCache::Impl::EndPurge() {
  PREFIXD_CHECK(purge) << "no purge is under way";
  const NodeId start = purge->start;
  if (start != kNoNode && tree.references(start) == 0) {
    purged.erase(start);
    PurgeNode(start);
  }
  if (purge->scope.kind == PurgeScope::Kind::kAll) losses.Clear();
  Purged result = std::move(purge->result);
  purge.reset();
  result.in_use = purged.size();
  return result;
}

uint32_t PrefixCache::Impl::PurgeOrMark(NodeId node) {
  if (tree.references(node) == 0) {
    PurgeNode(node);
    return kPurgeCost;
  }
  purged.insert(node);
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
  for (const NodeId node : purged)
    PREFIXD_CHECK(tree.Contains(node) && (tree.references(node) > 0 || (purge && purge->start == node)))
        << "node " << node << " is to go, and nothing refers to it";
  for (const Lease::State* lease : leases) {
    PREFIXD_CHECK(lease->detached ||
                  std::ranges::none_of(lease->path, [&](NodeId node) { return IsPurged(node); }))
        << "a lease adds to what is purged";
    PREFIXD_CHECK(lease->detached || !IsPurging(lease->keys->root())) << "a lease uses what is purged";
  }
}

// --- Pins ---

// From the first block on, so that what is pinned can be used.
PrefixCache::Pinned PrefixCache::Impl::PinPath(NodeId last, bool pin) {
  std::vector<NodeId> path;
  for (NodeId node = last; node != kNoNode; node = tree.parent(node)) path.push_back(node);
  std::ranges::reverse(path);
  Pinned result{.prefix_blocks = path.size()};
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    const auto i = static_cast<size_t>(at);
    Retention& retention = tier(at).retention;
    for (const NodeId node : path) {
      if (tree.block(node, at) == kNoBlock) continue;
      if (!pin) {
        if (retention.IsPinned(node)) EndRetention(node, at);
      } else if (retention.Pin(node, tree.depth(node))) {
        ++result.blocks[i];
        UpdateCandidate(node, at);
      } else {
        ++result.refused[i];
      }
    }
    result.all[i] = retention.pinned();
    result.most[i] = retention.most_pinned();
  }
  return result;
}

std::optional<PrefixCache::Pinned> PrefixCache::Pin(NodeId node, const BlockKey& key) {
  if (!impl_->IsInTree(node, key) || impl_->IsPurged(node)) return std::nullopt;
  return impl_->PinPath(node, /*pin=*/true);
}

std::optional<PrefixCache::Pinned> PrefixCache::Unpin(NodeId node, const BlockKey& key) {
  if (!impl_->IsInTree(node, key)) return std::nullopt;
  return impl_->PinPath(node, /*pin=*/false);
}

}  // namespace prefixd
