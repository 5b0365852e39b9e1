// PrefixCache: the public interface of the cache. It joins the block pool, the radix tree over block keys,
// the eviction policy and the claims on blocks that are being computed. It gives out leases: one lease per
// running sequence, which holds the sequence's block table and protects every block in it from eviction.
// Engine thread only. It has no clock, no thread and no I/O.
//
// The life of a sequence over `tokens` (the prompt, then prompt + generated tokens):
//   Lease lease = cache.Open(root);
//   cache.Acquire(lease, tokens, limit)  Call until kReady. Takes cached blocks; waits for blocks that
//                                        another lease computes or that are being copied.
//   cache.Reserve(lease, n)              Before a step that computes tokens up to n. Adds blocks to the
//                                        table, evicting cached blocks if needed.
//   cache.Commit(lease, tokens)          After the step. The KV of tokens.size() tokens is computed; full
//                                        blocks enter the tree.
//   lease.Release(), or destruction      Blocks in the tree stay cached; private blocks become free.
//
// Invariants (CheckInvariants tests them)
//   1. free + leased + cached = capacity, counted from the blocks themselves.
//   2. A block is in the tree at most once. A block outside the tree that is not free belongs to exactly one
//      lease or one copy.
//   3. The blocks of a lease cover [0, ready) with the KV of exactly the tokens that were acquired or
//      committed. Blocks of the tree are full and never written again.
//   4. The ancestors of a leased block in the tree are leased as well. So a leaf that no lease holds can
//      always be evicted, and eviction removes only such leaves.
//   5. At most one lease claims a key, and no lease claims the key of a block that is in the tree.
//   6. Every hit was confirmed token by token. A key that finds a block with other tokens is a miss and
//      counts in stats().verify_failures_tokens.
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

// Why a prompt token had to be computed. The order is that of the metric's labels.
enum class MissReason : uint8_t {
  kNeverSeen,
  kEvictedDevice,
  kEvictedHost,
  kEvictedDisk,
  kBlockTail,  // after the last full block of the prompt, or a cached block beyond Acquire's limit
  kOtherTenant,
  kOtherModel,
  kExpired,
  kCorrupt,
  kLoadSlower,
  kTemplateDiverged,
  kDisabled,  // the cache or this lease does not read
};
inline constexpr int kMissReasons = 12;
std::string_view MissReasonName(MissReason reason);  // "never_seen", ...

// Monotone counters. Gauges are members of PrefixCache.
struct PrefixCacheStats {
  uint64_t hit_tokens = 0;           // taken from the cache: whole blocks and copied parts
  uint64_t committed_blocks = 0;     // blocks that entered the tree
  uint64_t deduplicated_blocks = 0;  // computed, but the tree already had an equal block
  uint64_t evicted_blocks = 0;
  uint64_t partial_copies = 0;  // started copies of a partly matching block
  uint64_t failed_copies = 0;
  uint64_t verify_failures_tokens = 0;  // the key matched, the tokens did not
};

// To explain misses the cache remembers the keys of the blocks it evicted last: 4 keys for each block of its
// capacity.
inline constexpr uint32_t kGhostKeysPerBlock = 4;

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
  // Returns the blocks to the cache. The lease is closed afterwards.
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
    int block_tokens = 16;       // a power of two
    uint32_t blocks = 0;         // capacity of the device tier
    bool reuse = true;           // false: no block is found, shared or kept (--no-prefix-cache)
    KeyFunction key = ChildKey;  // tests replace it to cause collisions
  };

  // `mover` must outlive the cache.
  PrefixCache(Options options, BlockMover* mover);
  ~PrefixCache();

  // A lease opened with kNo takes no cached block and waits for no other lease: its Acquire returns kReady at
  // once. Its committed blocks enter the tree like those of any other lease.
  enum class Reads { kYes, kNo };
  Lease Open(const BlockKey& root, Reads reads = Reads::kYes);

  enum class AcquireState {
    kReady,    // compute the tokens from lease.ready() on
    kWaiting,  // another lease is computing the next block: call again after the next step
    kCopying,  // a partly matching block is being copied: call again after Poll()
  };
  struct Acquired {
    AcquireState state;
    int device_tokens;  // taken by this call from blocks that were cached
    int shared_tokens;  // taken by this call after a wait for another lease
  };
  // Extends `lease` from ready() with cached blocks of tokens[0, limit). When no block is left to take or to
  // wait for, claims the remaining full blocks of `tokens` and returns kReady. With limit < tokens.size() at
  // least one token is left to compute. Requires that `tokens` begins with the tokens of the calls before.
  // After kReady the call has no effect.
  Acquired Acquire(Lease& lease, std::span<const TokenId> tokens, int limit);

  // Returns why each token of tokens[lease.ready(), tokens.size()) is not cached, as runs in order. Requires
  // that Acquire has returned kReady.
  struct MissRun {
    MissReason reason;
    int tokens;
  };
  std::vector<MissRun> ExplainMisses(const Lease& lease, std::span<const TokenId> tokens) const;

  // Returns how many full blocks of `tokens` after the lease's blocks other leases hold or are computing. The
  // lease could share them and would need no free block for them. Returns 0 for a lease opened with kNo. For
  // admission: it is an estimate, because any later call may change it.
  int SharedBlocks(const Lease& lease, std::span<const TokenId> tokens) const;

  // Makes the block table cover `tokens` tokens, evicting cached blocks if needed. Returns false and changes
  // nothing when there are too few free and cached blocks.
  [[nodiscard]] bool Reserve(Lease& lease, int tokens);

  // Records that the KV of all of `tokens` is computed. Requires that Acquire has returned kReady, that
  // tokens.size() >= ready(), and that the block table covers `tokens`. Full blocks enter the tree, and
  // claims on them end. Where the tree already has an equal block, the lease's own block is freed and the
  // block of the tree replaces it in the block table.
  void Commit(Lease& lease, std::span<const TokenId> tokens);

  // Processes finished copies. Call it once per step.
  void Poll();

  uint32_t capacity() const;
  uint32_t free_blocks() const;
  uint32_t cached_blocks() const;  // in the tree and not leased: reusable and evictable
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
