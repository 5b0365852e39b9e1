// PrefixCache: the facade of the cache. It joins the block pool, the radix tree over block keys, eviction and the claims
// on blocks that are being computed, and hands them out as leases: one lease per running sequence, which holds the
// sequence's block table and keeps every block in it from eviction. Engine thread only; no clock, no thread, no I/O.
//
// The life of a sequence over `tokens` (prompt, then prompt + generated):
//   Lease lease = cache.Open(root);
//   cache.Acquire(lease, tokens, limit)    until kReady: takes what is cached, waits for what another computes or copies
//   cache.Reserve(lease, n)                before a step that computes tokens up to n: gives it blocks (evicts if need be)
//   cache.Commit(lease, tokens)            after the step: tokens.size() tokens are computed; full blocks enter the tree
//   lease destroyed or Release()           blocks in the tree stay cached, private ones become free
//
// Invariants (CheckInvariants proves them)
//   1. free + leased + cached = capacity, counted from the blocks themselves.
//   2. A block is in the tree at most once; a block outside the tree belongs to exactly one lease or one copy.
//   3. The blocks of a lease cover [0, ready) with KV of exactly the tokens that were acquired or committed; blocks of the tree are
//      full and never written again.
//   4. A leased block's ancestors in the tree are leased as well; so the tail of a leaf run that nobody leases is always a
//      possible victim, and eviction removes only such tails.
//   5. A key is claimed by at most one lease, and never while the block is in the tree under it.
//   6. Every hit was confirmed token by token; a key that finds other tokens is a miss and counts in stats().verify_failures_tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "cache/block_mover.h"
#include "hashing/block_key.h"

namespace prefixd {

// Why a prompt token had to be computed. The order is that of the metric's label set.
enum class MissReason : uint8_t {
  kNeverSeen, kEvictedDevice, kEvictedHost, kEvictedDisk, kBlockTail, kOtherTenant, kOtherModel, kExpired, kCorrupt,
  kLoadSlower, kTemplateDiverged, kDisabled,
};
inline constexpr int kMissReasons = 12;
std::string_view MissReasonName(MissReason reason);  // "never_seen", ...

// Plain counters, monotone; gauges are members of PrefixCache.
struct PrefixCacheStats {
  uint64_t hit_tokens = 0;              // taken from the tree, whole blocks and copied parts
  uint64_t committed_blocks = 0;        // entered the tree
  uint64_t deduplicated_blocks = 0;     // computed although the tree had them by then
  uint64_t evicted_blocks = 0;
  uint64_t partial_copies = 0;          // copies of a partly matching block
  uint64_t failed_copies = 0;
  uint64_t verify_failures_tokens = 0;  // key equal, tokens not
};

// To explain misses the cache remembers the keys of the blocks it evicted last: 4 keys for each block of its
// capacity.
inline constexpr uint32_t kGhostKeysPerBlock = 4;

class PrefixCache;

// A sequence's hold on its blocks. Move-only. Destroy it before the cache.
class Lease {
 public:
  Lease();
  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();

  bool open() const;
  // The block table; covers at least ready() tokens.
  std::span<const BlockId> blocks() const;
  // KV of the first ready() tokens is there.
  int ready() const;
  void Release();

 private:
  friend class PrefixCache;
  struct State;
  std::unique_ptr<State> state_;
};

class PrefixCache {
 public:
  using KeyFunction = std::function<BlockKey(const BlockKey& parent, std::span<const TokenId> tokens)>;
  struct Options {
    int block_tokens = 16;        // a power of two
    uint32_t blocks = 0;          // capacity of the device tier
    bool reuse = true;            // false: nothing is ever found, shared or kept (--no-prefix-cache)
    KeyFunction key = ChildKey;   // tests plant collisions here
  };

  // `mover` outlives the cache.
  PrefixCache(Options options, BlockMover* mover);
  ~PrefixCache();

  // A lease that does not read takes nothing that is cached and waits for nobody: its Acquire is kReady at once. What it commits
  // enters the tree, or is freed where the tree has it, as of any other.
  enum class Reads { kYes, kNo };
  Lease Open(const BlockKey& root, Reads reads = Reads::kYes);

  enum class AcquireState {
    kReady,    // go on and compute from lease.ready()
    kWaiting,  // another lease is computing the next block right now: ask again after the next step
    kCopying,  // a partly matching block is being copied: ask again after Poll()
  };
  struct Acquired {
    AcquireState state;
    int device_tokens;  // taken by this call from blocks that were cached
    int shared_tokens;  // taken by this call after another lease had been waited for
  };
  // Extends `lease` from ready() with what is cached of tokens[0, limit), and claims the full blocks of tokens that are left once
  // nothing can be taken or waited for (state kReady). limit < tokens.size() leaves at least a token to compute. Idempotent once kReady.
  Acquired Acquire(Lease& lease, std::span<const TokenId> tokens, int limit);

  // Why each token of tokens[lease.ready(), tokens.size()) is not cached, as runs in order. Call when Acquire said kReady.
  struct MissRun {
    MissReason reason;
    int tokens;
  };
  std::vector<MissRun> ExplainMisses(const Lease& lease, std::span<const TokenId> tokens) const;

  // How many full blocks of `tokens`, from where the lease stands on, other leases hold or are computing right now: they would cost this
  // lease no block; 0 for one that does not read. For admission; a guess as soon as anything changes.
  int SharedBlocks(const Lease& lease, std::span<const TokenId> tokens) const;

  // Makes the block table cover `tokens` tokens, evicting cached blocks if it must. False, and nothing changed, when the rest is leased.
  [[nodiscard]] bool Reserve(Lease& lease, int tokens);

  // KV of all of `tokens` is now computed (tokens.size() >= ready()). Full blocks enter the tree; claims on them end. Where the tree
  // has an equal block by now, the lease's own is freed and the tree's takes its place in the block table.
  void Commit(Lease& lease, std::span<const TokenId> tokens);

  // Takes note of finished copies. Call once per step.
  void Poll();

  uint32_t capacity() const;
  uint32_t free_blocks() const;
  uint32_t cached_blocks() const;  // in the tree, not leased: reusable and evictable
  uint32_t leased_blocks() const;
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
