// Acquire: takes cached blocks, waits for other leases and lower tiers, and settles.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {

PrefixCache::Acquired PrefixCache::Impl::Acquire(Lease::State& lease, const Request& request) {
  const auto& [tokens, limit, compute] = request;
  PREFIXD_CHECK(limit >= 0 && static_cast<size_t>(limit) <= tokens.size())
      << limit << " of " << tokens.size();
  Acquired acquired{.until = static_cast<int>(tokens.size())};
  if (!std::exchange(lease.is_asking, false)) lease.asked = -1;
  if (lease.settled) return acquired;
  PREFIXD_CHECK(tokens.size() >= static_cast<size_t>(lease.ready)) << tokens.size() << " < " << lease.ready;
  if (!lease.detached) lease.keys->Extend(tokens);
  if (lease.reads && !lease.detached) {
    if (lease.ready % block_tokens == 0) TakeFullBlocks(lease, tokens, limit, &acquired);
    const bool uses = !lease.detached && UseLowerTiers(lease, request, &acquired);
    if (!uses && lease.ready < limit && IsClaimedByAnother(lease, tokens)) {
      claims.EndAll(&lease.claimant);  // of blocks that have come to the device without it
      lease.waited = true;
      acquired.state = AcquireState::kWaiting;
    }
  }
  lease.computes = acquired.state == AcquireState::kReady;
  lease.until = acquired.until;
  if (lease.computes) {
    if (static_cast<size_t>(acquired.until) == tokens.size()) Settle(lease, tokens, limit, &acquired);
    lease.waited = false;
  }
  stats.hit_tokens += static_cast<uint64_t>(acquired.tokens());
  return acquired;
}

void PrefixCache::Impl::TakeFullBlocks(Lease::State& lease, std::span<const TokenId> tokens, int limit,
                                       Acquired* acquired) {
  while (!lease.detached && lease.ready + block_tokens <= limit) {
    const size_t index = lease.path.size();
    const NodeId node = tree.FindChild(lease.at(), lease.keys->key(index));
    if (node == kNoNode) break;
    if (IsPurged(node)) {
      Detach(lease);
      break;
    }
    if (!IsBlock(node, *lease.keys, tokens, index)) {
      ++stats.key_collisions;
      Detach(lease);
      break;
    }
    const BlockId block = tree.block(node, Tier::kDevice);
    if (block == kNoBlock) break;
    Tier from = Tier::kDevice;
    if (lease.loading.empty() || index < lease.load_begin) {
      AddReference(node);
    } else {  // it holds its reference already
      PREFIXD_CHECK(lease.loading.front().node == node) << "the tree changed below a lease";
      from = lease.loading.front().from;
      lease.loading.pop_front();
      ++lease.load_begin;
      lease.to_start -= std::min<size_t>(lease.to_start, 1);
    }
    Place(lease, block);
    lease.path.push_back(node);
    EndHint(node);
    UseKept(node);
    KeepLast(lease);
    lease.ready += block_tokens;
    ++lease.hit_blocks;
    CountUp(&tree.facts(node).hits);
    // A block that was loaded or computed for this lease has entered the tier just now.
    if (from == Tier::kDevice && !lease.waited) tier(Tier::kDevice).eviction.Hit(node, UseOf(node));
    // After a wait for another lease, what is on the device is that one's work.
    const bool shared = lease.waited && from == Tier::kDevice;
    if (!shared && !HasRecords(from)) AddAge(node, &stats.age_at_hit[static_cast<size_t>(from)]);
    (shared ? acquired->shared_tokens : acquired->tier_tokens[static_cast<size_t>(from)]) += block_tokens;
  }
}

bool PrefixCache::Impl::IsClaimedByAnother(const Lease::State& lease, std::span<const TokenId> tokens) const {
  const size_t index = lease.path.size();
  if (lease.detached || (index + 1) * static_cast<size_t>(block_tokens) > tokens.size()) return false;
  const BlockKey& key = lease.keys->key(index);
  const NodeId node = tree.FindChild(lease.at(), key);
  if (node != kNoNode) {
    // The limit may have cut off a block of the tree. A collision is not worth waiting for.
    if (tree.block(node, Tier::kDevice) != kNoBlock) return false;
    if (!IsBlock(node, *lease.keys, tokens, index)) return false;
  }
  const Claims::Claimant* claimant = claims.Find(key);
  return claimant != nullptr && claimant != &lease.claimant;
}

