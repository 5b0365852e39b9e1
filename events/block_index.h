// BlockIndex: what subscribers of KV events know: the blocks that were announced, and the tiers that have
// them. A subscriber that comes late gets all of it (Chains).
//
// Threads: one at a time.
//
// Invariants
//   1. A block is in it while at least one tier has it.
//   2. At most `most` blocks are in it. Blocks beyond are left out.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/types.h"
#include "cache/tier.h"
#include "hashing/block_key.h"

namespace prefixd {

class BlockIndex {
 public:
  struct Block {
    BlockKey parent, root;
    std::vector<TokenId> tokens;
    uint8_t tiers = 0;  // bit t: tier t has it

    bool is_first() const { return parent == root; }
  };
  using Entry = std::pair<const BlockKey, Block>;

  explicit BlockIndex(size_t most) : most_(most) {}

  // Notes that `tier` has the block. Returns its entry, valid until the next change; null when that was known
  // or the index is full.
  const Entry* Add(const BlockKey& key, Block block, Tier tier);
  // Returns whether the tier had the block.
  bool Remove(const BlockKey& key, Tier tier);
  void Clear() { blocks_.clear(); }
  size_t size() const { return blocks_.size(); }

  // Calls `visit` with runs of blocks, each the parent of the next, with the same tiers. Every block whose
  // ancestors are known is in one run, and comes after its parent.
  using Visitor = std::function<void(std::span<const Entry* const> run)>;
  void VisitRuns(const Visitor& visit) const;

  static size_t MaxMemoryBytes(size_t blocks, int block_tokens);

 private:
  const size_t most_;
  std::unordered_map<BlockKey, Block> blocks_;
};

}  // namespace prefixd
