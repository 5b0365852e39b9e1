// Retention in PrefixCache: which blocks are kept, in which tiers, and until when; and partial blocks.
//
// A partial block is a node that ends at a breakpoint within a block: behind the breakpoint its tokens are
// kNoToken, which no prompt has, so an Acquire copies exactly the tokens before. The KV behind is undefined.
// A partial block is on the device alone: no key of a prompt finds it in another tier.
#include <algorithm>

#include "base/check.h"
#include "cache/prefix_cache_impl.h"

namespace prefixd {
namespace {

constexpr TokenId kNoToken = -1;
constexpr int kMostExpired = 512;  // in one turn, some 1 ms: the rest in the next ones

}  // namespace

bool PrefixCache::Impl::IsKept(NodeId node) const {
  return tier(Tier::kDevice).retention.Find(node) != nullptr ||
         tier(Tier::kHost).retention.Find(node) != nullptr;
}

bool PrefixCache::Impl::IsPartial(NodeId node) const {
  return tree.HasTokens(node) && tree.tokens(node).back() == kNoToken;
}

bool PrefixCache::Impl::KeepInBudget(NodeId node, Tier at, const Retention::Kept& kept) {
  Retention& retention = tier(at).retention;
  if (retention.Keep(node, kept, tree.depth(node))) return true;
  if (const std::optional<NodeId> surplus = retention.Surplus(kept.owner)) {
    ++stats.retention_displaced[static_cast<size_t>(at)];
    EndRetention(*surplus, at);
    return retention.Keep(node, kept, tree.depth(node));
  }
  ++stats.retention_refused[static_cast<size_t>(at)];
  return false;
}

bool PrefixCache::Impl::KeepNode(NodeId node, const Retention::Kept& kept) {
  bool is_kept = KeepOnDisk(node, kept);
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    if (tree.block(node, at) == kNoBlock) continue;
    if (!KeepInBudget(node, at, kept)) continue;
    UpdateCandidate(node, at);
    is_kept = true;
  }
  return is_kept;
}

void PrefixCache::Impl::KeepLast(Lease::State& lease) {
  const NodeId node = lease.path.back();
  const int begin = static_cast<int>(lease.path.size() - 1) * block_tokens;
  const double kept_seconds = lease.use.SecondsAt(begin);
  if (kept_seconds <= 0) return;
  const Retention::Kept kept = KeptFor(lease, kept_seconds);
  if (lease.kept_tokens < begin) {
    // Without what precedes it, a block is worth nothing. The disk may get what precedes it yet.
    KeepOnDisk(node, kept);
    return;
  }
  if (!KeepNode(node, kept)) return;
  lease.kept_tokens = std::max(lease.kept_tokens, std::min(begin + block_tokens, lease.use.asked_tokens()));
  Supersede(lease);
}

void PrefixCache::Impl::UseKept(NodeId node) {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) tier(at).retention.Use(node, seconds);
  const auto it = disk_kept.find(node);
  if (it == disk_kept.end()) return;
  Retention::Kept& kept = it->second;
  if (kept.until <= seconds) {
    disk_kept.erase(it);
    return;
  }
  kept.until = std::max(kept.until, seconds + kept.seconds);
  TellDisk(node);
}

bool PrefixCache::Impl::KeepOnDisk(NodeId node, const Retention::Kept& kept) {
  if (!options.disk || IsPartial(node)) return false;
  const auto [it, added] = disk_kept.try_emplace(node, kept);
  it->second.until = std::max(it->second.until, kept.until);
  it->second.seconds = std::max(it->second.seconds, kept.seconds);
  return TellDisk(node);
}

bool PrefixCache::Impl::TellDisk(NodeId node) {
  const auto it = disk_kept.find(node);
  if (it == disk_kept.end() || it->second.until <= seconds) return false;
  const Retention::Kept& kept = it->second;
  return port->KeepOnDisk(tree.key(node),
                          {.left = kept.until - seconds, .seconds = kept.seconds, .owner = kept.owner});
}

void PrefixCache::Impl::KeepAsOnDisk(NodeId node) {
  if (!options.disk || IsPartial(node)) return;
  const std::optional<DiskRetention> on_disk = port->KeptOnDisk(tree.key(node));
  if (!on_disk) return;
  const Retention::Kept kept{
      .until = seconds + on_disk->seconds, .seconds = on_disk->seconds, .owner = on_disk->owner};
  KeepOnDisk(node, kept);
  KeepInBudget(node, Tier::kDevice, kept);
}

bool PrefixCache::Impl::IsToBeOnDisk(NodeId node) const {
  const auto it = disk_kept.find(node);
  return it != disk_kept.end() && it->second.until > seconds && port->MayKeepOnDisk(it->second.owner);
}

void PrefixCache::Impl::KeepInTier(NodeId node, Tier at) {
  const Tier other = at == Tier::kDevice ? Tier::kHost : Tier::kDevice;
  const Retention::Kept* kept = tier(other).retention.Find(node);
  if (kept == nullptr) return;
  KeepInBudget(node, at, Retention::Kept(*kept));
}

Retention::Kept PrefixCache::Impl::KeptFor(const Lease::State& lease, double kept_seconds) const {
  return {.until = seconds + kept_seconds, .seconds = kept_seconds, .owner = lease.use.owner};
}

void PrefixCache::Impl::Supersede(Lease::State& lease) {
  if (!lease.copied_partial) return;
  const NodeId last = lease.path.back();
  const NodeId parent = tree.parent(last);
  const NodeId partial = tree.FindChild({lease.root, parent}, *lease.copied_partial);
  lease.copied_partial.reset();
  if (partial == kNoNode || partial == last || !IsPartial(partial)) return;
  const Retention& retention = tier(Tier::kDevice).retention;
  const Retention::Kept* old = retention.Find(partial);
  const Retention::Kept* kept = retention.Find(last);
  if (old != nullptr && kept != nullptr && old->until <= kept->until) EndRetention(partial, Tier::kDevice);
}

