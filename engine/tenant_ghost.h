// TenantGhost: which tenant last had a block of tokens in a prompt. It tells operators how many tokens were
// computed that another tenant's cache may have had; callers are never told (docs/TENANTS.md). Engine thread
// only, but for DigestsOf.
//
// Invariants
//   1. It has kPlaces places, whatever is added: a block takes the place of another one.
//   2. It has no token and no salt: a digest is the half of a block key below the root without a salt.
//   3. Explain changes the reasons of runs, and not how many tokens they have together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/types.h"
#include "cache/prefix_cache.h"
#include "hashing/block_key.h"

namespace prefixd {

class TenantGhost {
 public:
  static constexpr size_t kPlaces = size_t{1} << 16;

  // Of the full blocks of a prompt. Any thread.
  static std::vector<uint64_t> DigestsOf(const BlockKey& fingerprint, int block_tokens,
                                         std::span<const TokenId> prompt);

  // `runs` explain the tokens from `begin` on, up to the end of a prompt with these digests. Blocks that were
  // never seen in the namespace of the tenant, and were in a prompt of another one, get that reason. `tenant`
  // is the high half of the root. Without digests nothing happens.
  void Explain(uint64_t tenant, std::span<const uint64_t> digests, int begin, int block_tokens,
               std::vector<PrefixCache::MissRun>* runs) const;
  void Add(uint64_t tenant, std::span<const uint64_t> digests);

 private:
  struct Place {
    uint64_t digest = 0, tenant = 0;
  };
  const Place* Find(uint64_t digest) const;
  std::vector<Place> places_;  // empty until the first Add
};

}  // namespace prefixd
