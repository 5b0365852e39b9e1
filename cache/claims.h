// Claims: which lease is computing the block of which key right now, so that a second request for it waits
// instead of computing it too. A claim ends when the block enters the tree, or when its lease is released.
// Engine thread only.
//
// A lease claims only once it waits for nobody, and never waits afterwards: so waiting has no cycles.
//
// Invariants (CheckInvariants proves them)
//   1. A key has at most one claimant.
//   2. Every claim is on its claimant's own list.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/check.h"
#include "hashing/block_key.h"

namespace prefixd {

class Claims {
 public:
  // One per lease, at a fixed address; EndAll before it goes.
  struct Claimant {
    Claimant() = default;
    Claimant(const Claimant&) = delete;
    Claimant& operator=(const Claimant&) = delete;
    ~Claimant() { PREFIXD_CHECK(keys.empty()) << keys.size() << " claims outlive their claimant"; }
    std::vector<BlockKey> keys;  // all that were ever claimed; some may have ended
  };

  // Unless it is claimed already, `key` is now claimed by `claimant`, and true.
  bool TryClaim(const BlockKey& key, Claimant* claimant);
  // Null when nobody computes it.
  const Claimant* Find(const BlockKey& key) const;
  // Ends the claim on `key`, whoever has it.
  void End(const BlockKey& key) { claims_.erase(key); }
  void EndAll(Claimant* claimant);
  size_t size() const { return claims_.size(); }

  void CheckInvariants() const;

 private:
  friend struct ClaimsTestPeer;
  std::unordered_map<BlockKey, const Claimant*> claims_;  // by key: who computes it
};

}  // namespace prefixd
