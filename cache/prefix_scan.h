// PrefixScan: the cached prefixes that have saved most, found by looking at all nodes of the tree, a bounded
// number at a time (PrefixCache::Scan). So no step of the engine waits for the whole tree. What changes
// between two calls is seen before or after the change.
//
// A prefix ends at a node whose next node was used less often, or that has no next node, or several. Its
// worth is its tokens times its hits. Prefixes that were never hit, or that lie in no tier any more, are left
// out.
//
// Threads: one at a time. Plain values.
//
// Invariant: it holds at most `most_rows` rows, those of greatest worth among the nodes seen so far.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cache/node.h"
#include "cache/tier.h"
#include "hashing/block_key.h"

namespace prefixd {

struct PrefixRow {
  BlockKey key;                        // of its last block
  BlockKey root;                       // of its namespace
  uint32_t tokens = 0;                 // from the beginning of the prompt
  uint32_t hits = 0;                   // requests that took its last block from the cache; stops at 65535
  bool branches = false;               // several prefixes go on after it
  std::array<bool, kTiers> resides{};  // tiers that have its last block
  std::optional<double> last_use;      // on the clock of PrefixCache::Poll

  uint64_t worth() const { return uint64_t{tokens} * hits; }
};

class PrefixScan {
 public:
  explicit PrefixScan(size_t most_rows) : most_rows_(most_rows) {}

  // Whether a row of that worth would be kept.
  bool Wants(uint64_t worth) const;
  void Add(const PrefixRow& row);
  // The rows, those of greatest worth first.
  std::vector<PrefixRow> Rows() const;

  NodeId next = 0;        // the node to look at next
  uint64_t prefixes = 0;  // that were found, also those that are not kept

 private:
  const size_t most_rows_;
  std::vector<PrefixRow> rows_;  // a heap, the row of least worth in front
};

}  // namespace prefixd
