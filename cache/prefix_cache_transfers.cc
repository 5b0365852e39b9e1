// Transfers between the device tier and lower tiers.
#include <algorithm>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

void PrefixCache::Impl::Poll() {
  if (port == nullptr) return;
  std::vector<FinishedTransfer> finished;
  port->Poll(&finished);
  for (const FinishedTransfer& done : finished) {
    const auto it = running.find(done.id);
    PREFIXD_CHECK(it != running.end())
        << "transfer " << done.id << " is unknown: reported twice, or never started";
    const Running transfer = it->second;
    running.erase(it);
    if (transfer.to == Tier::kDevice) {
      EndLoad(transfer, done);
    } else {
      EndSpill(transfer, done.result);
    }
  }
  StartSpills();
}

void PrefixCache::Impl::StartTransfer(NodeId node, Tier from, Tier to, BlockId to_block) {
  AddReference(node);
  const uint64_t id = next_transfer++;
  const bool to_disk = to == Tier::kDisk || (to == Tier::kHost && IsBoundForDisk(node));
  if (to_disk) ++pending_disk_blocks;
  running.emplace(id,
                  Running{.node = node, .from = from, .to = to, .to_block = to_block, .to_disk = to_disk});
  (to == Tier::kDevice ? loads : spills).emplace(node, id);
  port->Start({.id = id,
               .from = from,
               .to = to,
               .from_block = from == Tier::kDisk ? kNoBlock : tree.block(node, from),
               .to_block = to_block,
               .root = tree.root_key(node),
               .key = tree.key(node),
               .parent = tree.parent_key(node),
               .check = tree.check(node),
               .cost = UseOf(node).cost,
               .tokens = tree.HasTokens(node) ? tree.tokens(node) : std::span<const TokenId>()});
}

// --- Loads ---

bool PrefixCache::Impl::LoadFollowing(Lease::State& lease, std::span<const TokenId> tokens, int limit) {
  if (!HasLowerTier() || lease.detached || lease.ready >= limit) return false;
  // The block that the limit cuts is loaded too: a part of it can be copied.
  const size_t end = std::min((static_cast<size_t>(limit) + block_tokens - 1) / block_tokens,
                              tokens.size() / static_cast<size_t>(block_tokens));
  RadixTree::Position at = lease.at();
  if (!lease.loading.empty()) at.node = lease.loading.back().node;
  NodeId next = kNoNode;  // the first node after the path
  for (size_t index = lease.path.size() + lease.loading.size(); index < end; ++index) {
    NodeId node = tree.FindChild(at, lease.keys->key(index));
    if (node == kNoNode) {
      if (!OnDisk(lease.keys->key(index))) break;
      // For its next block it waits until a transfer is free.
      if (lease.loading.empty() && running.size() >= options.max_transfers) return true;
      node = AddLoading(at, lease.keys->key(index), lease.keys->check(index));
      if (node == kNoNode) break;
    }
    if (!IsBlock(node, *lease.keys, tokens, index)) break;
    if (lease.loading.empty()) {
      if (tree.block(node, Tier::kDevice) != kNoBlock) return false;
      next = node;
    }
    if (tree.block(node, Tier::kDevice) == kNoBlock && !IsLoading(node) && !StartLoad(node)) break;
    const auto load = loads.find(node);
    lease.loading.push_back({node, load == loads.end() ? Tier::kDevice : running.at(load->second).from});
    AddReference(node);
    at.node = node;
  }
  if (!lease.loading.empty()) next = lease.loading.front().node;
  if (next == kNoNode || tree.block(next, Tier::kDevice) != kNoBlock) return false;
  if (IsLoading(next)) return true;
  // After a failed load the lease computes, unless another tier has the block.
  if (!lease.loading.empty() && Resides(next, lease.loading.front().from)) return false;
  if (StartLoad(next)) {
    if (!lease.loading.empty()) lease.loading.front().from = running.at(loads.at(next)).from;
    return true;
  }
  // It waits for a free transfer. When it is a block that is missing, it computes instead.
  return HasKv(next) && running.size() >= options.max_transfers;
}

NodeId PrefixCache::Impl::AddLoading(const RadixTree::Position& at, const BlockKey& key, uint64_t check) {
  const NodeId node = tree.Add(at, key, check);
  AddReference(node);
  const bool started = StartLoad(node);
  DropReference(node);  // without a load, this removes it
  return started ? node : kNoNode;
}

// Starts to bring the KV of a node to the device. Returns false when no tier has it, when too many transfers
// run, or when there is no block for it.
bool PrefixCache::Impl::StartLoad(NodeId node) {
  if (!HasKv(node) || running.size() >= options.max_transfers) return false;
  AddReference(node);  // so that it stays while a block is evicted
  const std::optional<BlockId> block = TakeBlock(Tier::kDevice);
  if (block) {
    const Tier from = tree.block(node, Tier::kHost) != kNoBlock ? Tier::kHost : Tier::kDisk;
    StartTransfer(node, from, Tier::kDevice, *block);
  }
  DropReference(node);
  return block.has_value();
}

void PrefixCache::Impl::EndLoad(const Running& load, const FinishedTransfer& finished) {
  const NodeId node = load.node;
  TransferResult result = finished.result;
  if (result == TransferResult::kOk && load.from == Tier::kDisk) result = CheckRecord(node, finished);
  loads.erase(node);
  ++stats.loads[static_cast<size_t>(result)];
  if (result == TransferResult::kOk && load.from == Tier::kHost)
    tier(Tier::kHost).eviction->Hit(node, UseOf(node));
  // A lease may have computed and committed the block meanwhile.
  if (result == TransferResult::kOk && tree.block(node, Tier::kDevice) == kNoBlock) {
    AdmitBlock(node, Tier::kDevice, load.to_block);
  } else {
    pool(Tier::kDevice).Discard(load.to_block);
  }
  if (result != TransferResult::kOk) LoseSource(load, result);
  DropReference(node);
}

