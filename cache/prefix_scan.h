// PrefixScan: the cached prefixes that have saved most, found by looking at all nodes of the tree, a bounded
// number at a time (PrefixCache::Scan). So no step of the engine waits for the whole tree. What changes
// between two calls is seen before or after the change. Then it goes from the end of each of these prefixes
// towards the root, to count its blocks and to find the one that it continues. At last it looks at all nodes
// again, to count those that belong to no row below the row that they continue.
//
// A prefix ends at a node whose next node was used less often, or that has no next node, or several. Its
// worth is its tokens times its hits. Prefixes that were never hit, or that lie in no tier any more, are left
// out.
//
// Threads: one at a time. Plain values.
//
// Invariants
//   1. It holds at most `most_rows` rows, those of greatest worth among the nodes seen so far.
//   2. A call of Scan costs less than its `most_nodes` and kRowCost, whatever the shape of the tree. What it
//      has begun then, it goes on with in the next call.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
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
  bool pinned = false;                 // its last block, in some tier
  std::optional<double> last_use;      // on the clock of PrefixCache::Poll
  NodeId node = kNoNode;               // of its last block, unless that has left the tree since
  // The row of the longest prefix that it continues, or -1; and its blocks after that prefix, all of them and
  // those in each tier. What has left the tree since it was found has none of both.
  int parent = -1;
  uint32_t own_blocks = 0;
  std::array<uint32_t, kTiers> own_blocks_in{};
  uint32_t rest_blocks = 0;  // that continue it and belong to no row

  uint64_t worth() const { return uint64_t{tokens} * hits; }
};

class PrefixScan {
 public:
  explicit PrefixScan(size_t most_rows) : most_rows_(most_rows) {}

  // Costs, in nodes that are looked at in the order in which they lie in memory. A node that may be a row, or
  // is on the path of one, lies elsewhere, and the disk is asked for it.
  static constexpr uint32_t kRowCost = 8;
  void BeginCall(uint32_t most_nodes) { left_ = most_nodes; }
  bool may_go_on() const { return left_ > 0; }
  void Spend(uint32_t cost) {
    left_ -= std::min(left_, cost);
    spent_ += cost;
  }
  uint64_t spent() const { return spent_; }  // by all calls

  // Whether a row of that worth would be kept.
  bool Wants(uint64_t worth) const;
  void Add(const PrefixRow& row);
  // The rows, those of greatest worth first.
  std::vector<PrefixRow> Rows() const;

  NodeId next = 0;        // the node to look at next
  uint64_t prefixes = 0;  // that were found, also those that are not kept

  // For the second part. BeginPaths orders the rows; it is called once, when all nodes have been seen.
  void BeginPaths();
  bool on_paths() const { return on_paths_; }
  // The place on the path of a row: a node, and its key, because its id may be reused.
  struct Place {
    PrefixRow* row = nullptr;  // null: all paths are done
    NodeId node = kNoNode;
    BlockKey key;
  };
  Place& place() { return place_; }
  void NextPath();
  // The number of the row that ends at this node, or -1.
  int RowAt(NodeId node, const BlockKey& key) const;
  // The node is one of the blocks of that row, which place() is on.
  void AddOwn(NodeId node);

  // For the third part.
  NodeId next_rest = 0;           // the node to look at next
  std::vector<NodeId> rest_path;  // nodes of which RowAbove is not known yet, each a child of the next one
  // The row that a node which belongs to none continues, as a child of `node`; -1: no row. Nothing: `node`
  // belongs to no row itself, and AddRest was not called for it.
  std::optional<int> RowAbove(NodeId node) const;
  // The node belongs to no row and continues this one, or none (-1). `tenant` is the high half of its root.
  void AddRest(NodeId node, int row, uint64_t tenant);
  // Nodes that belong to no row and continue none, by tenant; those of tenants without a row as `others`.
  const std::map<uint64_t, uint64_t>& rest_of_tenants() const { return rest_of_tenants_; }
  uint64_t rest_of_others() const { return rest_of_others_; }

 private:
  const size_t most_rows_;
  uint32_t left_ = 0;
  uint64_t spent_ = 0;
  std::vector<PrefixRow> rows_;  // a heap, the row of least worth in front; in order from BeginPaths on
  bool on_paths_ = false;
  size_t next_path_ = 0;
  Place place_;
  std::unordered_map<NodeId, int> row_of_node_;

  // What is known of a node: 0: nothing; 2 + R: its children continue row R; 1: they continue none; -1 - R:
  // it is within row R, so they continue what R continues.
  using Mark = int16_t;
  static constexpr size_t kChunkNodes = 4096;  // so that no call fills much memory
  void SetMark(NodeId node, int mark);
  std::vector<std::unique_ptr<std::array<Mark, kChunkNodes>>> marks_;
  std::map<uint64_t, uint64_t> rest_of_tenants_;
  uint64_t rest_of_others_ = 0;
};

}  // namespace prefixd
