// BlockIndex: the blocks that subscribers of KV events know or will know, and the tiers that have them. A
// subscriber can place a block only after its parent, but a long prefix is loaded from its end. So a block
// waits until its parent was told. A subscriber that comes late gets all that is told (VisitRuns).
//
// Threads: one at a time.
//
// Invariants
//   1. A block is in it while at least one tier has it.
//   2. At most `most` blocks are in it. Blocks beyond are left out.
//   3. A block is told when it is the first of a prompt, or when its parent was there and told.
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
    bool told = false;  // to subscribers

    bool is_first() const { return parent == root; }
  };
  using Entry = std::pair<const BlockKey, Block>;

  explicit BlockIndex(size_t most) : most_(most) {}

  // Notes that `tier` has the block. Returns its entry, valid until the next change; null when that was known
  // or the index is full.
  const Entry* Add(const BlockKey& key, Block block, Tier tier);
  // For a block that is not told, after each tier that Add has noted. Returns what can be told now, parents
  // first, and notes that it is: the block and those that waited for it; nothing while it has to wait.
  std::vector<const Entry*> Tell(const BlockKey& key);
  // Notes that exactly what VisitRuns visits is told.
  void TellAll();
  // Returns whether the tier had the block, and that is told.
  bool Remove(const BlockKey& key, Tier tier);
  void Clear();
  size_t size() const { return blocks_.size(); }

  // Calls `visit` with runs of blocks, each the parent of the next, with the same tiers. Every block whose
  // ancestors are known is in one run, and comes after its parent.
  using Visitor = std::function<void(std::span<const Entry* const> run)>;
  void VisitRuns(const Visitor& visit) const;

  static size_t MaxMemoryBytes(size_t blocks, int block_tokens);

 private:
  const size_t most_;
  std::unordered_map<BlockKey, Block> blocks_;
  // The blocks that are not told, by their parents; without those for which Tell is still to be called.
  std::unordered_map<BlockKey, std::vector<BlockKey>> waiting_;
};

}  // namespace prefixd
