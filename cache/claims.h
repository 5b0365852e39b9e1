// Claims: records for each block key which lease is computing the block. A second lease that needs the block
// then waits for the first one instead of computing the block too. A claim ends when the block enters the
// tree, or when the lease that claimed it is released or meets a key collision. Engine thread only.
//
// A lease claims blocks only after it has finished waiting for other leases. So waiting leases never form a
// cycle.
//
// Invariants (CheckInvariants tests them)
//   1. A key has at most one claimant.
//   2. Every claimed key is in its claimant's list.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "hashing/block_key.h"

namespace prefixd {

class Claims {
 public:
  // The claims of one lease. Requires a call of EndAll before its destruction.
  struct Claimant {
    Claimant() = default;
    Claimant(const Claimant&) = delete;
    Claimant& operator=(const Claimant&) = delete;
    ~Claimant() { PREFIXD_CHECK(keys.empty()) << keys.size() << " claims outlive their claimant"; }
    std::vector<BlockKey> keys;  // every key that the lease has claimed; some claims may have ended
  };

  // Claims `key` for `claimant` and returns true. Returns false when the key is claimed already.
  bool TryClaim(const BlockKey& key, Claimant* claimant);
  // Returns the claimant of `key`, or null.
  const Claimant* Find(const BlockKey& key) const;
  // Ends the claim on `key`, if there is one.
  void End(const BlockKey& key) { claims_.erase(key); }
  // Ends every claim of `claimant`.
  void EndAll(Claimant* claimant);
  // Ends up to `most` of them. Returns how many keys it has looked at; fewer than `most`: none is left.
  size_t EndSome(Claimant* claimant, size_t most);
  size_t size() const { return claims_.size(); }

  void CheckInvariants() const;

 private:
  friend struct ClaimsTestPeer;
  std::unordered_map<BlockKey, const Claimant*> claims_;  // by key
};

}  // namespace prefixd
