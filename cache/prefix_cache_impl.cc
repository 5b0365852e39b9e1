#include "cache/prefix_cache_impl.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace prefixd {

PrefixCache::Impl::Impl(Options options_in, BlockMover* mover_in)
    : options(std::move(options_in)),
      block_tokens(options.block_tokens),
      mover(mover_in),
      pool(options.blocks),
      tree(block_tokens, options.blocks),
      eviction(std::make_unique<LruEviction>(options.blocks)),
      ghost(kGhostKeysPerBlock * options.blocks) {
  PREFIXD_CHECK(block_tokens > 0 && std::has_single_bit(static_cast<unsigned>(block_tokens))) << block_tokens;
  PREFIXD_CHECK(mover != nullptr && options.key != nullptr);
}

std::span<const TokenId> PrefixCache::Impl::TokensOfBlock(std::span<const TokenId> tokens, int index) const {
  return tokens.subspan(static_cast<size_t>(index) * block_tokens, block_tokens);
}

// Walks along the blocks that follow the blocks of a lease, also past the limit of its Acquire. It gives the
// key of each and, as long as they are in the tree, the block.
class PrefixCache::Impl::FollowingBlocks {
 public:
  FollowingBlocks(const Impl& cache, const Lease::State& lease)
      : cache_(cache), at_(lease.at), key_(lease.tip) {}

  RadixTree::Child Next(std::span<const TokenId> content) {
    key_ = cache_.options.key(key_, content);
    if (!in_tree_) return {};
    const RadixTree::Child child = cache_.tree.Find(at_, key_, content);
    at_.block = child.block;
    in_tree_ = child.block != kNoBlock;
    return child;
  }
  const BlockKey& key() const { return key_; }

 private:
  const Impl& cache_;
  RadixTree::Position at_;
  BlockKey key_;
  bool in_tree_ = true;
};

// --- Blocks ---

std::optional<BlockId> PrefixCache::Impl::TakeBlock() {
  if (pool.free_blocks() == 0) {
    const std::optional<BlockId> victim = eviction->Victim();
    if (!victim) return std::nullopt;
    const BlockId parent = tree.parent(*victim);
    ghost.Add(tree.key(*victim));
    eviction->Remove(*victim);
    tree.RemoveLeaf(*victim);
    pool.Evict(*victim);
    ++stats.evicted_blocks;
    if (parent != kNoBlock && tree.IsLeaf(parent) && pool.references(parent) == 0) {
      eviction->Add(parent, pool.last_used(parent));
    }
  }
  return pool.Allocate();
}

void PrefixCache::Impl::Reference(BlockId block) {
  if (eviction->Contains(block)) eviction->Remove(block);
  pool.AddReference(block);
}

void PrefixCache::Impl::Dereference(std::span<const BlockId> blocks) {
  ++now;
  for (const BlockId block : blocks) {
    if (pool.DropReference(block, now) && tree.IsLeaf(block)) eviction->Add(block, now);
  }
}

void PrefixCache::Impl::Place(Lease::State& lease, BlockId block) {
  const size_t index = static_cast<size_t>(lease.in_tree);
  if (index < lease.blocks.size()) {
    pool.Discard(lease.blocks[index]);
    lease.blocks[index] = block;
  } else {
    lease.blocks.push_back(block);
  }
}

void PrefixCache::Impl::Advance(Lease::State& lease, const BlockKey& key, BlockId block) {
  lease.at.block = block;
  lease.tip = key;
  ++lease.in_tree;
}

void PrefixCache::Impl::Detach(Lease::State& lease) {
  ++stats.key_collisions;
  lease.detached = true;
  claims.EndAll(&lease.claimant);
}

// --- Acquire ---

PrefixCache::Acquired PrefixCache::Impl::Acquire(Lease::State& lease, std::span<const TokenId> tokens,
                                                 int limit) {
  PREFIXD_CHECK(limit >= 0 && static_cast<size_t>(limit) <= tokens.size())
      << limit << " of " << tokens.size();
  if (lease.settled) return {AcquireState::kReady, 0, 0};
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  if (lease.copy_tag) return {AcquireState::kCopying, 0, 0};
  if (!lease.reads) {
    ClaimRest(lease, tokens);
    lease.settled = true;
    return {AcquireState::kReady, 0, 0};
  }

  int taken = TakeCopied(lease, limit);
  taken += TakeFullBlocks(lease, tokens, limit);
  stats.hit_tokens += static_cast<uint64_t>(taken);
  Acquired result{AcquireState::kReady, lease.waited ? 0 : taken, lease.waited ? taken : 0};

  if (!lease.detached && lease.ready % block_tokens == 0 && lease.ready < limit) {
    if (IsClaimedByAnother(lease, tokens)) {
      lease.waited = true;
      result.state = AcquireState::kWaiting;
      return result;
    }
    if (StartCopy(lease, tokens.subspan(lease.ready, std::min(block_tokens, limit - lease.ready)))) {
      result.state = AcquireState::kCopying;
      return result;
    }
  }
  ClaimRest(lease, tokens);
  lease.settled = true;
  lease.waited = false;
  return result;
}

