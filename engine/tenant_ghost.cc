#include "engine/tenant_ghost.h"

#include <algorithm>

#include "cache/block_keys.h"

namespace prefixd {

std::vector<uint64_t> TenantGhost::DigestsOf(const BlockKey& fingerprint, int block_tokens,
                                             std::span<const TokenId> prompt) {
  BlockKeys keys(RootKey(fingerprint, ""), block_tokens);
  keys.Extend(prompt);
  std::vector<uint64_t> digests(keys.size());
  for (size_t i = 0; i < digests.size(); ++i) digests[i] = keys.key(i).low;
  return digests;
}

const TenantGhost::Place* TenantGhost::Find(uint64_t digest) const {
  if (places_.empty()) return nullptr;
  const Place& place = places_[digest % kPlaces];
  return place.digest == digest && place.tenant != 0 ? &place : nullptr;
}

void TenantGhost::Explain(uint64_t tenant, std::span<const uint64_t> digests, int begin, int block_tokens,
                          std::vector<PrefixCache::MissRun>* runs) const {
  std::vector<PrefixCache::MissRun> explained;
  const auto add = [&](MissReason reason, int tokens) {
    if (explained.empty() || explained.back().reason != reason) explained.push_back({reason, 0});
    explained.back().tokens += tokens;
  };
  for (const PrefixCache::MissRun& run : *runs) {
    for (int left = run.tokens; left > 0;) {
      const int taken = std::min(left, block_tokens - begin % block_tokens);
      const auto block = static_cast<size_t>(begin / block_tokens);
      const bool foreign = run.reason == MissReason::kNeverSeen && block < digests.size() &&
                           Find(digests[block]) != nullptr && Find(digests[block])->tenant != tenant;
      add(foreign ? MissReason::kOtherTenant : run.reason, taken);
      left -= taken;
      begin += taken;
    }
  }
  *runs = std::move(explained);
}

void TenantGhost::Add(uint64_t tenant, std::span<const uint64_t> digests) {
  if (digests.empty()) return;
  places_.resize(kPlaces);
  for (const uint64_t digest : digests) places_[digest % kPlaces] = {digest, tenant};
}

}  // namespace prefixd
