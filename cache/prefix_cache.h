// PrefixCache: the public interface of the cache. It joins the radix tree of nodes, a block pool and an
// eviction policy per tier, the claims on blocks that are being computed, and the transfers between tiers. It
// gives out leases: one lease per running sequence, which holds the sequence's block table and protects every
// block in it from eviction. Engine thread only. It has no clock, no thread and no I/O.
//
// The life of a sequence over `tokens` (the prompt, then prompt + generated tokens):
//   Lease lease = cache.Open(&keys);
//   cache.Acquire(lease, tokens, limit)  Call it before each step until it returns kReady for all tokens. It
//                                        takes cached blocks. It returns another state while another lease
//                                        computes the next block, or while the next block comes from a lower
//                                        tier; and kReady for a part of the tokens while the later ones come
//                                        from there.
//   cache.Reserve(lease, n)              Call it before a step that computes tokens up to n. It adds blocks
//                                        to the block table and evicts cached blocks if needed.
//   cache.EndStep(ok)                    Call it after the step, before the first Commit.
//   cache.Commit(lease, tokens)          Call it after the step, when the KV of all `tokens` is computed.
//                                        Full blocks enter the tree.
//   lease.Release(), or destruction      Blocks in the tree stay cached; private blocks become free.
//
// Invariants (CheckInvariants tests them)
//   1. In each pool tier, free + leased + cached = capacity.
//   2. A block of a pool tier belongs to exactly one node, one lease or one transfer, or it is free. A node
//      has at most one block in each pool tier.
//   3. The blocks of a lease cover [0, ready) with the KV of exactly the tokens that were acquired or
//      committed. A block of a node is full and never written again.
//   4. The ancestors of a node on the path of a lease are on it as well. Eviction from a tier takes only
//      nodes to which no lease and no transfer refers, the last ones of a prefix first. So there is a block
//      to evict for as long as a block is cached, but those that other tenants are guaranteed.
//   5. At most one lease claims a key. No lease claims the key of a node that has a device block, unless keys
//      collide.
//   6. Every hit was confirmed token by token. A key that finds a node with other tokens is a miss and counts
//      in stats().key_collisions.
//   7. A node without KV in memory stays in the tree while the ghost index has it, it has children, or a
//      lease or a transfer refers to it. So the number of nodes is bounded, whatever the disk tier has.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/latency_histogram.h"
#include "base/status.h"
#include "base/types.h"
#include "cache/block_keys.h"
#include "cache/load_planner.h"
#include "cache/miss_reason.h"
#include "cache/prefix_scan.h"
#include "cache/residency_listener.h"
#include "cache/retention.h"
#include "cache/spill_budget.h"
#include "cache/tenant_eviction.h"
#include "cache/tier.h"
#include "cache/transfer_port.h"
#include "hashing/block_key.h"

namespace prefixd {

// Counters, which only grow. The gauges, such as free_blocks(), are members of PrefixCache.
struct PrefixCacheStats {
  uint64_t hit_tokens = 0;           // taken from the cache: whole blocks and copied parts
  uint64_t committed_blocks = 0;     // blocks that entered the tree
  uint64_t deduplicated_blocks = 0;  // computed, but the tree already had an equal block
  uint64_t written_tokens = 0;       // of committed blocks: those that no Acquire could take before
  std::array<uint64_t, kPoolTiers> evicted_blocks{};
  // Retention, by pool tier: blocks that were not kept because the budget was used; whose time has come; that
  // were evicted before it, because nothing else was left; and that gave way to another tenant's.
  std::array<uint64_t, kPoolTiers> retention_refused{}, retention_expired{}, retention_evicted{},
      retention_displaced{};
  // Tokens that leases asked to keep, when they were released: kept, and beyond the budget.
  uint64_t kept_tokens = 0, refused_tokens = 0;
  SessionHints::Counters hints;
  uint64_t partial_copies = 0;  // copies of a partly matching block
  uint64_t failed_copies = 0;   // those whose step failed
  uint64_t key_collisions = 0;  // blocks with a matching key but other tokens; counts blocks
  // Transfers to the device tier and to lower tiers, by TransferResult. What is not kOk is a miss, or KV that
  // stays in its tier alone.
  std::array<uint64_t, kTransferResults> loads{};
  std::array<uint64_t, kTransferResults> spills{};
  uint64_t deferred_spills = 0;  // blocks that were not to be spilled before no request computes
  // What was decided for hits in lower tiers, by the lowest tier that a hit needs.
  std::array<std::array<uint64_t, kLoadDecisions>, kTiers> load_decisions{};
  // The seconds since the use before, of blocks that a lease took from a pool tier, and of those evicted from
  // one, by tier. A pool tier that evicts blocks at ages at which others are still used is too small.
  using Ages = std::array<LatencyHistogram, kPoolTiers>;
  Ages age_at_hit{LatencyHistogram(kAgeBounds), LatencyHistogram(kAgeBounds)};
  Ages age_at_eviction{LatencyHistogram(kAgeBounds), LatencyHistogram(kAgeBounds)};
};

// To inform eviction, the cache remembers the nodes that lost their KV in memory last: 4 nodes for each block
// of its device tier.
inline constexpr uint32_t kGhostsPerBlock = 4;

class PrefixCache;

// The blocks that one sequence holds. Move-only. The cache must outlive it.
class Lease {
 public:
  Lease();
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();