// A copy that could not be read is lost, except a record whose read failed: a later read may succeed.
void PrefixCache::Impl::LoseSource(const Running& load, TransferResult result) {
  const MissReason reason =
      result == TransferResult::kMissing ? MissReason::kEvictedDisk : MissReason::kCorrupt;
  if (load.from == Tier::kHost) {
    if (!spills.contains(load.node)) RemoveBlock(load.node, Tier::kHost, reason);  // else it is being read
  } else if (result != TransferResult::kFailed) {
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

// --- Spills ---

bool PrefixCache::Impl::IsBoundForDisk(NodeId node) const {
  if (!options.disk || !tree.InMemory(node)) return false;
  const RadixTree::Facts& facts = tree.facts(node);
  const bool passes_filter = options.write_through || spills_all || facts.hits > 0 || facts.admissions >= 2;
  return passes_filter && !OnDisk(tree.key(node));
}

std::optional<Tier> PrefixCache::Impl::SpillTarget(NodeId node) const {
  const bool on_host = tree.block(node, Tier::kHost) != kNoBlock;
  if (options.host_blocks > 0 && !on_host && tree.block(node, Tier::kDevice) != kNoBlock) return Tier::kHost;
  if (IsBoundForDisk(node)) return Tier::kDisk;
  return std::nullopt;
}

void PrefixCache::Impl::QueueSpill(NodeId node) {
  if (!HasLowerTier()) return;
  const std::optional<Tier> target = SpillTarget(node);
  if (!target || !queued_spills.insert(tree.key(node)).second) return;
  const bool to_disk = *target == Tier::kDisk || IsBoundForDisk(node);
  if (to_disk) ++pending_disk_blocks;
  spill_queue.push_back({.node = node, .key = tree.key(node), .to_disk = to_disk});
}

void PrefixCache::Impl::SpillAll(uint64_t most_blocks) {
  spills_all = true;
  std::vector<NodeId> nodes;
  for (NodeId node = 0; node < tree.end(); ++node) {
    if (tree.Contains(node) && IsBoundForDisk(node)) nodes.push_back(node);
  }
  std::ranges::sort(nodes, [this](NodeId a, NodeId b) {
    const uint64_t used_a = tree.facts(a).last_use, used_b = tree.facts(b).last_use;
    return used_a != used_b ? used_a > used_b : tree.depth(a) < tree.depth(b);
  });
  if (nodes.size() > most_blocks) nodes.resize(most_blocks);
  for (const NodeId node : nodes) QueueSpill(node);
}

// Spills take at most half of the transfers, so that a load need not wait for them.
void PrefixCache::Impl::StartSpills() {
  const size_t most = std::max<size_t>(options.max_transfers / 2, 1);
  while (!spill_queue.empty() && spills.size() < most && running.size() < options.max_transfers) {
    const auto [node, key, to_disk] = spill_queue.front();
    const bool is_there = tree.Contains(node) && tree.key(node) == key;
    if (is_there && !MaySpill(node)) return;
    spill_queue.pop_front();
    queued_spills.erase(key);
    if (to_disk) --pending_disk_blocks;
    if (!is_there || spills.contains(node) || IsLoading(node)) continue;
    if (const std::optional<Tier> target = SpillTarget(node)) StartSpill(node, *target);
  }
}

// Whether a spill of the node leaves the reserve of the device tier alone. A spill leases its source.
bool PrefixCache::Impl::MaySpill(NodeId node) const {
  const BlockPool& device = pool(Tier::kDevice);
  return tree.block(node, Tier::kDevice) == kNoBlock || tree.references(node) > 0 ||
         device.free_blocks() + device.cached_blocks() > options.spill_reserve;
}

void PrefixCache::Impl::StartSpill(NodeId node, Tier target) {
  const Tier from = tree.block(node, Tier::kDevice) != kNoBlock ? Tier::kDevice : Tier::kHost;
  AddReference(node);  // so that it stays while a block is evicted
  std::optional<BlockId> block;
  if (target == Tier::kHost) {
    block = TakeBlock(Tier::kHost);
    // When every block of the host tier is in use, the disk is next.
    if (!block && IsBoundForDisk(node)) target = Tier::kDisk;
  }
  if (block || target == Tier::kDisk) StartTransfer(node, from, target, block.value_or(kNoBlock));
  DropReference(node);
}

void PrefixCache::Impl::EndSpill(const Running& spill, TransferResult result) {
  spills.erase(spill.node);
  if (spill.to_disk) --pending_disk_blocks;
  ++stats.spills[static_cast<size_t>(result)];
  // Nothing follows a spill to the disk: a store that drops what it gets would be written to without end.
  if (spill.to == Tier::kHost && result == TransferResult::kOk) {
    AdmitBlock(spill.node, Tier::kHost, spill.to_block);
    // On to the disk at once: while it waits in the queue, both tiers in memory might evict it.
    if (IsBoundForDisk(spill.node)) StartSpill(spill.node, Tier::kDisk);
  } else if (spill.to == Tier::kHost) {
    pool(Tier::kHost).Discard(spill.to_block);
  }
  DropReference(spill.node);
}

}  // namespace prefixd
