// ResidencyListener: hears which blocks the cache has, and in which tiers. A block is reported when it is
// full and its KV is valid. The cache tells of the pool tiers all that happens, and of the disk what it has
// written, read, or found to be missing, and what the store has dropped by itself, in one order.
//
// Threads: the engine thread calls all members. They must be quick: a step waits for them.
//
// Invariant: apart from a report, OnStored and OnRemoved of a block in a pool tier alternate.
#pragma once

#include <cstdint>
#include <span>

#include "base/types.h"
#include "cache/tier.h"
#include "hashing/block_key.h"

namespace prefixd {

class ResidencyListener {
 public:
  struct Block {
    const BlockKey& key;
    const BlockKey& parent;  // the key of the root, for the first block of a sequence
    const BlockKey& root;    // of its namespace
    std::span<const TokenId> tokens;
  };

  virtual ~ResidencyListener() = default;
  virtual void OnStored(const Block& block, Tier tier) = 0;
  virtual void OnRemoved(const BlockKey& root, const BlockKey& key, Tier tier) = 0;
  // The store has dropped the record of the disk tier. It may be of any namespace, and not have been told of.
  virtual void OnDropped(const BlockKey& key) = 0;
  virtual void OnLost() = 0;  // some drops were not told: what the disk has is not known any more

  // The number of the report that is wanted now: PrefixCache::Report, from its beginning when the number has
  // changed. 0: none.
  virtual uint64_t WantedReport() const = 0;
  virtual void OnReported(uint64_t report) = 0;  // that report is complete
};

}  // namespace prefixd
