// What an operator sees of the cache: where a prompt left it, and which prefixes it has.
#include <algorithm>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

PrefixCache::MissPlace PrefixCache::PlaceOfMiss(const Lease& lease, std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(lease.open() && lease.state_->computes) << "PlaceOfMiss before Acquire has said kReady";
  const Lease::State& state = *lease.state_;
  PREFIXD_CHECK(tokens.size() > static_cast<size_t>(state.ready)) << tokens.size() << ", " << state.ready;
  const Impl& cache = *impl_;
  MissPlace place{.token = state.ready};
  const auto index = static_cast<size_t>(state.ready / cache.block_tokens);
  if (index >= state.keys->size()) return place;
  place.key = state.keys->key(index);
  if (state.detached) return place;  // its blocks are no part of the tree
  const std::optional<LossLog::Loss> loss = cache.losses.Find(place.key);
  place.resides[static_cast<size_t>(Tier::kDisk)] = cache.DiskHas(place.key);
  place.resides[static_cast<size_t>(Tier::kRemote)] = cache.OnRemote(place.key);
  const NodeId node = cache.tree.FindChild(state.at(), place.key);
  const bool is_block = node != kNoNode && cache.IsBlock(node, *state.keys, tokens, index);
  if (loss && !(is_block && cache.tree.InMemory(node))) place.lost = loss->seconds;
  if (!is_block) return place;
  for (const Tier at : {Tier::kDevice, Tier::kHost})
    place.resides[static_cast<size_t>(at)] = cache.tree.block(node, at) != kNoBlock;
  place.last_use = cache.times.Of(cache.tree.facts(node).last_use);
  return place;
}

bool PrefixCache::Scan(PrefixScan* scan, uint32_t most_nodes) const {
  scan->BeginCall(most_nodes);
  if (scan->on_paths()) return impl_->ScanPaths(scan) && impl_->ScanRest(scan);
  impl_->ScanNodes(scan);
  if (scan->next < impl_->tree.end()) return false;
  scan->BeginPaths();
  return false;
}

void PrefixCache::Impl::ScanNodes(PrefixScan* scan) const {
  for (; scan->next < tree.end() && scan->may_go_on(); ++scan->next) {
    scan->Spend(1);
    const NodeId node = scan->next;
    if (!tree.Contains(node)) continue;
    const uint32_t hits = tree.facts(node).hits;
    const NodeId child = tree.only_child(node);
    if (hits == 0 || (child != kNoNode && tree.facts(child).hits >= hits)) continue;
    PrefixRow row{.key = tree.key(node),
                  .root = tree.root_key(node),
                  .tokens = (tree.depth(node) + 1) * static_cast<uint32_t>(block_tokens),
                  .hits = hits,
                  .branches = child == kNoNode && !tree.IsLeaf(node),
                  .node = node};
    ++scan->prefixes;
    if (!scan->Wants(row.worth())) continue;
    scan->Spend(PrefixScan::kRowCost - 1);
    for (const Tier at : {Tier::kDevice, Tier::kHost, Tier::kDisk, Tier::kRemote})
      row.resides[static_cast<size_t>(at)] = Resides(node, at);
    row.last_use = times.Of(tree.facts(node).last_use);
    row.pinned = tier(Tier::kDevice).retention.IsPinned(node) || tier(Tier::kHost).retention.IsPinned(node);
    if (std::ranges::find(row.resides, true) != row.resides.end()) scan->Add(row);
  }
}

bool PrefixCache::Impl::ScanPaths(PrefixScan* scan) const {
  for (; scan->may_go_on() && scan->place().row != nullptr; scan->Spend(PrefixScan::kRowCost)) {
    PrefixScan::Place& place = scan->place();
    PrefixRow& row = *place.row;
    if (!tree.Contains(place.node) || tree.key(place.node) != place.key) {
      scan->NextPath();  // the node has left the tree since
      continue;
    }
    scan->AddOwn(place.node);
    for (const Tier at : {Tier::kDevice, Tier::kHost, Tier::kDisk, Tier::kRemote})
      row.own_blocks_in[static_cast<size_t>(at)] += Resides(place.node, at) ? 1 : 0;
    place.node = tree.parent(place.node);
    if (place.node != kNoNode) {
      place.key = tree.key(place.node);
      row.parent = scan->RowAt(place.node, place.key);
    }
    if (place.node == kNoNode || row.parent >= 0) scan->NextPath();
  }
  return scan->place().row == nullptr;
}

// From a node it goes up to the first one of which is known what its children continue, and back. So a node
// is looked at once, and twice more when one below it comes first.
bool PrefixCache::Impl::ScanRest(PrefixScan* scan) const {
  std::vector<NodeId>& path = scan->rest_path;
  for (; scan->may_go_on(); scan->Spend(1)) {
    if (path.empty()) {
      if (scan->next_rest >= tree.end()) return true;
      path.push_back(scan->next_rest++);
    }
    const NodeId node = path.back();
    if (!tree.Contains(node) || scan->RowAbove(node)) {
      path.pop_back();
      continue;
    }
    const NodeId parent = tree.parent(node);
    const std::optional<int> row = parent == kNoNode ? std::optional(-1) : scan->RowAbove(parent);
    if (row) {
      scan->AddRest(node, *row, tree.root_key(node).high);
      path.pop_back();
    } else {
      path.push_back(parent);
    }
  }
  return false;
}

bool PrefixCache::Report(NodeId* next, uint32_t most_nodes) const {
  constexpr uint32_t kTellCost = 8;
  const Impl& cache = *impl_;
  const RadixTree& tree = cache.tree;
  for (uint32_t seen = 0; *next < tree.end() && seen < most_nodes; ++*next, ++seen) {
    if (!tree.Contains(*next) || !tree.InMemory(*next)) continue;
    seen += kTellCost - 1;
    for (const Tier at : {Tier::kDevice, Tier::kHost, Tier::kDisk})
      if (cache.Resides(*next, at)) cache.TellStored(*next, at);
  }
  return *next >= tree.end();
}

}  // namespace prefixd
