// PrefixCache::CheckInvariants: recounts everything that the cache keeps track of. The numbers and letters
// are those of the invariants in the headers.
#include <algorithm>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

// Returns false for the key functions of tests that cause collisions. With those a claimed block and a node
// of the tree may have equal keys and still be different blocks.
bool KeysAreUnique(const KeyFunction& key) {
  using Function = BlockKey (*)(const BlockKey&, std::span<const TokenId>);
  const Function* target = key.target<Function>();
  return target != nullptr && *target == &ChildKey;
}

}  // namespace

// Invariants 2, 3, a and e. Adds the references that the lease holds, and the device blocks that it owns.
void PrefixCache::Impl::CheckLease(const Lease::State& lease, std::vector<uint32_t>* references,
                                   std::vector<uint32_t>* owners) const {
  const size_t path = lease.path.size();
  PREFIXD_CHECK(path <= lease.blocks.size());
  PREFIXD_CHECK(static_cast<size_t>(lease.ready) <= lease.blocks.size() * block_tokens) << lease.ready;
  PREFIXD_CHECK(options.reuse || path == 0);
  PREFIXD_CHECK(lease.detached || path == static_cast<size_t>(lease.ready / block_tokens))
      << path << " blocks on the path, " << lease.ready << " tokens";
  PREFIXD_CHECK(path <= static_cast<size_t>(lease.ready / block_tokens)) << path << " blocks on the path";
  PREFIXD_CHECK(!lease.uncertain_copy || lease.settled);
  PREFIXD_CHECK(std::ranges::count(uncertain, &lease) == (lease.uncertain_copy ? 1 : 0))
      << "a lease with an uncertain copy is not listed once";
  PREFIXD_CHECK(lease.hit_blocks >= 0 && static_cast<size_t>(lease.hit_blocks) <= path) << lease.hit_blocks;
  PREFIXD_CHECK(lease.loading.empty() || !lease.settled);
  PREFIXD_CHECK(!lease.settled || lease.computes);
  PREFIXD_CHECK(lease.to_start <= lease.loading.size()) << lease.to_start << " loads to start";
  PREFIXD_CHECK(lease.loading.empty() || lease.detached || lease.load_begin >= path)
      << "the loads begin with block " << lease.load_begin << " of a path of " << path;

  NodeId parent = kNoNode;
  const auto follow = [&](NodeId node) {
    PREFIXD_CHECK(tree.Contains(node) && tree.parent(node) == parent)
        << "node " << node << " is not on the path";
    ++references->at(node);
    parent = node;
  };
  for (size_t i = 0; i < path; ++i) {
    follow(lease.path[i]);
    PREFIXD_CHECK(lease.blocks[i] == tree.block(lease.path[i], Tier::kDevice))
        << "block " << lease.blocks[i] << " of the table is not that of node " << lease.path[i];
    PREFIXD_CHECK(tree.key(lease.path[i]) == lease.keys->key(i))
        << "node " << lease.path[i] << " has another key";
    PREFIXD_CHECK(tree.check(lease.path[i]) == lease.keys->check(i))
        << "node " << lease.path[i] << " follows other tokens";
  }
  if (!lease.loading.empty()) {  // invariant f
    parent = tree.parent(lease.loading.front().node);
    NodeId before = parent;
    for (size_t i = path; i < lease.load_begin && before != kNoNode; ++i) before = tree.parent(before);
    PREFIXD_CHECK(tree.depth(lease.loading.front().node) == lease.load_begin &&
                  (lease.detached || before == (path == 0 ? kNoNode : lease.path.back())))
        << "node " << lease.loading.front().node << " is not on the path";
  }
  for (const Lease::State::Loading& loading : lease.loading) follow(loading.node);
  for (size_t i = path; i < lease.blocks.size(); ++i) {
    ++owners->at(lease.blocks[i]);
    PREFIXD_CHECK(pool(Tier::kDevice).state(lease.blocks[i]) == BlockState::kFilling)
        << "private block " << lease.blocks[i];
  }
  for (const BlockId block : lease.replaced) {
    ++owners->at(block);
    PREFIXD_CHECK(pool(Tier::kDevice).state(block) == BlockState::kFilling) << "replaced block " << block;
  }
}

