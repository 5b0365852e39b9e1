// The implementation of PrefixCache: the state of a lease and the components of the cache. Only the .cc files
// and the tests of PrefixCache include this header. Engine thread only.
//
// Where the KV of a node lies, and the function for each edge. A node may be in several of these states at
// once. The cache keeps track of the device and the host. What is on disk, the port knows; a block that is on
// disk alone is a ghost or has no node, until a lease wants it (AddLoading).
//
//   Commit or EndLoad:     ghost  -> device      the KV was computed, or read from the disk
//   StartSpill, EndSpill:  device -> host        the copy stays on the device
//                          device -> disk        without a host tier, or when it is in use
//                          host   -> disk      or, without a disk tier, device or host -> remote
//   StartRemoteSpills:     device or host -> remote, at once
//   StartLoad, EndLoad:    host   -> device
//                          disk   -> device
//                          remote -> device
//   MakeRoom:              device -> (nothing)   the node keeps its other copies
//                          host   -> (nothing)
//   the store by itself:   disk   -> (nothing)   see TransferPort::OnDisk; TakeDrops learns of it
//   LoseKv:                (nothing) -> ghost    when the last copy in memory is gone
//
// AdmitBlock: the node gets a block in a pool tier. RemoveBlock: it loses it. LoseKv follows every loss.
//
// Internal invariants (prefix_cache.h has the public ones)
//   a. A lease that is not detached has exactly its full blocks on its path: path.size() = ready /
//      block_tokens. A detached lease (reuse is off, or keys collided) keeps all further blocks private until
//      its end.
//   b. The eviction candidates of a tier are exactly the nodes that are cached in it (they have a block and
//      no references) and have no child that is. So the last nodes of a prefix go first, and for as long as a
//      block is cached there is a candidate.
//   c. The references of a node are one for each lease that has it on its path or in `loading`, and one for
//      each running transfer of it. A node without KV in memory that is neither a ghost nor has children
//      leaves the tree with its last reference.
//   d. A lease settles when its Acquire returns kReady for all tokens. It claims the blocks that it computes
//      then, and before, those that it computes while the later ones are loaded. A lease that waits has no
//      claim, so waiting leases never form a cycle. After it has settled, Acquire takes no block and waits
//      for none. A lease opened with Reads::kNo stops claiming at the first block that is on the device or
//      claimed. It computes that block again, while a lease that reads takes it and reaches the later blocks
//      first; so the lease that reads must not wait for it.
//   e. A copied part of a block is counted in `ready` but uncertain until EndStep.
//   f. The blocks of `loading` follow each other from block number `load_begin` on. They are those that are
//      loaded for the lease, or were. Those between the path and load_begin it computes, also when `loading`
//      is empty; what is behind has not been decided then.
//   g. What retention keeps in a tier has a block there. Where b makes it a candidate, it is one of the
//      retention, and every other node one of the policy. A partial block (IsPartial) is on the device alone.
//   h. `disk_kept` and `hints` have nodes in memory alone. A node that `hints` lowers and retention does not
//      keep is a candidate of `hints` where b makes it one, and none of the policy.
//   i. A purged node is referred to, or it is the first or the last block of what is being purged. A lease
//      that has one on its path is detached, so nothing is added below it.
#pragma once

#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cache/another_wait.h"
#include "cache/block_pool.h"
#include "cache/claims.h"
#include "cache/eviction.h"
#include "cache/ghost_index.h"
#include "cache/loss_log.h"
#include "cache/prefix_cache.h"
#include "cache/radix_tree.h"
#include "cache/retention.h"
#include "cache/session_hints.h"
#include "cache/tenant_eviction.h"
#include "cache/use_times.h"

