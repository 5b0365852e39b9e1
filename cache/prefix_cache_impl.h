// The inside of PrefixCache, for its .cc files and its tests: what a lease knows, and the parts the cache
// joins. Engine thread only. The invariants stand in prefix_cache.h; those of the inside:
//   a. A lease that is not detached has exactly its full blocks in the tree, in_tree = ready / block_tokens,
//      and stands behind the last of them. A detached one (no reuse, or a key collision) keeps what follows
//      to itself until its end.
//   b. The eviction candidates are exactly the leaves of the tree without references.
//   c. While a copy runs, its source has a reference, and the path to the source is leased by the lease that
//      asked or, once that is released, by the copy; its target belongs to the copy.
//   d. A lease claims only when it settles (its Acquire said kReady for the first time), and takes and waits
//      for nothing after that. One that does not read claims no block behind one that is in the tree or that
//      another claims: whoever waits for it would wait for what lies before as well.
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
  RadixTree::Position at;       // behind the last block of the lease in the tree
  BlockKey tip;                 // key of that block, or of the root
  std::vector<BlockId> blocks;  // the block table: [0, in_tree) shared through the tree, the rest private
  int in_tree = 0;
  int ready = 0;  // tokens
  bool detached = false;
  bool reads = true;
  bool settled = false;
  bool waited = false;  // for another lease, and not settled since
  Claims::Claimant claimant;

  // A copy for this lease is running (tag), has arrived (block) or failed (at this value of ready).
  std::optional<uint64_t> copy_tag;
  BlockId copied = kNoBlock;
  int copied_tokens = 0;
  int copy_failed_at = -1;
};

struct PrefixCache::Impl {
  Impl(Options options_in, BlockMover* mover_in);

  Acquired Acquire(Lease::State& lease, std::span<const TokenId> tokens, int limit);
  std::vector<MissRun> ExplainMisses(const Lease::State& lease, std::span<const TokenId> tokens) const;
  int SharedBlocks(const Lease::State& lease, std::span<const TokenId> tokens) const;
  bool Reserve(Lease::State& lease, int tokens);
  void Commit(Lease::State& lease, std::span<const TokenId> tokens);
  void Release(Lease::State& lease);
  void Poll();
  void CheckInvariants() const;

  struct Copy {
    Lease::State* lease;  // null once released
    BlockId from;
    BlockId to;
    int tokens;
    std::vector<BlockId> path;  // blocks of the tree that a released lease left to the copy
  };

  class PathBeyond;

  // The block of `tokens` with number `index`.
  std::span<const TokenId> BlockOf(std::span<const TokenId> tokens, int index) const;
  // Acquire, step by step. The first two return the number of tokens taken.
  int TakeCopied(Lease::State& lease, int limit);
  int TakeFullBlocks(Lease::State& lease, std::span<const TokenId> tokens, int limit);
  bool IsClaimedByAnother(const Lease::State& lease, std::span<const TokenId> tokens) const;
  bool StartCopy(Lease::State& lease, std::span<const TokenId> wanted);
  void ClaimRest(Lease::State& lease, std::span<const TokenId> tokens);

  void CommitBlock(Lease::State& lease, std::span<const TokenId> content);

  // Puts `block` at the end of the tree part of the table, or where the private part begins, in place of what
  // was reserved there.
  void Place(Lease::State& lease, BlockId block);
  // The lease now stands behind `block`, its next one, which is in the tree under `key`.
  void Advance(Lease::State& lease, const BlockKey& key, BlockId block);
  void Detach(Lease::State& lease);

  // A block to fill, evicting one if need be.
  std::optional<BlockId> TakeBlock();
  void Reference(BlockId block);
  // All at one time of use. Requires that who refers to a block refers to its parents too, until this call at
  // least.
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
  uint64_t now = 0;  // number of the last Dereference: the time of least recently used
  PrefixCacheStats stats;
};

}  // namespace prefixd
