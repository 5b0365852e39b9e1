// What is known of prompt tokens beyond the cache of their namespace. Pure functions; engine thread.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include "cache/prefix_cache.h"

namespace prefixd {

// `runs` explain the tokens of a prompt from `begin` on. Those that were never seen get `reason` where
// `applies` says so for the number of their block. How many tokens the runs have together does not change.
template <typename Applies>
void ExplainNeverSeen(int begin, int block_tokens, MissReason reason, const Applies& applies,
                      std::vector<PrefixCache::MissRun>* runs) {
  std::vector<PrefixCache::MissRun> explained;
  const auto add = [&](MissReason of_tokens, int tokens) {
    if (explained.empty() || explained.back().reason != of_tokens) explained.push_back({of_tokens, 0});
    explained.back().tokens += tokens;
  };
  for (const PrefixCache::MissRun& run : *runs) {
    for (int left = run.tokens; left > 0;) {
      const int taken = std::min(left, block_tokens - begin % block_tokens);
      const bool replaces = run.reason == MissReason::kNeverSeen && applies(begin / block_tokens);
      add(replaces ? reason : run.reason, taken);
      left -= taken;
      begin += taken;
    }
  }
  *runs = std::move(explained);
}

}  // namespace prefixd