namespace prefixd {

// The blocks of a tier of `blocks` blocks that retention may keep.
size_t MostKept(const PrefixCache::Options& options, uint32_t blocks);
// Nodes with a hint: a quarter of the blocks in memory.
inline size_t MostHints(const PrefixCache::Options& options) {
  return (size_t{options.blocks} + options.host_blocks) / 4;
}

inline size_t MostLosses(const PrefixCache::Options& options) {
  if (options.losses > 0) return options.losses;
  return std::max<size_t>(kGhostsPerBlock * (size_t{options.blocks} + options.host_blocks), 4096);
}

// Blocks not to compute that are worth a step more.
inline constexpr size_t kLeastSaved = 4;

// Of an entry of Impl::disk_kept.
inline constexpr size_t kDiskKeptBytes = 96;

// See EvictionPolicy::SetCopyCost: the least, and that before anything is measured.
inline constexpr double kLeastCopyCost = 1.0 / 64;
inline constexpr double kCopyCost = 1.0 / 16;

// Counts up to the greatest value of the type and stays there.
template <typename Count>
void CountUp(Count* count) {
  if (*count < std::numeric_limits<Count>::max()) ++*count;
}

struct Lease::State {
  PrefixCache::Impl* cache = nullptr;
  BlockKeys* keys = nullptr;
  RadixTree::Root* root = nullptr;
  std::vector<NodeId> path;       // nodes of its leading full blocks
  std::vector<BlockId> blocks;    // the block table: the device blocks of the path, then private blocks
  std::vector<BlockId> replaced;  // private blocks that the last Commit took out of it, for a step in flight
  int ready = 0;                  // tokens
  int hit_blocks = 0;             // taken from the cache
  bool detached = false;
  bool reads = true;
  PrefixUse use;
  int kept_tokens = 0;                     // those of `use` that are kept
  bool limited = false;                    // detached at use.write_limit
  std::optional<BlockKey> copied_partial;  // of the block after the path: its tokens came from this node
  std::vector<TokenId> tail;  // the tokens after the path up to the last breakpoint in its block, if there is
  bool settled = false;
  bool computes = false;        // the last Acquire has returned kReady
  int until = 0;                // what it has returned, before the lease has settled
  bool waited = false;          // it has waited for another lease and has not settled since
  bool uncertain_copy = false;  // the block after the path has a copied part
  Claims::Claimant claimant;
  // The nodes that come from lower tiers for this lease, or have come, and the one of which the number is
  // load_begin first.
  struct Loading {
    NodeId node;
    Tier from;
  };
  std::deque<Loading> loading;
  size_t load_begin = 0;
  size_t to_start = 0;  // blocks at the front of `loading` whose load has not been tried; the last go first
  LoadPlanner::Plan plan;
  double decided = 0;  // the time of `plan`
  double asked = -1;   // when it began to wait for the remote tier's answer; below 0: it does not
  // As which the remote tier knows it, and the blocks that it has asked for; 0: as none, or not any more.
  uint64_t asker = 0;
  size_t asked_begin = 0, asked_end = 0;
  bool wanted = false;       // other daemons wait for these
  bool is_asking = false;    // the last Acquire has returned kLoading because of the remote tier
  AnotherWait another_wait;  // for a daemon that computes blocks of it
  // When a part of what it loads was computed instead, or a long hit was not worth loading; below 0: not
  // since `plan`.
  double overtaken = -1;

  RadixTree::Position at() const { return {root, path.empty() ? kNoNode : path.back()}; }
};

struct PrefixCache::Impl {
  Impl(Options options_in, DeviceCopier* copier_in, TransferPort* port_in);

  // A purge that is under way.
  struct ActivePurge {
    PrefixCache::PurgeScope scope;
    NodeId next = 0;         // kTenant, kAll: the node to look at next is the one before
    NodeId start = kNoNode;  // kPrefix: the first node that goes, as far as it is known yet
    // kPrefix: `nodes` are the start and what is below it, each after the one that it continues; `names` has
    // their keys. From `listed` on, their children are not there, but those of that one up to `last_child`.
    std::deque<NodeId> nodes;
    size_t listed = 0;
    std::optional<BlockKey> last_child;
    std::vector<Lease::State*> claimants;  // detached leases that may have claims yet
    PrefixCache::PurgedNames names;
    PrefixCache::Purged result;
  };

