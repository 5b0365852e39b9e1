// Transfers between the device tier and lower tiers, and spills.
#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

MissReason ReasonOfDrop(DropReason reason) {
  switch (reason) {
    case DropReason::kEvicted:
      return MissReason::kEvictedDisk;
    case DropReason::kExpired:
      return MissReason::kExpired;
    case DropReason::kLost:
      break;
  }
  return MissReason::kCorrupt;
}

}  // namespace

void PrefixCache::Impl::Poll(double now_seconds, bool idle_now) {
  seconds = now_seconds;
  planner.SetTime(now_seconds);
  budget.SetTime(now_seconds, idle_now);
  idle = idle_now;
  EndExpired();
  if (port == nullptr) return;
  std::vector<FinishedTransfer> finished;
  port->Poll(&finished);
  TakeDrops();
  for (const FinishedTransfer& done : finished) {
    const auto it = running.find(done.id);
    PREFIXD_CHECK(it != running.end())
        << "transfer " << done.id << " is unknown: reported twice, or never started";
    const Running transfer = it->second;
    running.erase(it);
    if (transfer.to == Tier::kDevice) {
      planner.Ended(done);
      EndLoad(transfer, done);
    } else {
      if (HasRecords(transfer.to)) budget.Spilled(done.work_seconds);
      EndSpill(transfer, done.result);
    }
  }
  EvictSurplus();
  if (options.remote) QueueWanted();
  StartSpills();
}

// What was written again meanwhile is not lost: EndSpill tells of it, or has told.
void PrefixCache::Impl::TakeDrops() {
  if (!options.disk) return;
  std::vector<RecordDrop> drops;
  const bool whole = port->TakeDrops(&drops);
  for (const RecordDrop& drop : drops) {
    if (DiskHas(drop.key)) continue;
    if (drop.reason) {
      losses.Add(drop.key, ReasonOfDrop(*drop.reason), seconds);
    } else {
      losses.Forget(drop.key);
    }
    if (options.residency != nullptr) options.residency->OnDropped(drop.key);
  }
  if (!whole && options.residency != nullptr) options.residency->OnLost();
}

void PrefixCache::Impl::StartTransfer(NodeId node, Tier from, Tier to, BlockId to_block, bool wanted) {
  AddReference(node);
  const uint64_t id = next_transfer++;
  const bool to_disk = HasRecords(to) || (to == Tier::kHost && IsBoundForStore(node));
  if (to_disk) ++pending_disk_blocks;
  running.emplace(id,
                  Running{.node = node, .from = from, .to = to, .to_block = to_block, .to_disk = to_disk});
  (to == Tier::kDevice ? loads : spills).emplace(node, id);
  if (to == Tier::kDevice) planner.Started(id, from);
  port->Start({.id = id,
               .from = from,
               .to = to,
               .from_block = HasRecords(from) ? kNoBlock : tree.block(node, from),
               .to_block = to_block,
               .root = tree.root_key(node),
               .key = tree.key(node),
               .parent = tree.parent_key(node),
               .check = tree.check(node),
               .cost = UseOf(node).cost,
               .used_again = !wanted && IsUsedAgain(node),
               .tokens = tree.HasTokens(node) ? tree.tokens(node) : std::span<const TokenId>()});
}

// --- Spills ---

bool PrefixCache::Impl::IsUsedAgain(NodeId node) const {
  const RadixTree::Facts& facts = tree.facts(node);
  return facts.hits > 0 || facts.admissions >= 2 || IsKept(node);
}

bool PrefixCache::Impl::IsBoundForStore(NodeId node) const {
  if (!options.disk && !options.remote) return false;
  if (!IsReadable(node) || IsPartial(node) || IsPurged(node)) return false;
  if (!options.disk) return IsUsedAgain(node) && !OnRemote(tree.key(node));
  const bool passes_filter = options.write_through || spills_all || IsUsedAgain(node) || IsToBeOnDisk(node);
  return passes_filter && !DiskHas(tree.key(node));
}

std::optional<Tier> PrefixCache::Impl::SpillTarget(NodeId node) const {
  if (IsPartial(node) || IsPurged(node)) return std::nullopt;
  const bool on_host = tree.block(node, Tier::kHost) != kNoBlock;
  const bool on_device = !device_lost && tree.block(node, Tier::kDevice) != kNoBlock;
  if (options.host_blocks > 0 && !on_host && on_device) return Tier::kHost;
  if (IsBoundForStore(node)) return SpillStore();
  return std::nullopt;
}

void PrefixCache::Impl::QueueSpill(NodeId node, SpillTime time) {
  if (!HasLowerTier()) return;
  const std::optional<Tier> target = SpillTarget(node);
  if (!target || spill_queue.keys.contains(tree.key(node))) return;
  const bool deferred = time == SpillTime::kIdle && HasRecords(*target);
  SpillQueue& queue = deferred ? deferred_spills : spill_queue;
  if (!queue.keys.insert(tree.key(node)).second) return;
  ForgetSpillsInTime();
  const bool to_disk = HasRecords(*target) || IsBoundForStore(node);
  if (to_disk) ++pending_disk_blocks;
  if (deferred) ++stats.deferred_spills;
  queue.spills.push_back({node, tree.key(node), to_disk});
}