// The claims come before the copy, so that whoever comes next in the same step finds them and waits for the
// blocks instead of copying and computing the same.
void PrefixCache::Impl::Settle(Lease::State& lease, std::span<const TokenId> tokens, int limit,
                               Acquired* acquired) {
  ClaimRest(lease, tokens);
  if (lease.reads && !lease.detached && lease.ready < limit) {
    CopyPart(lease, tokens.subspan(lease.ready, std::min(block_tokens, limit - lease.ready)), acquired);
  }
  DropLoading(lease);  // after the copy, whose source may be among them
  lease.settled = true;
}

void PrefixCache::Impl::ClaimRest(Lease::State& lease, std::span<const TokenId> tokens) {
  if (lease.detached) return;
  RadixTree::Position at = lease.at();
  bool in_tree = true;
  const size_t committed = std::min(tokens.size(), static_cast<size_t>(std::max(lease.use.write_limit, 0)));
  const size_t full_blocks = committed / static_cast<size_t>(block_tokens);
  for (size_t index = lease.path.size(); index < full_blocks; ++index) {
    const BlockKey& key = lease.keys->key(index);
    const NodeId node = in_tree ? tree.FindChild(at, key) : kNoNode;
    in_tree = node != kNoNode;
    bool on_device = false;
    if (in_tree) {
      // After a collision, neither this block nor a later one can enter the tree.
      if (!IsBlock(node, *lease.keys, tokens, index) || IsPurged(node)) return;
      at.node = node;
      on_device = tree.block(node, Tier::kDevice) != kNoBlock;
    }
    const bool is_new = !on_device && claims.TryClaim(key, &lease.claimant);
    if (!is_new && !lease.reads) return;  // prefix_cache_impl.h, invariant d
  }
}

void PrefixCache::Impl::CopyPart(Lease::State& lease, std::span<const TokenId> wanted, Acquired* acquired) {
  const RadixTree::Partial partial = tree.LongestPartial(lease.at(), wanted);
  if (partial.tokens < options.min_copy_tokens || partial.tokens == 0 || IsPurged(partial.node)) return;
  AddReference(partial.node);  // first, so that TakeBlock does not evict it
  const std::optional<BlockId> target = TakeBlock(Tier::kDevice, TenantOf(lease), AfterTable(lease));
  if (target) {
    copier->CopyBlock(tree.block(partial.node, Tier::kDevice), *target);
    Place(lease, *target);
    lease.ready += partial.tokens;
    lease.uncertain_copy = true;
    uncertain.push_back(&lease);
    ++stats.partial_copies;
    // A use, when most of it is used: a block that shares only its first tokens is not worth more for it.
    if (2 * partial.tokens > block_tokens) {
      CountUp(&tree.facts(partial.node).hits);
      EndHint(partial.node);
    }
    UseKept(partial.node);
    if (IsPartial(partial.node)) lease.copied_partial = tree.key(partial.node);
    // The block that the limit cuts may have been loaded for this lease.
    const bool loaded = !lease.loading.empty() && lease.loading.front().node == partial.node;
    const Tier from = loaded ? lease.loading.front().from : Tier::kDevice;
    const bool shared = lease.waited && from == Tier::kDevice;
    (shared ? acquired->shared_tokens : acquired->tier_tokens[static_cast<size_t>(from)]) += partial.tokens;
  }
  GiveBack({&partial.node, 1}, tree.facts(partial.node).request_class);
}

void PrefixCache::Impl::EndStep(bool ok) {
  for (Lease::State* lease : uncertain) {
    lease->uncertain_copy = false;
    if (ok) continue;
    lease->ready = static_cast<int>(lease->path.size()) * block_tokens;
    ++stats.failed_copies;
  }
  uncertain.clear();
}

}  // namespace prefixd
