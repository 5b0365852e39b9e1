#include "bench/replay_optimal.h"

#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"

namespace prefixd::bench {
namespace {

constexpr size_t kNever = std::numeric_limits<size_t>::max();

// A block after a certain prefix.
struct Node {
  size_t depth = 0;
  std::vector<size_t> uses;  // numbers of the requests
  size_t used = 0;           // of these, so many have begun
  bool cached = false;
  size_t next_use() const { return used < uses.size() ? uses[used] : kNever; }
};

struct Paths {
  std::vector<Node> nodes;
  std::vector<std::vector<size_t>> requests;  // the nodes of each
};

Paths MakePaths(const Trace& trace) {
  Paths paths;
  std::map<std::pair<size_t, TokenId>, size_t> children;
  for (const std::vector<TokenId>& request : trace.requests) {
    std::vector<size_t>& path = paths.requests.emplace_back();
    size_t parent = kNever;
    for (const TokenId token : request) {
      const auto [child, is_new] = children.try_emplace({parent, token}, paths.nodes.size());
      if (is_new) paths.nodes.push_back({.depth = path.size()});
      parent = child->second;
      path.push_back(parent);
      paths.nodes[parent].uses.push_back(paths.requests.size() - 1);
    }
  }
  return paths;
}

}  // namespace

ReplayResult ReplayOptimal(const Trace& trace, uint32_t capacity) {
  PREFIXD_CHECK(capacity >= trace.longest_request) << capacity << " < " << trace.longest_request;
  Paths paths = MakePaths(trace);
  ReplayResult result;
  // The cached nodes that the running request does not use: next use, depth, number. The last is evicted. It
  // is a leaf, because the uses of a node are among those of its ancestors and it is deeper than they are.
  std::set<std::tuple<size_t, size_t, size_t>> order;
  size_t cached = 0;
  for (const std::vector<size_t>& path : paths.requests) {
    for (const size_t number : path) {
      Node& node = paths.nodes[number];
      if (node.cached) order.erase({node.next_use(), node.depth, number});
      result.hit_blocks += node.cached;
      cached += !node.cached;
      node.cached = true;
      ++node.used;
    }
    result.requested_blocks += path.size();
    for (; cached > capacity; --cached) {
      const auto victim = std::prev(order.end());
      paths.nodes[std::get<2>(*victim)].cached = false;
      order.erase(victim);
      ++result.evicted_blocks;
    }
    for (const size_t number : path) {
      order.emplace(paths.nodes[number].next_use(), paths.nodes[number].depth, number);
    }
  }
  return result;
}

}  // namespace prefixd::bench