void PrefixCache::Impl::EndRetention(NodeId node, Tier at) {
  Retention& retention = tier(at).retention;
  if (retention.IsCandidate(node)) retention.RemoveCandidate(node);
  retention.Forget(node);
  UpdateCandidate(node, at);
}

void PrefixCache::Impl::EndExpired() {
  for (const Tier at : {Tier::kDevice, Tier::kHost}) {
    for (int ended = 0; ended < kMostExpired; ++ended) {
      const std::optional<NodeId> node = tier(at).retention.Expired(seconds);
      if (!node) break;
      ++stats.retention_expired[static_cast<size_t>(at)];
      EndRetention(*node, at);
    }
  }
  hints.EndExpired(seconds);
}

size_t PrefixCache::Impl::FirstLowered(const Lease::State& lease) const {
  // What a request that is alone has found is of others; a session that ends has found its own turns, up to
  // where another one parts from it.
  const size_t found = lease.use.hint == SessionHint::kOneShot ? static_cast<size_t>(lease.hit_blocks) : 0;
  size_t first = lease.path.size();
  for (; first > found; --first) {
    const NodeId node = lease.path[first - 1];
    const bool last = first == lease.path.size();
    const bool alone = last ? tree.IsLeaf(node) : tree.only_child(node) == lease.path[first];
    const uint32_t own = spills.contains(node) ? 2 : 1;
    if (!alone || tree.references(node) > own || IsKept(node) || IsPurged(node)) break;
  }
  return first;
}

void PrefixCache::Impl::ApplyHint(const Lease::State& lease) {
  const SessionHint hint = lease.use.hint;
  if (hint == SessionHint::kNone || !lease.reads) return;
  if (hint == SessionHint::kToolPending) {
    const Retention::Kept kept = KeptFor(lease, SessionHints::kToolSeconds);
    for (size_t i = 0; i < lease.path.size(); ++i) {
      const NodeId node = lease.path[i];
      if (IsPurged(node)) return;
      if (IsKept(node)) continue;
      if (!KeepInBudget(node, Tier::kDevice, kept)) {  // without it, the next ones are worth nothing
        hints.Ignore(hint, lease.path.size() - i);
        return;
      }
      hints.Raise(node, kept.until);
    }
    return;
  }
  // The last node first: those before it go after it.
  for (size_t i = lease.path.size(), first = FirstLowered(lease); i-- > first;)
    hints.Lower(lease.path[i], hint);
}

void PrefixCache::Impl::EndHint(NodeId node) {
  const std::optional<double> until = hints.Used(node);
  const Retention::Kept* kept = tier(Tier::kDevice).retention.Find(node);
  // Another time is that of another request, or a pin.
  if (until && kept != nullptr && kept->until == *until) EndRetention(node, Tier::kDevice);
}

void PrefixCache::Impl::NoteTail(Lease::State& lease, std::span<const TokenId> tokens) {
  lease.tail.clear();
  if (lease.detached && !lease.limited) return;
  const size_t begin = lease.path.size() * static_cast<size_t>(block_tokens);
  for (const Breakpoint& breakpoint : lease.use.breakpoints) {
    const auto end = static_cast<size_t>(breakpoint.tokens);
    if (end <= begin || end >= begin + static_cast<size_t>(block_tokens) || end > tokens.size()) continue;
    const auto part = tokens.subspan(begin, end - begin);
    lease.tail.assign(part.begin(), part.end());
  }
}

void PrefixCache::Impl::CountKept(const Lease::State& lease) {
  const int asked = std::min(lease.use.asked_tokens(), lease.ready);
  stats.kept_tokens += static_cast<uint64_t>(lease.kept_tokens);
  stats.refused_tokens += static_cast<uint64_t>(std::max(asked - lease.kept_tokens, 0));
}

void PrefixCache::Impl::KeepTail(Lease::State& lease) {
  if (lease.tail.empty() || lease.uncertain_copy) return;
  const int begin = static_cast<int>(lease.path.size()) * block_tokens;
  const double kept_seconds = lease.use.SecondsAt(begin);
  const int end = begin + static_cast<int>(lease.tail.size());
  if (lease.kept_tokens < begin || end > lease.ready) return;
  NodeId node = kNoNode;
  if (const RadixTree::Partial there = tree.LongestPartial(lease.at(), lease.tail);
      there.tokens == static_cast<int>(lease.tail.size())) {
    node = there.node;
    if (IsPurged(node)) return;
  } else {
    lease.tail.resize(static_cast<size_t>(block_tokens), kNoToken);
    const NodeId parent = lease.path.empty() ? kNoNode : lease.path.back();
    const BlockKey key = options.key(parent == kNoNode ? lease.keys->root() : tree.key(parent), lease.tail);
    const uint64_t check =
        ChildCheck(parent == kNoNode ? RootCheck(lease.keys->root()) : tree.check(parent), lease.tail);
    node = tree.FindChild(lease.at(), key);
    if (node != kNoNode && !tree.Matches(node, check, lease.tail)) return;
    if (node == kNoNode) node = tree.Add(lease.at(), key, check);
    KnowTokens(node, lease.tail);
    AddReference(node);
    AdmitBlock(node, Tier::kDevice, lease.blocks[lease.path.size()]);
    lease.path.push_back(node);
  }
  if (!KeepNode(node, KeptFor(lease, kept_seconds))) return;
  lease.kept_tokens = end;
  if (lease.path.size() > static_cast<size_t>(begin / block_tokens)) Supersede(lease);
}

}  // namespace prefixd