  bool open() const;
  // The block table. It covers at least ready() tokens.
  std::span<const BlockId> blocks() const;
  // The number of leading tokens whose KV is in the blocks.
  int ready() const;
  // Blocks after those of ready() that are loaded for it, or have been. They take room on the device already.
  int arriving_blocks() const;
  // How many leading tokens are kept for it, of those that its PrefixUse asks for: the rest was beyond the
  // budget, or is not committed yet.
  int kept_tokens() const;
  // Returns the blocks to the cache. The lease is closed afterwards. Returns its last kept_tokens(). The hint
  // of its PrefixUse has no effect unless the request is over.
  int Release(bool is_over = true);

 private:
  friend class PrefixCache;
  struct State;
  std::unique_ptr<State> state_;
};

class PrefixCache {
 public:
  struct Options {
    int block_tokens = 16;  // a power of two
    uint32_t blocks = 0;    // capacity of the device tier
    bool reuse = true;      // false: no block is found, shared or kept (--no-prefix-cache)
    std::string eviction;   // a name from EvictionPolicyNames(); empty: the default
    // Shorter partial matches are computed rather than copied. To copy a block costs 0.01 to 0.1 of what it
    // costs to compute one token (bench/README.md, "Cost of copying a block"), so a match of one pays.
    int min_copy_tokens = 1;
    float cost_per_depth = 0;  // NodeUse::cost grows by it with each block of depth

    bool tenants = true;  // whether there may be a SetTenants, for which MaxMemoryBytes has room
    // The share of each tier in memory, in percent, that requests can have kept (cache/retention.h).
    int retained_percent = 25;

    // The lower tiers. They need a TransferPort.
    uint32_t host_blocks = 0;  // capacity of the host tier; 0: there is none
    bool disk = false;         // whether there is a disk tier
    bool remote = false;       // whether there is a remote tier
    // The wear filter: without write-through, a block is written to the disk when it is used a second time,
    // or computed a second time after it was evicted; or by SpillAll. What goes to the disk, the port may
    // write to the remote tier as well. Without a disk tier, blocks go to the remote tier when they are used
    // a second time, or computed so.
    bool write_through = false;
    uint32_t max_transfers = 64;  // > 0; transfers that run at once; of them loads: blocks / 4, or 4
    LoadPolicy load_policy = LoadPolicy::kAuto;
    // Of LoadPlanner::Options.
    std::array<double, kTiers> block_seconds{};
    size_t block_bytes = 0;
    // Device blocks that spills leave free or cached, so that no request waits for the end of a spill.
    uint32_t spill_reserve = 0;
    // Whether spills take processors from the steps, see SpillBudget.
    bool spills_slow_steps = false;
    // Losses of blocks that it remembers to explain misses (cache/loss_log.h); 0: some for each block.
    size_t losses = 0;
    KeyFunction key = ChildKey;              // that of every BlockKeys; CheckInvariants uses it
    ResidencyListener* residency = nullptr;  // outlives the cache; null: nobody listens
  };