// Takes the blocks out of the queue that have been evicted meanwhile. Those that are left have a block each.
// The next time comes after as many blocks more, so that it costs each block that is queued about one look.
void PrefixCache::Impl::ForgetSpillsInTime() {
  if (queued_spills() < std::max(forget_spills_at, tree_blocks())) return;
  for (SpillQueue* queue : {&spill_queue, &deferred_spills, &remote_spills}) {
    std::erase_if(queue->spills, [&](const QueuedSpill& spill) {
      if (tree.Contains(spill.node) && tree.key(spill.node) == spill.key && tree.InMemory(spill.node))
        return false;
      queue->keys.erase(spill.key);
      if (spill.to_disk) --pending_disk_blocks;
      return true;
    });
  }
  forget_spills_at = queued_spills() + tree_blocks();
}

void PrefixCache::Impl::ClearDeferred() {
  for (const QueuedSpill& spill : deferred_spills.spills) {
    if (spill.to_disk) --pending_disk_blocks;
  }
  deferred_spills = {};
}

void PrefixCache::Impl::SpillAll(uint64_t most_blocks) {
  ClearDeferred();  // they are among the nodes below
  if (most_blocks == 0) return;
  spills_all = true;
  std::vector<NodeId> nodes;
  for (NodeId node = 0; node < tree.end(); ++node) {
    if (tree.Contains(node) && IsBoundForStore(node)) nodes.push_back(node);
  }
  std::ranges::sort(nodes, [this](NodeId a, NodeId b) {
    const uint64_t used_a = tree.facts(a).last_use, used_b = tree.facts(b).last_use;
    return used_a != used_b ? used_a > used_b : tree.depth(a) < tree.depth(b);
  });
  if (nodes.size() > most_blocks) nodes.resize(most_blocks);
  for (const NodeId node : nodes) QueueSpill(node, SpillTime::kBesideSteps);
}

// Spills take at most half of the transfers, so that a load need not wait for them. The host takes its blocks
// as fast as it can.
void PrefixCache::Impl::StartSpills() {
  StartRemoteSpills(std::max<size_t>(options.max_transfers / 2, 1));
  const bool freely = idle || spills_all || budget.IsWorthIt();
  const size_t at_once = freely || options.host_blocks > 0 ? SIZE_MAX : budget.MostAtOnce();
  const size_t most = std::clamp<size_t>(options.max_transfers / 2, 1, at_once);
  while (spills.size() < most && running.size() < options.max_transfers) {
    SpillQueue& queue = spill_queue.empty() && freely ? deferred_spills : spill_queue;
    if (queue.empty()) return;
    const auto [node, key, to_disk] = queue.spills.front();
    const bool is_there = tree.Contains(node) && tree.key(node) == key;
    if (is_there && !MaySpill(node)) return;
    queue.spills.pop_front();
    queue.keys.erase(key);
    if (to_disk) --pending_disk_blocks;
    if (!is_there || spills.contains(node) || IsLoading(node)) continue;
    if (const std::optional<Tier> target = SpillTarget(node)) StartSpill(node, *target);
  }
}

// Whether a spill of the node leaves the reserve of the device tier alone. A spill leases its source.
bool PrefixCache::Impl::MaySpill(NodeId node) const {
  return tree.block(node, Tier::kDevice) == kNoBlock || tree.references(node) > 0 ||
         RoomFor(0, Tier::kDevice) > options.spill_reserve;
}

// From the host where it can: then each block leaves the device once.
void PrefixCache::Impl::StartSpill(NodeId node, Tier target) {
  const Tier from = tree.block(node, Tier::kHost) != kNoBlock ? Tier::kHost : Tier::kDevice;
  AddReference(node);  // so that it stays while a block is evicted
  std::optional<BlockId> block;
  if (target == Tier::kHost) {
    block = TakeBlock(Tier::kHost, TenantOf(node));
    // When every block of the host tier is in use, the disk is next.
    if (!block && IsBoundForStore(node)) target = SpillStore();
  }
  if (block || HasRecords(target)) StartTransfer(node, from, target, block.value_or(kNoBlock));
  DropReference(node);
}

void PrefixCache::Impl::EndSpill(const Running& spill, TransferResult result) {
  spills.erase(spill.node);
  if (spill.to_disk) --pending_disk_blocks;
  ++stats.spills[static_cast<size_t>(result)];
  if (HasRecords(spill.to) && result == TransferResult::kOk && IsPurged(spill.node)) {
    port->Drop(tree.key(spill.node));
  } else if (spill.to == Tier::kDisk && result == TransferResult::kOk) {
    TellOnDisk(spill.node);
    TellDisk(spill.node);
  }
  // Nothing follows a spill to the disk: a store that drops what it gets would be written to without end.
  if (spill.to == Tier::kHost && result == TransferResult::kOk) {
    AdmitBlock(spill.node, Tier::kHost, spill.to_block);
    // On to the disk at once: while it waits in the queue, both tiers in memory might evict it.
    const bool goes_on = IsBoundForStore(spill.node);
    const bool now = goes_on && (idle || budget.MaySpill(spill_queue.size()));
    if (now) StartSpill(spill.node, SpillStore());
    if (goes_on && !now) QueueSpill(spill.node, SpillTime::kIdle);
  } else if (spill.to == Tier::kHost) {
    pool(Tier::kHost).Discard(spill.to_block);
  } else if (spill.to == Tier::kRemote && SpillTarget(spill.node) != Tier::kRemote) {
    QueueSpill(spill.node, SpillTime::kIdle);  // its turn for another tier may have come meanwhile
  }
  DropReference(spill.node);
}

}  // namespace prefixd
