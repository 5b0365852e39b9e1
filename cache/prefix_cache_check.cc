// PrefixCache::CheckInvariants: recounts everything that the cache keeps track of. The numbers and letters
// are those of the invariants in the headers.
#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

// Returns false for the key functions of tests that cause collisions. With those a claimed block and a block
// of the tree may have equal keys and still be different blocks.
bool KeysAreUnique(const PrefixCache::KeyFunction& key) {
  using Function = BlockKey (*)(const BlockKey&, std::span<const TokenId>);
  const Function* target = key.target<Function>();
  return target != nullptr && *target == &ChildKey;
}

}  // namespace

// Invariants 2, 3 and a. Adds the references that the lease holds to `references`.
void PrefixCache::Impl::CheckLease(const Lease::State& lease, std::vector<uint32_t>* references) const {
  PREFIXD_CHECK(static_cast<size_t>(lease.in_tree) <= lease.blocks.size());
  PREFIXD_CHECK(static_cast<size_t>(lease.ready) <= lease.blocks.size() * block_tokens) << lease.ready;
  PREFIXD_CHECK(options.reuse || lease.in_tree == 0);
  PREFIXD_CHECK(lease.detached || lease.in_tree == lease.ready / block_tokens)
      << lease.in_tree << " blocks in the tree, " << lease.ready << " tokens";
  if (lease.copy_tag) {
    const auto copy = copies.find(*lease.copy_tag);
    PREFIXD_CHECK(copy != copies.end() && copy->second.lease == &lease) << "the copy of a lease is missing";
    PREFIXD_CHECK(lease.copied == kNoBlock);
  }

  BlockId parent = kNoBlock;
  for (size_t i = 0; i < lease.blocks.size(); ++i) {
    const BlockId block = lease.blocks[i];
    ++references->at(block);
    if (i >= static_cast<size_t>(lease.in_tree)) {
      PREFIXD_CHECK(pool.state(block) == BlockState::kFilling) << "private block " << block;
      continue;
    }
    PREFIXD_CHECK(tree.Contains(block) && tree.parent(block) == parent)
        << "block " << block << " is not on the path";
    parent = block;
  }
  PREFIXD_CHECK(lease.at.block == parent)
      << "the lease is after block " << lease.at.block << ", not " << parent;
  PREFIXD_CHECK(parent == kNoBlock || lease.tip == tree.key(parent));
  if (lease.copied != kNoBlock) {
    ++references->at(lease.copied);
    PREFIXD_CHECK(pool.state(lease.copied) == BlockState::kFilling) << "copied block " << lease.copied;
  }
}

// Invariants 4 and b, and that every key is the key of its block's tokens.
void PrefixCache::Impl::CheckTree() const {
  for (BlockId block = 0; block < pool.capacity(); ++block) {
    const bool in_tree = tree.Contains(block);
    PREFIXD_CHECK(in_tree == (pool.state(block) == BlockState::kDevice)) << "block " << block;
    const bool candidate = in_tree && tree.IsLeaf(block) && pool.references(block) == 0;
    PREFIXD_CHECK(eviction->Contains(block) == candidate) << "block " << block << " as an eviction candidate";
    if (!in_tree) continue;
    const BlockId parent = tree.parent(block);
    PREFIXD_CHECK(pool.references(block) == 0 || parent == kNoBlock || pool.references(parent) > 0)
        << "block " << block << " is leased, its parent " << parent << " is not";
    PREFIXD_CHECK(options.key(tree.parent_key(block), tree.tokens(block)) == tree.key(block))
        << "block " << block << " has the key or tokens of another block";
  }
}

// Invariants 5 and d.
void PrefixCache::Impl::CheckClaims() const {
  claims.CheckInvariants();
  size_t claimed = 0;
  for (const Lease::State* lease : leases) {
    PREFIXD_CHECK(lease->claimant.keys.empty() || (lease->settled && !lease->detached && !lease->waited));
    std::set<BlockKey> keys(lease->claimant.keys.begin(), lease->claimant.keys.end());
    for (const BlockKey& key : keys) {
      if (claims.Find(key) == &lease->claimant) ++claimed;
    }
  }
  PREFIXD_CHECK(claimed == claims.size()) << claims.size() - claimed << " claims belong to no lease";
  if (!KeysAreUnique(options.key)) return;
  for (BlockId block = 0; block < pool.capacity(); ++block) {
    if (!tree.Contains(block)) continue;
    PREFIXD_CHECK(claims.Find(tree.key(block)) == nullptr) << "a claim on block " << block << " of the tree";
  }
}

void PrefixCache::Impl::CheckInvariants() const {
  pool.CheckInvariants();
  tree.CheckInvariants();
  eviction->CheckInvariants();
  ghost.CheckInvariants();
  CheckClaims();
  CheckTree();

  std::vector<uint32_t> references(pool.capacity(), 0);
  for (const Lease::State* lease : leases) CheckLease(*lease, &references);
  for (const auto& [tag, copy] : copies) {
    ++references.at(copy.from);
    ++references.at(copy.to);
    for (const BlockId block : copy.path) ++references.at(block);
    PREFIXD_CHECK(tree.Contains(copy.from)) << "the source of copy " << tag << " is gone";
    PREFIXD_CHECK(pool.state(copy.to) == BlockState::kFilling) << "the target of copy " << tag;
    PREFIXD_CHECK(copy.lease == nullptr || copy.lease->copy_tag == tag);
  }
  for (BlockId block = 0; block < pool.capacity(); ++block) {
    PREFIXD_CHECK(references[block] == pool.references(block))
        << "block " << block << " has " << pool.references(block) << " references, " << references[block]
        << " are known";
  }
}

}  // namespace prefixd
