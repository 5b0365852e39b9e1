#include "cache/claims.h"

#include <algorithm>

#include "base/check.h"

namespace prefixd {

bool Claims::TryClaim(const BlockKey& key, Claimant* claimant) {
  const bool is_new = claims_.try_emplace(key, claimant).second;
  if (is_new) claimant->keys.push_back(key);
  return is_new;
}

const Claims::Claimant* Claims::Find(const BlockKey& key) const {
  const auto it = claims_.find(key);
  return it == claims_.end() ? nullptr : it->second;
}

void Claims::EndAll(Claimant* claimant) { EndSome(claimant, claimant->keys.size()); }

size_t Claims::EndSome(Claimant* claimant, size_t most) {
  size_t seen = 0;
  for (; seen < most && !claimant->keys.empty(); ++seen) {
    const auto it = claims_.find(claimant->keys.back());
    if (it != claims_.end() && it->second == claimant) claims_.erase(it);
    claimant->keys.pop_back();
  }
  return seen;
}

void Claims::CheckInvariants() const {
  for (const auto& [key, claimant] : claims_) {
    PREFIXD_CHECK(std::ranges::count(claimant->keys, key) > 0)
        << "claim on " << ToHex(key) << " is not in its claimant's list";
  }
}

}  // namespace prefixd