  // `copier` and `port` must outlive the cache. `port` may be null when there is no lower tier.
  PrefixCache(Options options, DeviceCopier* copier, TransferPort* port = nullptr);
  ~PrefixCache();

  // Opens a lease for the sequence whose keys are `keys`, with the same block size as the cache. The lease
  // extends `keys`, which must stay in place and serve no other sequence until the lease is released.
  // A lease opened with kNo takes no cached block and waits for no other lease: its Acquire returns kReady at
  // once. Its committed blocks enter the tree like those of any other lease.
  // `use` says what is kept: the blocks up to a breakpoint, from when they are taken or committed until its
  // seconds after their last use, in every tier in memory that has them, within the budget of the tier. A
  // breakpoint within a block that nothing fills enters the tree as a block of its own when the lease is
  // released: its other tokens match none (prefix_cache_retention.cc).
  enum class Reads { kYes, kNo };
  Lease Open(BlockKeys* keys, Reads reads = Reads::kYes, PrefixUse use = {});

  enum class AcquireState {
    kReady,    // compute the tokens from lease.ready() to `until`
    kWaiting,  // another lease is computing the next block: call again after the next step
    kLoading,  // the next block comes from a lower tier: call again after Poll()
  };
  struct Acquired {
    AcquireState state = AcquireState::kReady;
    Tier loads_from = Tier::kHost;  // when state is kLoading: of the block that it waits for
    // When state is kReady: as many tokens may be computed. Below tokens.size(), the tokens after it come
    // from a lower tier, or may yet come from there.
    int until = 0;
    int shared_tokens = 0;  // tokens that this call took, if the lease has waited for another lease
    // Otherwise: tokens that this call took, by the tier from which they came.
    std::array<int, kTiers> tier_tokens{};
    std::array<int, kLoadDecisions> decisions{};  // that this call has taken, for hits in lower tiers
    int tokens() const {
      return shared_tokens + tier_tokens[0] + tier_tokens[1] + tier_tokens[2] + tier_tokens[3];
    }
  };
  // Extends `lease` from ready() with cached blocks of tokens[0, limit). Of the blocks that lie in lower
  // tiers it decides which are loaded and which are computed, as LoadPlanner says, and starts the loads. When
  // there is no further block to take or to wait for, claims the remaining full blocks of `tokens`, copies
  // the matching part of a partly matching block, and returns kReady with `until` tokens.size(); further
  // calls then do nothing. At most `limit` tokens are taken, so limit < tokens.size() leaves at least one
  // token to compute. Requires 0 <= limit <= tokens.size(). Requires that `tokens` begins with the `tokens`
  // of the earlier calls for this lease, and that `limit` is not below theirs. `compute` may be null: then
  // nothing is known about computing, and what lower tiers have is loaded.
  Acquired Acquire(Lease& lease, std::span<const TokenId> tokens, int limit,
                   const ComputeEstimate* compute = nullptr);

  // Returns for each token of tokens[lease.ready(), tokens.size()) why it was not taken from the cache, as
  // consecutive runs of tokens with the same reason. Blocks on the device after a missing one have its
  // reason. Requires that the last Acquire has returned kReady, and that `tokens` go no further than `until`.
  struct MissRun {
    MissReason reason;
    int tokens;
  };
  std::vector<MissRun> ExplainMisses(const Lease& lease, std::span<const TokenId> tokens);

  // The place of the first token of `tokens` that was not taken from the cache, and what the tiers had of its
  // block. The same requirements, and that there is such a token.
  struct MissPlace {
    int token = 0;
    BlockKey key;                        // of the block of that token; zero: it is no full block
    std::array<bool, kTiers> resides{};  // a tier had the block all the same
    // When the tier that had it last has lost it, and its last use, on the clock of Poll.
    std::optional<double> lost, last_use;
  };
  MissPlace PlaceOfMiss(const Lease& lease, std::span<const TokenId> tokens) const;

  // Counts the leading blocks of a sequence that leases hold or compute, up to the first block that none
  // does. A new lease could share these blocks and would need no free block for them. The scheduler uses it
  // for admission. It is an estimate, because any later call on the cache may change it.
  int CountSharedBlocks(const BlockKeys& keys, std::span<const TokenId> tokens) const;

