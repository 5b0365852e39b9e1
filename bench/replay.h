// Replays a trace of block hashes against PrefixCache and counts the blocks that it finds. Plain functions;
// one thread.
//
// Trace: one JSON object per line. `hash_ids` lists the ids of a request's blocks in order; two requests
// with equal ids up to a block have an equal prompt up to that block. Other members are ignored.
#pragma once

#include <array>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/types.h"
#include "cache/what_if.h"

namespace prefixd::bench {

struct Trace {
  // One per line, in order. Block ids are renumbered from 0 in the order in which they appear: each is one
  // token.
  std::vector<std::vector<TokenId>> requests;
  uint64_t blocks = 0;         // of all requests
  size_t longest_request = 0;  // blocks
};

// An error names the line. Empty lines are skipped; a trace without a request is an error.
Result<Trace> ParseTrace(std::istream& in);
// An error names the path.
Result<Trace> ReadTrace(const std::string& path);

struct ReplayResult {
  uint64_t requested_blocks = 0;
  uint64_t hit_blocks = 0;  // found in the cache together with all blocks before them
  uint64_t evicted_blocks = 0;
  // At the end: nodes of the tree, ghosts included, and the bytes of PrefixCache::memory_bytes, without those
  // of the eviction policy. 0 for the optimum.
  uint64_t nodes = 0;
  uint64_t book_bytes = 0;
  double HitShare() const;
};

// Runs the requests one after another through a cache of `capacity` blocks with the eviction policy of this
// name (EvictionPolicyNames() of cache/eviction.h). Every request leases its path while it runs and inserts
// all of its blocks. Requires capacity >= trace.longest_request.
ReplayResult Replay(const Trace& trace, uint32_t capacity, std::string_view policy);

// Runs the requests through WhatIf as of a cache of `capacity` blocks. Returns what it says of each of
// kWhatIfScales: the share of the requested blocks that would have been hit.
std::array<double, kWhatIfScales.size()> Predict(const Trace& trace, uint32_t capacity,
                                                 std::string_view policy);

}  // namespace prefixd::bench