  struct Request {  // the arguments of Acquire
    std::span<const TokenId> tokens;
    int limit;
    const ComputeEstimate* compute;
  };
  Acquired Acquire(Lease::State& lease, const Request& request);
  std::vector<MissRun> ExplainMisses(const Lease::State& lease, std::span<const TokenId> tokens);
  // Why no tier has a block.
  MissReason ReasonOfLoss(const BlockKey& key);
  int CountSharedBlocks(const BlockKeys& keys, std::span<const TokenId> tokens) const;
  bool Reserve(Lease::State& lease, int tokens);
  static BlockWish AfterTable(const Lease::State& lease);  // for the block that the table gets next
  void EndStep(bool ok);
  std::vector<Run> Commit(Lease::State& lease, std::span<const TokenId> tokens, TableInUse in_use);
  void Release(Lease::State& lease, bool is_over);
  void Poll(double now, bool idle);
  void CheckInvariants() const;

  struct PoolTier {
    PoolTier(uint32_t blocks, std::unique_ptr<EvictionPolicy> policy, size_t retained)
        : pool(blocks), eviction(std::move(policy), blocks), retention(retained) {}
    BlockPool pool;
    TenantEviction eviction;
    Retention retention;
  };
  struct Running {  // a transfer
    NodeId node;
    Tier from;
    Tier to;
    BlockId to_block;
    bool to_disk;  // see QueuedSpill
  };

  PoolTier& tier(Tier tier) { return *tiers[static_cast<size_t>(tier)]; }
  const PoolTier& tier(Tier tier) const { return *tiers[static_cast<size_t>(tier)]; }
  BlockPool& pool(Tier at) { return tier(at).pool; }
  const BlockPool& pool(Tier at) const { return tier(at).pool; }
  // Returns the tokens of the block with number `index` in its sequence.
  std::span<const TokenId> TokensOfBlock(std::span<const TokenId> tokens, size_t index) const;
  // Whether `node`, which was found by key, is that block.
  bool IsBlock(NodeId node, const BlockKeys& keys, std::span<const TokenId> tokens, size_t index) const {
    return tree.Matches(node, keys.check(index), TokensOfBlock(tokens, index));
  }
  NodeUse UseOf(NodeId node) const;
  // See NodeUse::tenant.
  uint32_t TenantOf(NodeId node) const { return tenants.empty() ? 0 : tree.root_tag(node); }
  uint32_t TenantOf(const Lease::State& lease) const { return RadixTree::root_tag(*lease.root); }
  uint32_t TenantOf(const BlockKey& root) const;
  size_t tree_blocks() const { return size_t{options.blocks} + options.host_blocks; }

  // Acquire (prefix_cache_acquire.cc).
  void TakeFullBlocks(Lease::State& lease, std::span<const TokenId> tokens, int limit, Acquired* acquired);
  bool IsClaimedByAnother(const Lease::State& lease, std::span<const TokenId> tokens) const;
  void Settle(Lease::State& lease, std::span<const TokenId> tokens, int limit, Acquired* acquired);
  void ClaimRest(Lease::State& lease, std::span<const TokenId> tokens);
  void CopyPart(Lease::State& lease, std::span<const TokenId> wanted, Acquired* acquired);

  // Commit and the block table (prefix_cache_impl.cc).
  // Returns how many tokens at the end of the block became reusable.
  int CommitBlock(Lease::State& lease, std::span<const TokenId> content, TableInUse in_use);
  // Returns how many tokens at the front of the lease's next block an Acquire could take now. `node` is that
  // block, or kNoNode.
  int ReusableTokens(const Lease::State& lease, NodeId node, std::span<const TokenId> content) const;
  // Puts `block` into the block table after the path. Frees the block that was reserved there, if any, or
  // keeps it as replaced.
  void Place(Lease::State& lease, BlockId block, TableInUse in_use = TableInUse::kNo);
  void FreeReplaced(Lease::State& lease);  // no step reads them any more
  // Keeps the further blocks of the lease out of the tree.
  void Detach(Lease::State& lease);