void PrefixCache::Impl::CheckTransfers(std::vector<uint32_t>* references,
                                       std::vector<uint32_t>* device_owners,
                                       std::vector<uint32_t>* host_owners) const {
  PREFIXD_CHECK(loads.size() + spills.size() == running.size() && running.size() <= options.max_transfers)
      << running.size() << " transfers run";
  PREFIXD_CHECK(loads.size() <= most_loads && loads.size() == planner.running())
      << loads.size() << " loads run";
  PREFIXD_CHECK(queued_spills() <= 4 * tree_blocks()) << queued_spills() << " spills are queued";
  for (const SpillQueue* queue : {&spill_queue, &deferred_spills, &remote_spills}) {
    PREFIXD_CHECK(queue->size() == queue->keys.size()) << queue->size() << " spills, one is there twice";
    for (const QueuedSpill& spill : queue->spills)
      PREFIXD_CHECK(queue->keys.contains(spill.key)) << "node " << spill.node << " is queued and not listed";
  }
  for (const auto& [id, transfer] : running) {
    const auto& index = transfer.to == Tier::kDevice ? loads : spills;
    const auto it = index.find(transfer.node);
    PREFIXD_CHECK(it != index.end() && it->second == id)
        << "transfer " << id << " is not indexed by its node";
    PREFIXD_CHECK(tree.Contains(transfer.node)) << "the node of transfer " << id << " is gone";
    PREFIXD_CHECK(HasRecords(transfer.from) || tree.block(transfer.node, transfer.from) != kNoBlock)
        << "the source of transfer " << id << " is gone";
    ++references->at(transfer.node);
    if (HasRecords(transfer.to)) continue;
    ++(transfer.to == Tier::kDevice ? device_owners : host_owners)->at(transfer.to_block);
    PREFIXD_CHECK(pool(transfer.to).state(transfer.to_block) == BlockState::kFilling)
        << "the target of transfer " << id;
  }
}

// Invariants 4, 7, b and c, and that every known key is the key of its tokens.
void PrefixCache::Impl::CheckNode(NodeId node, const std::vector<uint32_t>& references) const {
  const uint32_t held = tree.references(node);
  PREFIXD_CHECK(references[node] == held)
      << "node " << node << " has " << held << " references, " << references[node] << " are known";
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    const BlockId block = tree.block(node, at);
    const bool evictable = block != kNoBlock && held == 0 && !tree.HasCachedChild(node, at);
    const Retention& retention = tier(at).retention;
    const bool kept = retention.Find(node) != nullptr;
    PREFIXD_CHECK(!kept || block != kNoBlock) << "node " << node << " is kept without a block";
    const bool low = hints.IsLow(node);
    PREFIXD_CHECK(tier(at).eviction.IsCandidate(node) == (evictable && !kept && !low) &&
                  retention.IsCandidate(node) == (evictable && kept) &&
                  hints.IsCandidate(at, node) == (evictable && !kept && low))
        << "node " << node << " as an eviction candidate";
    if (block == kNoBlock) continue;
    PREFIXD_CHECK(pool(at).state(block) == (held > 0 ? BlockState::kLeased : BlockState::kCached))
        << "block " << block << " of node " << node;
  }
  PREFIXD_CHECK(tree.InMemory(node) || tree.IsGhost(node) || !tree.IsLeaf(node) || held > 0 || IsPurged(node))
      << "nothing needs node " << node;
  PREFIXD_CHECK(!tree.IsGhost(node) || ghosts.Contains(node, tree.ghost_slot(node)))
      << "node " << node << " is a ghost that is not in the index";
  if (!tree.HasTokens(node)) return;
  PREFIXD_CHECK(options.key(tree.parent_key(node), tree.tokens(node)) == tree.key(node))
      << "node " << node << " has the key or tokens of another node";
  PREFIXD_CHECK(ChildCheck(tree.parent_check(node), tree.tokens(node)) == tree.check(node))
      << "node " << node << " has the prefix check of another node";
}

