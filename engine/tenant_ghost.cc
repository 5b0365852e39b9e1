#include "engine/tenant_ghost.h"

#include "cache/block_keys.h"
#include "engine/never_seen.h"

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
  const auto others_had = [&](int block) {
    const auto index = static_cast<size_t>(block);
    const Place* const place = index < digests.size() ? Find(digests[index]) : nullptr;
    return place != nullptr && place->tenant != tenant;
  };
  ExplainNeverSeen(begin, block_tokens, MissReason::kOtherTenant, others_had, runs);
}

void TenantGhost::Add(uint64_t tenant, std::span<const uint64_t> digests) {
  if (digests.empty()) return;
  places_.resize(kPlaces);
  for (const uint64_t digest : digests) places_[digest % kPlaces] = {digest, tenant};
}

}  // namespace prefixd