  // References, residency and eviction (prefix_cache_nodes.cc).
  void UpdateCandidate(NodeId node, Tier at);
  void AddReference(NodeId node);
  void DropReference(NodeId node);
  // Drops the references of a lease. Sets one time of last use for all nodes.
  void GiveBack(std::span<const NodeId> nodes, uint8_t request_class);
  // Evicts cached blocks until so many blocks are free, or no more can be.
  void MakeRoom(Tier tier, uint32_t tenant, size_t blocks);
  // Returns a block to fill, evicting a cached block if none is free. Returns nothing when all are leased.
  std::optional<BlockId> TakeBlock(Tier tier, uint32_t tenant, const BlockWish& wish = {});
  void EvictBlock(NodeId node, Tier tier);
  void AddAge(NodeId node, LatencyHistogram* ages) const;
  void AdmitBlock(NodeId node, Tier tier, BlockId block);
  void RemoveBlock(NodeId node, Tier tier, MissReason reason);
  void TakeOut(NodeId node, Tier tier);  // RemoveBlock without LoseKv
  void LoseKv(NodeId node, MissReason reason);
  void KnowTokens(NodeId node, std::span<const TokenId> tokens);
  void RemoveUnused(NodeId node);
  // Tell the listener of residency, if there is one.
  void TellStored(NodeId node, Tier at) const;
  void TellRemoved(NodeId node, Tier at) const;
  void TellOnDisk(NodeId node) const;  // the disk has its record, or had it a moment ago

  // Tenants (prefix_cache_tenants.cc).
  void SetTenants(std::vector<TenantBlocks> shares);
  void SetLeased(NodeId node, Tier at, bool leased);
  // Free blocks, and those that can be evicted for the tenant.
  uint32_t RoomFor(uint32_t tenant, Tier at) const;
  std::optional<NodeId> VictimFor(uint32_t tenant, Tier at);
  std::optional<NodeId> OwnVictim(uint32_t tenant, Tier at);
  // Evicts what tenants have above their share, as far as nothing refers to it.
  void EvictSurplus();

  // Retention (prefix_cache_retention.cc).
  // The last node of the path was taken or committed: keeps it, as the lease asks.
  void KeepLast(Lease::State& lease);
  // Notes the tokens of the block after the path that KeepTail needs.
  void NoteTail(Lease::State& lease, std::span<const TokenId> tokens);
  // Puts the tokens up to a breakpoint within the block after the path into the tree, as a partial block.
  void KeepTail(Lease::State& lease);
  void CountKept(const Lease::State& lease);
  // Keeps the node in each tier that has it. Returns whether one does.
  bool KeepNode(NodeId node, const Retention::Kept& kept);
  // Keeps the node in a tier, also at the cost of an owner that has more than its share.
  bool KeepInBudget(NodeId node, Tier at, const Retention::Kept& kept);
  Retention::Kept KeptFor(const Lease::State& lease, double kept_seconds) const;
  // Ends the retention of the partial block that the last node of the path continues, and that adds nothing.
  void Supersede(Lease::State& lease);
  void UseKept(NodeId node);
  void KeepInTier(NodeId node, Tier at);  // what another tier keeps; the node has come to this one
  // Keeps the record of a node in memory, or notes that it is to be kept once there is one. Returns whether
  // the disk keeps it now.
  bool KeepOnDisk(NodeId node, const Retention::Kept& kept);
  bool TellDisk(NodeId node);            // what disk_kept says
  void KeepAsOnDisk(NodeId node);        // the node has come to the device, which is a use
  bool IsToBeOnDisk(NodeId node) const;  // because it is to be kept there, and there is room for it
  // What the hint of a lease that ends says of its nodes. Those that others use are left alone. The hint ends
  // when a node is used, and what it has kept is not kept any more.
  void ApplyHint(const Lease::State& lease);
  void EndHint(NodeId node);
  size_t FirstLowered(const Lease::State& lease) const;  // in its path; to the end of it
  void EndRetention(NodeId node, Tier at);
  void EndExpired();
  bool IsKept(NodeId node) const;
  bool IsPartial(NodeId node) const;