  // Makes the block table cover `tokens` tokens, evicting cached blocks if needed. Returns false and changes
  // nothing when there are too few free and cached blocks.
  [[nodiscard]] bool Reserve(Lease& lease, int tokens);

  // Says whether the step has succeeded that follows the Acquire calls since the last EndStep. Their copies
  // are valid from now on or, after a failed step, lost: the leases have ready() without them, and the tokens
  // are computed instead.
  void EndStep(bool ok);

  // Records that the KV of all of `tokens` is computed. Requires that the last Acquire has returned kReady
  // with `until` >= tokens.size(), that EndStep has been called since, that tokens.size() >= ready(), and
  // that the block table covers `tokens`. Full blocks enter the tree, and claims on them end. Where the tree
  // already has an equal block, that block replaces the lease's own block in the block table, and the lease's
  // own block becomes free. With kByStep, a step in flight reads the block table as it was: the lease keeps
  // such blocks until its next Commit, which comes after the end of that step, or until its release.
  //
  // Returns the positions of `tokens` that became reusable, in ascending order: no Acquire could have taken
  // them before this call. A block adds its tokens from the first one on in which it differs from all blocks
  // on the device after the same prefix. An equal block, in any tier, or a lease that cannot share adds none.
  struct Run {
    int begin, end;
  };
  enum class TableInUse { kNo, kByStep };
  std::vector<Run> Commit(Lease& lease, std::span<const TokenId> tokens, TableInUse in_use = TableInUse::kNo);

  // Processes the transfers that have ended, and starts those that are due. Call it once per step, and when
  // the port wakes the engine. `now` is the time on the engine's clock, in seconds; it never falls.
  // `idle`: no request computes or waits; spills that were deferred run then, see SpillBudget.
  void Poll(double now = 0, bool idle = true);
  // The estimates that decisions about loads rest on.
  const LoadPlanner& load_planner() const;
  // And those about spills.
  const SpillBudget& spill_budget() const;
  size_t running_transfers() const;
  // Whether a transfer runs, or a lease waits for the remote tier to say what it has.
  bool waits_for_tiers() const;
  // Ends the transfers from and to the disk that nobody works on yet: a later Poll frees their blocks. For a
  // sequence that has all other blocks and needs one more, while the disk hangs.
  void WithdrawTransfers();
  // Blocks that are to be written to the disk tier, or are being written.
  uint64_t pending_disk_blocks() const;
  // For the end of the process: from now on the wear filter lets all blocks pass, and at most `most_blocks`
  // that are not on the disk are spilled, those that were used last first. With 0 the filter stays, and
  // what was deferred is given up.
  void SpillAll(uint64_t most_blocks);
  // The device is lost: its blocks are not read any more. Only what the host tier has goes to the disk from
  // now on, and nothing else takes a block of the host tier.
  void LoseDevice();

  // What tenants may have, in place of what was said before. `tenant` is the high half of their roots
  // (hashing/block_key.h). Requires Options::tenants, tenants that differ, and that the guarantees of a tier
  // leave room for a sequence beside them, as whoever plans steps needs it.
  struct TenantBlocks {
    uint64_t tenant = 0;
    std::array<BlockShare, kPoolTiers> shares{};
  };
  void SetTenants(std::vector<TenantBlocks> tenants);
  // The blocks of the tenant with this number in the last SetTenants.
  uint32_t tenant_blocks(size_t number, Tier tier) const;
  // Free blocks of the device, and those that can be evicted for a sequence below this root.
  uint32_t RoomFor(const BlockKey& root) const;

  // The blocks of a pool tier.
  uint32_t capacity(Tier tier = Tier::kDevice) const;
  uint32_t free_blocks(Tier tier = Tier::kDevice) const;
  uint32_t cached_blocks(Tier tier = Tier::kDevice) const;  // can be reused or evicted
  uint32_t leased_blocks(Tier tier = Tier::kDevice) const;
  uint32_t kept_blocks(Tier tier = Tier::kDevice) const;  // by retention; leased ones too
  uint32_t most_kept_blocks(Tier tier = Tier::kDevice) const;
  // Goes on with the scan, with a cost of `most_nodes` (PrefixScan). Returns whether it is done.
  bool Scan(PrefixScan* scan, uint32_t most_nodes) const;
  // Tells the listener of residency where the blocks in memory lie, among up to `most_nodes` nodes from *next
  // on, fewer where there is much to tell, in any order. Sets *next to the node after them. Returns whether
  // it has seen all.
  bool Report(NodeId* next, uint32_t most_nodes) const;