int PrefixCache::Impl::TakeCopied(Lease::State& lease, int limit) {
  if (lease.copied == kNoBlock) return 0;
  PREFIXD_CHECK(lease.ready + lease.copied_tokens <= limit) << "the limit fell while a copy ran";
  Place(lease, std::exchange(lease.copied, kNoBlock));
  lease.ready += lease.copied_tokens;
  return lease.copied_tokens;
}

int PrefixCache::Impl::TakeFullBlocks(Lease::State& lease, std::span<const TokenId> tokens, int limit) {
  const int before = lease.ready;
  while (!lease.detached && lease.ready % block_tokens == 0 && lease.ready + block_tokens <= limit) {
    const std::span<const TokenId> next = TokensOfBlock(tokens, lease.in_tree);
    const BlockKey key = options.key(lease.tip, next);
    const RadixTree::Child child = tree.Find(lease.at, key, next);
    if (child.collision) Detach(lease);
    if (child.block == kNoBlock) break;
    Reference(child.block);
    Place(lease, child.block);
    Advance(lease, key, child.block);
    lease.ready += block_tokens;
  }
  return lease.ready - before;
}

bool PrefixCache::Impl::IsClaimedByAnother(const Lease::State& lease, std::span<const TokenId> tokens) const {
  if (static_cast<size_t>(lease.ready + block_tokens) > tokens.size()) return false;
  const std::span<const TokenId> next = TokensOfBlock(tokens, lease.in_tree);
  const BlockKey key = options.key(lease.tip, next);
  // The block may be in the tree: the limit may have cut it off.
  const RadixTree::Child child = tree.Find(lease.at, key, next);
  return child.block == kNoBlock && !child.collision && claims.Find(key) != nullptr;
}

bool PrefixCache::Impl::StartCopy(Lease::State& lease, std::span<const TokenId> wanted) {
  if (lease.copy_failed_at == lease.ready) return false;
  const RadixTree::Partial partial = tree.LongestPartial(lease.at, wanted);
  if (partial.tokens == 0) return false;
  Reference(partial.block);  // first, so that TakeBlock does not evict it
  const std::optional<BlockId> target = TakeBlock();
  if (!target) {
    Dereference({&partial.block, 1});
    return false;
  }
  const uint64_t tag = next_tag++;
  copies.emplace(tag, Copy{.lease = &lease, .from = partial.block, .to = *target, .tokens = partial.tokens});
  lease.copy_tag = tag;
  ++stats.partial_copies;
  mover->Start({.from_tier = Tier::kDevice,
                .from = partial.block,
                .to_tier = Tier::kDevice,
                .to = *target,
                .tag = tag});
  return true;
}

void PrefixCache::Impl::ClaimRest(Lease::State& lease, std::span<const TokenId> tokens) {
  if (lease.detached) return;
  FollowingBlocks path(*this, lease);
  const int full_blocks = static_cast<int>(tokens.size()) / block_tokens;
  for (int index = lease.in_tree; index < full_blocks; ++index) {
    const RadixTree::Child child = path.Next(TokensOfBlock(tokens, index));
    if (child.collision) return;  // neither this block nor a later one can enter the tree
    const bool is_new = child.block == kNoBlock && claims.TryClaim(path.key(), &lease.claimant);
    if (!is_new && !lease.reads) return;  // prefix_cache_impl.h, invariant d
  }
}

void PrefixCache::Impl::Poll() {
  std::vector<FinishedCopy> finished;
  mover->Poll(&finished);
  for (const FinishedCopy& done : finished) {
    const auto it = copies.find(done.tag);
    PREFIXD_CHECK(it != copies.end())
        << "copy " << done.tag << " is unknown: reported twice, or never started";
    const Copy copy = std::move(it->second);
    copies.erase(it);
    if (!done.ok) ++stats.failed_copies;
    Dereference({&copy.from, 1});
    if (copy.lease != nullptr) {
      copy.lease->copy_tag.reset();
      if (done.ok) {
        copy.lease->copied = copy.to;
        copy.lease->copied_tokens = copy.tokens;
        continue;
      }
      copy.lease->copy_failed_at = copy.lease->ready;
    }
    pool.Discard(copy.to);
    Dereference(copy.path);
  }
}

// --- Reserve, Commit, Release ---