  // Purges and pins (prefix_cache_purge.cc).
  bool IsPurged(NodeId node) const { return tree.facts(node).purged; }
  void SetPurged(NodeId node, bool is_purged);
  bool IsPurging(const BlockKey& root) const;
  // The last block and the first one of what is being purged stay in the tree meanwhile.
  bool IsHeldByPurge(NodeId node) const;
  void DetachPurged(Lease::State& lease);
  void DetachBelow(NodeId node);
  bool IsInTree(NodeId node, const BlockKey& key) const;
  bool BeginPurge(const PurgeScope& scope);
  bool ContinuePurge(uint32_t most_nodes);
  Purged EndPurge();
  // These return the cost, in nodes that are looked at.
  uint32_t FindStart(uint32_t most_nodes);     // of purge->nodes
  uint32_t ListChildren(uint32_t most_nodes);  // of purge->listed
  uint32_t EndClaims(uint32_t most);           // of purge->claimants
  uint32_t PurgeOrMark(NodeId node);
  void PurgeNode(NodeId node);  // requires that nothing refers to it
  bool Pin(Pinning* pinning, uint32_t most_nodes);
  bool MayPin(const Pinning::Place& place, const Pinning& pinning) const;
  // Returns false when the tree does not have the prefix (any more).
  bool ListPath(Pinning* pinning, uint32_t* seen, uint32_t most_nodes) const;
  void PinNode(NodeId node, Pinning* pinning);

  // Transfers (prefix_cache_transfers.cc).
  bool HasLowerTier() const { return port != nullptr; }
  bool OnDisk(const BlockKey& key) const { return options.disk && port->OnDisk(key); }
  bool OnRemote(const BlockKey& key) const { return options.remote && port->OnRemote(key); }
  // The tier from which the record under the key can be loaded.
  std::optional<Tier> RecordTier(const BlockKey& key) const {
    if (OnDisk(key)) return Tier::kDisk;
    return OnRemote(key) ? std::optional(Tier::kRemote) : std::nullopt;
  }
  // Whether the disk has a record, also one that does not read now; and whether any store has one.
  bool DiskHas(const BlockKey& key) const { return options.disk && port->HasRecord(key); }
  bool HasRecord(const BlockKey& key) const { return DiskHas(key) || OnRemote(key); }
  // The tier below memory to which blocks are spilled.
  Tier SpillStore() const { return options.disk ? Tier::kDisk : Tier::kRemote; }
  bool Resides(NodeId node, Tier tier) const {
    if (HasRecords(tier)) return tier == Tier::kDisk ? OnDisk(tree.key(node)) : OnRemote(tree.key(node));
    return tree.block(node, tier) != kNoBlock;
  }
  bool HasKv(NodeId node) const { return tree.InMemory(node) || RecordTier(tree.key(node)).has_value(); }
  // From which tier a block that is not on the device would be loaded.
  Tier SourceOf(NodeId node) const {
    if (tree.block(node, Tier::kHost) != kNoBlock) return Tier::kHost;
    return RecordTier(tree.key(node)).value_or(Tier::kDisk);
  }
  bool IsLoading(NodeId node) const { return loads.contains(node); }
  // Takes note of what the disk has dropped by itself.
  void TakeDrops();

  // The parts of Scan (prefix_cache_view.cc). The last two return whether they are done.
  void ScanNodes(PrefixScan* scan) const;
  bool ScanPaths(PrefixScan* scan) const;
  bool ScanRest(PrefixScan* scan) const;