  // Purges and pins, for operators (prefix_cache_purge.cc). From BeginPurge on, no lease takes or loads what
  // the scope names, and leases that hold some of it keep their further blocks to themselves. ContinuePurge
  // takes it out of the tiers in memory, without a trace, up to `most_nodes` nodes at a time, and returns
  // whether it has seen all. Of a prefix, the blocks before the last one can be taken until a call reaches
  // them. What leases or transfers refer to goes when they end. What the disk has is the caller's to delete
  // then, before EndPurge. Until EndPurge, what else lies in the scope's namespaces (kTenant, kAll) is
  // computed and not kept.
  struct PurgeScope {
    enum class Kind : uint8_t { kPrefix, kTenant, kAll } kind = Kind::kAll;
    // kPrefix: the last block of the prefix. It goes with all that continues it, and with the blocks before
    // it, as far as they lead only to it and were taken as often.
    NodeId node = kNoNode;
    BlockKey key;
    uint64_t tenant = 0;  // kTenant: the high half of its roots
  };
  struct Purged {
    std::array<uint64_t, kPoolTiers> blocks{};  // by tier, those that are gone
    uint64_t in_use = 0;                        // nodes that go when what refers to them ends
  };
  struct PurgedNames {          // kPrefix
    BlockKey root;              // of the prefix
    std::deque<BlockKey> keys;  // of the nodes that go
  };
  // Returns false when the tree does not have the prefix. Requires that no purge is under way.
  bool BeginPurge(const PurgeScope& scope);
  bool ContinuePurge(uint32_t most_nodes);
  // What the disk may have records of. Once, after ContinuePurge has seen all.
  PurgedNames TakePurgedNames();
  Purged EndPurge();

  // Keeps the blocks of a prefix in memory until they are unpinned, as far as half the budget of each tier's
  // retention goes; requests do not displace them. Running requests evict them when nothing else is left.
  struct Pinned {
    uint64_t prefix_blocks = 0;
    std::array<uint64_t, kPoolTiers> blocks{};       // of these, by tier, those that are pinned now
    std::array<uint64_t, kPoolTiers> refused{};      // beyond the budget
    std::array<uint64_t, kPoolTiers> all{}, most{};  // pinned blocks of all prefixes, and their budget
  };
  struct Pinning {
    NodeId node = kNoNode;  // the last block of the prefix
    BlockKey key;
    bool pin = true;               // false: unpin
    std::optional<Pinned> result;  // when it is done; nothing: the tree does not have the prefix
    // The cache's: the blocks that are still to be pinned, from the last one on, and the next one to list.
    struct Place {
      NodeId node;
      BlockKey key;
    };
    std::deque<Place> path;
    std::optional<Place> next;
    bool begun = false;
    Pinned counted;
  };
  // Looks at up to `most_nodes` nodes. Returns whether it is done, and goes on in the next call otherwise.
  // What requests take or evict in between is pinned as the calls meet it.
  bool Pin(Pinning* pinning, uint32_t most_nodes);

  size_t nodes() const;         // in the tree, with KV in memory or without
  size_t memory_bytes() const;  // of the tree, the states of blocks and the ghosts; without the policies
  // At most that much memory is used by a cache with these options, policies included, but not leases and
  // claims, whose memory grows with the running sequences. Whatever the requests are and whatever lies on the
  // disk: memory_bytes() of a cache whose prefixes seldom branch is about a third of it. Not counted are the
  // blocks that leases wait for, and ancestors of a block in memory that are themselves neither in memory nor
  // ghosts. Only loads from the back of a prefix, and a host tier that keeps a block longer than its
  // ancestors, leave such nodes.
  static size_t MaxMemoryBytes(const Options& options);
  int block_tokens() const;
  const PrefixCacheStats& stats() const;

  void CheckInvariants() const;

 private:
  friend class Lease;
  friend struct PrefixCacheTestPeer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace prefixd
