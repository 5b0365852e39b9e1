// PrefixCache: the public interface of the cache. It joins the block pool, the radix tree over block keys,
// the eviction policy and the claims on blocks that are being computed. It gives out leases: one lease per
// running sequence, which holds the sequence's block table and protects every block in it from eviction.
// Engine thread only. It has no clock, no thread and no I/O.
//
// The life of a sequence over `tokens` (the prompt, then prompt + generated tokens):
//   Lease lease = cache.Open(root);
//   cache.Acquire(lease, tokens, limit)  Call it once per step until it returns kReady. It takes cached
//                                        blocks. It returns another state while another lease computes the
//                                        next block or a copy runs.
//   cache.Reserve(lease, n)              Call it before a step that computes tokens up to n. It adds blocks
//                                        to the block table and evicts cached blocks if needed.
//   cache.Commit(lease, tokens)          Call it after the step, when the KV of all `tokens` is computed.
//                                        Full blocks enter the tree.
//   lease.Release(), or destruction      Blocks in the tree stay cached; private blocks become free.
//
// Invariants (CheckInvariants tests them)
//   1. free + leased + cached = capacity. CheckInvariants counts the blocks in each state.
//   2. A block is in the tree at most once. A block outside the tree that is not free belongs to exactly one
//      lease or one copy.
//   3. The blocks of a lease cover [0, ready) with the KV of exactly the tokens that were acquired or
//      committed. Blocks of the tree are full and never written again.
//   4. The ancestors of a leased block in the tree are leased as well. So the tree has a leaf to evict for as
//      long as it has a cached block. Eviction removes only leaves to which no lease and no running copy
//      refers.
//   5. At most one lease claims a key, and no lease claims the key of a block that is in the tree.
//   6. Every hit was confirmed token by token. A key that finds a block with other tokens is a miss and
//      counts in stats().key_collisions.
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

// Why a prompt token had to be computed. The metric of misses has its labels in the same order.
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
  kDisabled,  // Options::reuse is false, or the lease was opened with Reads::kNo
};
inline constexpr int kMissReasons = 12;
std::string_view MissReasonName(MissReason reason);  // "never_seen", ...

// Counters, which only grow. The gauges, such as free_blocks(), are members of PrefixCache.
struct PrefixCacheStats {
  uint64_t hit_tokens = 0;           // taken from the cache: whole blocks and copied parts
  uint64_t committed_blocks = 0;     // blocks that entered the tree
  uint64_t deduplicated_blocks = 0;  // computed, but the tree already had an equal block
  uint64_t evicted_blocks = 0;
  uint64_t partial_copies = 0;  // started copies of a partly matching block
  uint64_t failed_copies = 0;
  uint64_t key_collisions = 0;  // blocks with a matching key but other tokens; counts blocks
};

// To explain misses, the cache remembers the keys of the most recently evicted blocks: 4 keys for each block
// of its capacity.
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
    int device_tokens;  // tokens that this call took, if the lease has not waited for another lease
    int shared_tokens;  // tokens that this call took, if the lease has waited for another lease
  };
  // Extends `lease` from ready() with cached blocks of tokens[0, limit). When there is no further block to
  // take, to copy or to wait for, claims the remaining full blocks of `tokens` and returns kReady. At most
  // `limit` tokens are taken, so limit < tokens.size() leaves at least one token to compute. Requires
  // 0 <= limit <= tokens.size(). Requires that `tokens` begins with the `tokens` of the earlier calls for
  // this lease, and that `limit` is not below theirs. After kReady, further calls return kReady and do
  // nothing.
  Acquired Acquire(Lease& lease, std::span<const TokenId> tokens, int limit);

  // Returns for each token of tokens[lease.ready(), tokens.size()) why it was not taken from the cache, as
  // consecutive runs of tokens with the same reason. Requires that Acquire has returned kReady.
  struct MissRun {
    MissReason reason;
    int tokens;
  };
  std::vector<MissRun> ExplainMisses(const Lease& lease, std::span<const TokenId> tokens) const;

  // Counts the full blocks of `tokens` that follow the lease's blocks in the tree and that other leases hold
  // or compute, up to the first block that none does. The lease could share these blocks and would need no
  // free block for them. Returns 0 for a lease opened with kNo. The scheduler uses it for admission. It is an
  // estimate, because any later call on the cache may change it.
  int CountSharedBlocks(const Lease& lease, std::span<const TokenId> tokens) const;

  // Makes the block table cover `tokens` tokens, evicting cached blocks if needed. Returns false and changes
  // nothing when there are too few free and cached blocks.
  [[nodiscard]] bool Reserve(Lease& lease, int tokens);

  // Records that the KV of all of `tokens` is computed. Requires that Acquire has returned kReady, that
  // tokens.size() >= ready(), and that the block table covers `tokens`. Full blocks enter the tree, and
  // claims on them end. Where the tree already has an equal block, that block replaces the lease's own block
  // in the block table, and the lease's own block becomes free.
  void Commit(Lease& lease, std::span<const TokenId> tokens);

  // Processes the copies that have finished. Call it once per step.
  void Poll();

  uint32_t capacity() const;
  uint32_t free_blocks() const;
  uint32_t cached_blocks() const;  // in the tree and not leased: can be reused or evicted
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