  // What the remote tier is asked, and what is written there at once (prefix_cache_remote.cc).
  // Whether the lease waits for the remote tier to say which of its blocks up to `end` it has, or for another
  // daemon that computes them.
  bool WaitsForRemote(Lease::State& lease, const Request& request, size_t end);
  // Until the blocks [from, to) are computed; 0: not known.
  double ComputeSeconds(const Request& request, size_t from, size_t to) const;
  void BeginWaitForAnother(Lease::State& lease, const Request& request, size_t first);
  // Whether a lease that waits for another daemon may go on to do so, or to load what came from it. If not,
  // its wait was in vain.
  bool MayWaitForAnother(Lease::State& lease, const Request& request);
  void EndRemote(Lease::State& lease, RemoteEnd end);
  void QueueRemote(NodeId node);
  // What leases had computed before others began to wait for it.
  void QueueWanted();
  void StartRemoteSpills(size_t most);
  bool IsBoundForRemote(NodeId node) const;

  // Loads for leases (prefix_cache_loads.cc).
  // Decides about the blocks after the path that lower tiers have, starts loads, and sets acquired.state and
  // acquired.until. Returns false when there is nothing to load and to wait for.
  bool UseLowerTiers(Lease::State& lease, const Request& request, Acquired* acquired);
  // Appends the tiers of the blocks [from, to), which follow the path, up to the first one without KV.
  void FindRun(const Lease::State& lease, std::span<const TokenId> tokens, size_t from, size_t to,
               std::vector<Tier>* tiers) const;
  // The same from the first block with KV on, if there is one within a few blocks from `from` on. Returns its
  // number.
  size_t FindNextRun(const Lease::State& lease, std::span<const TokenId> tokens, size_t from, size_t end,
                     std::vector<Tier>* tiers) const;
  // Whether to compute these blocks takes less than a step of their own is worth.
  bool IsShortRun(const Request& request, size_t from, size_t blocks) const;
  void PlanLoads(Lease::State& lease, const Request& request, size_t end, Acquired* acquired);
  LoadPlanner::BlockCounts LoadsAhead(const Lease::State& lease, size_t end) const;
  void NoteDecision(const LoadPlanner::Plan& plan, std::span<const Tier> blocks, Acquired* acquired);
  void CountDecision(Tier lowest, LoadDecision decision, Acquired* acquired);
  // Puts the blocks [from, to) to the front of `loading`, which is empty or begins with block `to`.
  void AddLoading(Lease::State& lease, size_t from, size_t to);
  void ExtendLoads(Lease::State& lease, const Request& request);
  void StartLoads(Lease::State& lease);
  size_t Missing(const Lease::State& lease) const;
  std::vector<Tier> MissingTiers(const Lease::State& lease) const;
  // Whether the lease waits for the first block of `loading`. Otherwise that block, and others, no longer
  // belong to it.
  bool WaitsForLoad(Lease::State& lease, const Request& request, Acquired* acquired);
  void ComputeInstead(Lease::State& lease, size_t blocks);
  // Claims the blocks between the path and load_begin. Returns the number of the first one that the lease
  // does not compute now.
  size_t ClaimPart(Lease::State& lease);
  void DropLoading(Lease::State& lease);
  BlockWish BesideLoaded(const Lease::State& lease, size_t i) const;  // for entry i of `loading`
  bool StartLoad(NodeId node, const BlockWish& wish);
  // `wanted`: on the remote tier now, so that its economy does not slow it.
  void StartTransfer(NodeId node, Tier from, Tier to, BlockId to_block, bool wanted = false);
  void EndLoad(const Running& load, const FinishedTransfer& finished);
  void LoseSource(const Running& load, TransferResult result);
  TransferResult CheckRecord(NodeId node, const FinishedTransfer& finished);
  void EndSpill(const Running& spill, TransferResult result);
  enum class SpillTime : uint8_t { kBesideSteps, kIdle };
  void QueueSpill(NodeId node, SpillTime time);
  void SpillAll(uint64_t most_blocks);
  void ForgetSpillsInTime();
  size_t queued_spills() const { return spill_queue.size() + deferred_spills.size() + remote_spills.size(); }
  void ClearDeferred();
  // Whether a block of the node can be read.
  bool IsReadable(NodeId node) const {
    return device_lost ? tree.block(node, Tier::kHost) != kNoBlock : tree.InMemory(node);
  }
  // Whether the block, which may go to the host first, is to be written to the SpillStore: it is not there,
  // and the wear filter lets it pass.
  bool IsBoundForStore(NodeId node) const;
  // Whether requests have used it or computed it again, or keep it.
  bool IsUsedAgain(NodeId node) const;
  bool MaySpill(NodeId node) const;
  void StartSpill(NodeId node, Tier target);
  void StartSpills();
  std::optional<Tier> SpillTarget(NodeId node) const;