// Invariants 5 and d.
void PrefixCache::Impl::CheckClaims() const {
  claims.CheckInvariants();
  size_t claimed = 0;
  for (const Lease::State* lease : leases) {
    const bool ends = purge && std::ranges::find(purge->claimants, lease) != purge->claimants.end();
    PREFIXD_CHECK(lease->claimant.keys.empty() || (lease->computes && !lease->detached && !lease->waited) ||
                  (ends && lease->detached));
    std::set<BlockKey> keys(lease->claimant.keys.begin(), lease->claimant.keys.end());
    for (const BlockKey& key : keys) {
      if (claims.Find(key) == &lease->claimant) ++claimed;
    }
  }
  PREFIXD_CHECK(claimed == claims.size()) << claims.size() - claimed << " claims belong to no lease";
  if (!KeysAreUnique(options.key)) return;
  for (NodeId node = 0; node < tree.end(); ++node) {
    if (!tree.Contains(node) || tree.block(node, Tier::kDevice) == kNoBlock) continue;
    PREFIXD_CHECK(claims.Find(tree.key(node)) == nullptr) << "a claim on node " << node << " of the tree";
  }
}

void PrefixCache::Impl::CheckInvariants() const {
  tree.CheckInvariants();
  ghosts.CheckInvariants();
  hints.CheckInvariants();
  times.CheckInvariants();
  CheckClaims();

  std::vector<uint32_t> references(tree.end(), 0);
  std::vector<uint32_t> owners[kPoolTiers] = {std::vector<uint32_t>(pool(Tier::kDevice).capacity(), 0),
                                              std::vector<uint32_t>(pool(Tier::kHost).capacity(), 0)};
  for (const Lease::State* lease : leases) CheckLease(*lease, &references, &owners[0]);
  CheckTransfers(&references, &owners[0], &owners[1]);
  size_t ghosts_in_tree = 0, with_hint = 0;
  for (NodeId node = 0; node < tree.end(); ++node) {
    if (!tree.Contains(node)) continue;
    CheckNode(node, references);
    ghosts_in_tree += tree.IsGhost(node) ? 1 : 0;
    with_hint += hints.Contains(node) && tree.InMemory(node) ? 1 : 0;
    for (int i = 0; i < kPoolTiers; ++i) {
      const BlockId block = tree.block(node, static_cast<Tier>(i));
      if (block != kNoBlock) ++owners[i].at(block);
    }
  }
  for (const auto& [node, kept] : disk_kept)
    PREFIXD_CHECK(tree.Contains(node) && tree.InMemory(node))
        << "node " << node << " is to be kept on the disk";
  PREFIXD_CHECK(with_hint == hints.size()) << hints.size() - with_hint << " hints are of no node in memory";
  CheckTenants();
  CheckPurged();
  PREFIXD_CHECK(ghosts_in_tree == ghosts.size()) << ghosts.size() - ghosts_in_tree << " ghosts have no node";
  for (int i = 0; i < kPoolTiers; ++i) {
    const BlockPool& blocks = tiers[i]->pool;
    blocks.CheckInvariants();
    tiers[i]->eviction.CheckInvariants();
    tiers[i]->retention.CheckInvariants();
    for (BlockId block = 0; block < blocks.capacity(); ++block) {
      const uint32_t expected = blocks.state(block) == BlockState::kFree ? 0 : 1;
      PREFIXD_CHECK(owners[i][block] == expected)
          << "block " << block << " of tier " << i << " has " << owners[i][block] << " owners";
    }
  }
}

}  // namespace prefixd
