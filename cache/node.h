// NodeId and NodeUse: how the parts of the cache name a node of the radix tree, and what they know about its
// use. A node is the identity of one block of tokens after a certain prefix. It exists apart from its KV,
// which may lie in a block of the device pool, in lower tiers, or nowhere any more. What lies on the disk
// alone need not have a node. Plain values; any thread.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace prefixd {

using NodeId = uint32_t;  // index of a node in the tree; reused after the node is removed
inline constexpr NodeId kNoNode = std::numeric_limits<NodeId>::max();

// How requests have used a node. It is what a policy may want to know; the policies so far read last_use,
// depth, admissions, request_class and copied, and TenantEviction the tenant. The cache keeps it in the node,
// so it outlives the KV of the node for as long as the ghost index knows the node. Times are numbers of a
// clock that grows by one whenever a lease gives back its blocks.
struct NodeUse {
  uint64_t last_use = 0;      // when a lease last gave the node back
  uint32_t depth = 0;         // number of blocks before it in its sequence
  float cost = 1;             // work to compute its block again, in units of the block at depth 0
  uint32_t tenant = 0;        // of its namespace, when it has a share of the tier; see TenantEviction
  uint16_t hits = 0;          // leases that took its KV from the cache
  uint8_t admissions = 0;     // times that its KV entered memory; 2 or more: it came back
  uint8_t request_class = 0;  // RequestClass() of the lease that gave it back last
  bool copied = false;        // a lower tier has its KV as well, or had it when this was asked
};

// The class of a request: whether it continues a cached prefix, and how many blocks it adds. The two predict
// whether its blocks are used again. Values are below kRequestClasses.
inline constexpr uint8_t kRequestClasses = 16;
constexpr uint8_t RequestClass(size_t hit_blocks, size_t new_blocks) {
  const int size = std::min<int>(std::bit_width(new_blocks), kRequestClasses / 2 - 1);
  return static_cast<uint8_t>(size + (hit_blocks > 0 ? kRequestClasses / 2 : 0));
}

}  // namespace prefixd