  void CheckLease(const Lease::State& lease, std::vector<uint32_t>* references,
                  std::vector<uint32_t>* owners) const;
  void CheckNode(NodeId node, const std::vector<uint32_t>& references) const;
  void CheckClaims() const;
  void CheckTenants() const;
  void CheckPurged() const;
  void CheckTransfers(std::vector<uint32_t>* references, std::vector<uint32_t>* device_owners,
                      std::vector<uint32_t>* host_owners) const;

  const Options options;
  const int block_tokens;
  const size_t most_loads;  // that run at once: so a tier that hangs leaves most blocks to others
  DeviceCopier* const copier;
  TransferPort* const port;  // null: there is no lower tier
  std::unique_ptr<PoolTier> tiers[kPoolTiers];
  std::vector<TenantBlocks> tenants;                      // their numbers are from 1 on
  std::unordered_map<uint64_t, uint32_t> tenant_numbers;  // by the high half of their roots
  RadixTree tree;
  GhostIndex ghosts;
  LossLog losses;  // of blocks, in the order in which tiers have lost them
  UseTimes times;  // of `now`
  Claims claims;
  LoadPlanner planner;
  SpillBudget budget;
  std::set<Lease::State*> leases;
  std::vector<Lease::State*> uncertain;           // leases with a copy since the last EndStep
  std::unordered_map<uint64_t, Running> running;  // transfers by id
  std::unordered_map<NodeId, uint64_t> loads;     // running transfers to the device, by node
  std::unordered_map<NodeId, uint64_t> spills;    // running transfers to a lower tier, by node
  struct QueuedSpill {
    NodeId node;
    BlockKey key;  // the node may be gone and its id in use for another
    bool to_disk;  // at its end, as far as was known when it was queued
  };
  struct SpillQueue {
    std::deque<QueuedSpill> spills;
    std::unordered_set<BlockKey> keys;  // those in it; each is there once
    size_t size() const { return spills.size(); }
    bool empty() const { return spills.empty(); }
  };
  // Deferred spills wait until no request computes, or it is worth it. A key may be in both queues: what is
  // deferred does not keep its block from a turn that comes sooner. The second entry finds nothing to do.
  SpillQueue spill_queue, deferred_spills;
  SpillQueue remote_spills;          // to the remote tier, at once
  size_t forget_spills_at = 0;       // the length of all at which they are gone through next
  bool idle = true;                  // at the last Poll
  uint64_t pending_disk_blocks = 0;  // queued spills and running ones with `to_disk`
  // How the disk keeps, or will keep, the records of nodes. A time may have come already.
  std::unordered_map<NodeId, Retention::Kept> disk_kept;
  PrefixCacheStats stats;
  SessionHints hints;  // counts in `stats`
  std::optional<ActivePurge> purge;
  // Nodes with RadixTree::Facts::purged: they go when nothing refers to them any more. Nobody takes them.
  size_t purged_nodes = 0;
  bool spills_all = false;   // since SpillAll
  bool device_lost = false;  // since LoseDevice
  uint64_t next_transfer = 1;
  uint64_t last_asker = 0;
  uint64_t now = 0;    // the time of last use: the number of calls of GiveBack
  double seconds = 0;  // the time of the last Poll
};

}  // namespace prefixd
