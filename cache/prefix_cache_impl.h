// The implementation of PrefixCache: the state of a lease and the components of the cache. Only the .cc files
// and the tests of PrefixCache include this header. Engine thread only.
//
// Internal invariants (prefix_cache.h has the public ones)
//   a. A lease that is not detached has exactly its full blocks in the tree: in_tree = ready / block_tokens,
//      and `at` is the place after the last of them. A detached lease (reuse is off, or keys collided) keeps
//      all further blocks private until its end.
//   b. The eviction candidates are exactly the leaves of the tree that have no references.
//   c. While a copy runs, its source has a reference. The path to the source is leased by the lease that
//      asked for the copy or, after its release, by the copy. The target belongs to the copy.
//   d. A lease settles when its Acquire first returns kReady. It claims blocks only at that moment. After it,
//      Acquire takes no block and waits for none. A lease opened with Reads::kNo claims blocks only up to the
//      first block that is in the tree or that another lease claims. It has to compute that block again, but
//      a lease that reads can take it. So the lease that reads reaches the later blocks sooner and must not
//      wait for them.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "cache/block_pool.h"
#include "cache/claims.h"
#include "cache/eviction.h"
#include "cache/ghost_index.h"
#include "cache/prefix_cache.h"
#include "cache/radix_tree.h"

namespace prefixd {

struct Lease::State {
  PrefixCache::Impl* cache = nullptr;
  RadixTree::Position at;       // the place after the last block of the lease in the tree
  BlockKey tip;                 // key of that block, or of the root
  std::vector<BlockId> blocks;  // the block table: [0, in_tree) shared through the tree, the rest private
  int in_tree = 0;
  int ready = 0;  // tokens
  bool detached = false;
  bool reads = true;
  bool settled = false;
  bool waited = false;  // it has waited for another lease and has not settled since
  Claims::Claimant claimant;

  // The copy for this lease.
  std::optional<uint64_t> copy_tag;  // set while the copy runs
  BlockId copied = kNoBlock;         // the target, from the success of the copy until Acquire takes the block
  int copied_tokens = 0;
  int copy_failed_at = -1;  // the value of `ready` at which a copy failed
};

struct PrefixCache::Impl {
  Impl(Options options_in, BlockMover* mover_in);

  Acquired Acquire(Lease::State& lease, std::span<const TokenId> tokens, int limit);
  std::vector<MissRun> ExplainMisses(const Lease::State& lease, std::span<const TokenId> tokens) const;
  int CountSharedBlocks(const Lease::State& lease, std::span<const TokenId> tokens) const;
  bool Reserve(Lease::State& lease, int tokens);
  void Commit(Lease::State& lease, std::span<const TokenId> tokens);
  void Release(Lease::State& lease);
  void Poll();
  void CheckInvariants() const;

  struct Copy {
    Lease::State* lease;  // null after the release of the lease
    BlockId from;
    BlockId to;
    int tokens;
    std::vector<BlockId> path;  // tree blocks of the lease that was released while the copy ran
  };

  class FollowingBlocks;

  // Returns the tokens of the block with number `index` in its sequence.
  std::span<const TokenId> TokensOfBlock(std::span<const TokenId> tokens, int index) const;
  // The steps of Acquire. The first two return the number of tokens taken.
  int TakeCopied(Lease::State& lease, int limit);
  int TakeFullBlocks(Lease::State& lease, std::span<const TokenId> tokens, int limit);
  bool IsClaimedByAnother(const Lease::State& lease, std::span<const TokenId> tokens) const;
  bool StartCopy(Lease::State& lease, std::span<const TokenId> wanted);
  void ClaimRest(Lease::State& lease, std::span<const TokenId> tokens);

  void CommitBlock(Lease::State& lease, std::span<const TokenId> content);

  // Puts `block` into the block table at index in_tree. Frees the block that was reserved there, if any.
  void Place(Lease::State& lease, BlockId block);
  // Moves the lease past `block`, its next block, which is in the tree under `key`.
  void Advance(Lease::State& lease, const BlockKey& key, BlockId block);
  // Keeps the further blocks of the lease out of the tree, after a key collision.
  void Detach(Lease::State& lease);

  // Returns a block to fill, evicting a cached block if none is free. Returns nothing when all are leased.
  std::optional<BlockId> TakeBlock();
  void Reference(BlockId block);
  // Drops one reference to each block and sets one time of last use for all of them. Requires that whoever
  // holds a reference to a block also holds references to all its ancestors, at least until this call.
  void Dereference(std::span<const BlockId> blocks);

  void CheckLease(const Lease::State& lease, std::vector<uint32_t>* references) const;
  void CheckTree() const;
  void CheckClaims() const;

  const Options options;
  const int block_tokens;
  BlockMover* const mover;
  BlockPool pool;
  RadixTree tree;
  std::unique_ptr<EvictionPolicy> eviction;
  GhostIndex ghost;
  Claims claims;
  std::set<Lease::State*> leases;
  std::unordered_map<uint64_t, Copy> copies;  // running, by tag
  uint64_t next_tag = 1;
  uint64_t now = 0;  // the time of last use: the number of calls of Dereference
  PrefixCacheStats stats;
};

}  // namespace prefixd