bool PrefixCache::Impl::Reserve(Lease::State& lease, int tokens) {
  const size_t wanted = (static_cast<size_t>(std::max(tokens, 0)) + block_tokens - 1) / block_tokens;
  if (wanted <= lease.blocks.size()) return true;
  if (wanted - lease.blocks.size() > pool.free_blocks() + pool.cached_blocks()) return false;
  while (lease.blocks.size() < wanted) {
    const std::optional<BlockId> block = TakeBlock();
    PREFIXD_CHECK(block) << "a cached block cannot be evicted";
    lease.blocks.push_back(*block);
  }
  return true;
}

void PrefixCache::Impl::Commit(Lease::State& lease, std::span<const TokenId> tokens) {
  PREFIXD_CHECK(lease.settled) << "Commit before Acquire has said kReady";
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  PREFIXD_CHECK(tokens.size() <= lease.blocks.size() * block_tokens)
      << tokens.size() << " tokens were not reserved";
  while (!lease.detached && static_cast<size_t>(lease.in_tree + 1) * block_tokens <= tokens.size()) {
    CommitBlock(lease, TokensOfBlock(tokens, lease.in_tree));
  }
  lease.ready = static_cast<int>(tokens.size());
}

void PrefixCache::Impl::CommitBlock(Lease::State& lease, std::span<const TokenId> content) {
  const BlockKey key = options.key(lease.tip, content);
  const RadixTree::Child child = tree.Find(lease.at, key, content);
  if (child.collision) return Detach(lease);
  if (child.block != kNoBlock) {
    Reference(child.block);
    Place(lease, child.block);
    ++stats.deduplicated_blocks;
    return Advance(lease, key, child.block);
  }
  const BlockId block = lease.blocks[static_cast<size_t>(lease.in_tree)];
  tree.Insert(lease.at, key, content, block);
  pool.Publish(block);
  claims.End(key);
  ++stats.committed_blocks;
  Advance(lease, key, block);
}

void PrefixCache::Impl::Release(Lease::State& lease) {
  claims.EndAll(&lease.claimant);
  for (size_t i = static_cast<size_t>(lease.in_tree); i < lease.blocks.size(); ++i)
    pool.Discard(lease.blocks[i]);
  if (lease.copied != kNoBlock) pool.Discard(lease.copied);
  lease.blocks.resize(static_cast<size_t>(lease.in_tree));
  if (lease.copy_tag) {
    Copy& copy = copies.at(*lease.copy_tag);
    copy.lease = nullptr;
    copy.path = std::move(lease.blocks);
  } else {
    Dereference(lease.blocks);
  }
  tree.CloseRoot(lease.at.root);
  leases.erase(&lease);
}

// --- ExplainMisses, CountSharedBlocks ---

std::vector<PrefixCache::MissRun> PrefixCache::Impl::ExplainMisses(const Lease::State& lease,
                                                                   std::span<const TokenId> tokens) const {
  PREFIXD_CHECK(lease.settled) << "ExplainMisses before Acquire has said kReady";
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  std::vector<MissRun> runs;
  const auto add = [&](MissReason reason, int count) {
    if (count <= 0) return;
    if (runs.empty() || runs.back().reason != reason) runs.push_back({reason, 0});
    runs.back().tokens += count;
  };
  const int total = static_cast<int>(tokens.size());
  if (!options.reuse || !lease.reads) {
    add(MissReason::kDisabled, total - lease.ready);
    return runs;
  }
  int explained = lease.ready;
  FollowingBlocks path(*this, lease);
  for (int index = lease.ready / block_tokens; index < total / block_tokens; ++index) {
    MissReason reason = MissReason::kNeverSeen;
    if (!lease.detached) {
      const RadixTree::Child child = path.Next(TokensOfBlock(tokens, index));
      if (child.block != kNoBlock) {
        reason = MissReason::kBlockTail;  // cached, but cut off by the limit
      } else if (ghost.Contains(path.key())) {
        reason = MissReason::kEvictedDevice;
      }
    }
    const int end = (index + 1) * block_tokens;
    add(reason, end - explained);
    explained = end;
  }
  add(MissReason::kBlockTail, total - explained);
  return runs;
}

int PrefixCache::Impl::CountSharedBlocks(const Lease::State& lease, std::span<const TokenId> tokens) const {
  int shared = 0;
  if (lease.detached || !lease.reads) return shared;
  FollowingBlocks path(*this, lease);
  const int full_blocks = static_cast<int>(tokens.size()) / block_tokens;
  for (int index = lease.in_tree; index < full_blocks; ++index, ++shared) {
    // The ancestors of a leased block are leased, and a lease that claims a block holds the path to it. So
    // the first block that is neither leased nor claimed ends the run.
    const RadixTree::Child child = path.Next(TokensOfBlock(tokens, index));
    if (child.block != kNoBlock) {
      if (pool.references(child.block) == 0) break;
    } else {
      const Claims::Claimant* claimant = claims.Find(path.key());
      if (claimant == nullptr || claimant == &lease.claimant) break;
    }
  }
  return shared;
}

}  // namespace prefixd
