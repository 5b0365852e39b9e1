// WhatIf: how many prompt tokens each tier would have hit if it had another size. Beside the cache it runs
// small ones, one for each tier and scale, which hold no KV. They see a sample of the blocks, chosen by key,
// and have as much smaller capacities: a block of the sample stays in them about as long as it would stay in
// a cache of the full size (Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015). A few
// blocks that nearly all prompts begin with may be in the sample or not: as there, the prompt blocks that the
// sample stands for too few or too many count as hits. Engine thread only.
//
// A tier is taken by itself, as if it kept every block that a request leaves: what other tiers hold does not
// count. The disk, whose own eviction works on segments, is taken as least recently used. Whole blocks count,
// so hits are below those of prefixd_prompt_tokens_total by up to one block a prompt.
//
// Invariants
//   1. The memory is bounded by MaxMemoryBytes, whatever the sizes of the tiers are.
//   2. hit_tokens() only grows. A tier of 0 blocks hits nothing.
//   3. Nothing that the cache does depends on it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cache/block_keys.h"
#include "cache/prefix_cache.h"
#include "cache/tier.h"

namespace prefixd {

inline constexpr std::array kWhatIfScales = {0.5, 1.0, 2.0, 4.0};

class WhatIf {
 public:
  struct Options {
    int block_tokens = 16;
    std::array<uint64_t, kTiers> blocks{};  // capacities, by tier; 0: there is no such tier
    std::string eviction;                   // of the pool tiers, as in PrefixCache::Options
  };
  explicit WhatIf(const Options& options);
  ~WhatIf();

  // A request has ended. `keys` are those of all its full blocks, of which the prompt has filled those of the
  // first `prompt_tokens`.
  void Add(const BlockKeys& keys, int prompt_tokens);

  using HitTokens = std::array<std::array<uint64_t, kWhatIfScales.size()>, kTiers>;  // by tier and scale
  const HitTokens& hit_tokens() const { return hit_tokens_; }

  static size_t MaxMemoryBytes(const Options& options);

 private:
  struct Simulated;
  struct Sampled {  // of a request, for tiers that take the same share of the blocks
    std::vector<TokenId> blocks;
    size_t of_prompt = 0;
  };
  static PrefixCache::Options OptionsFor(const Options& options, Tier tier, double scale);
  Sampled SampleOf(const BlockKeys& keys, int prompt_tokens, int shift) const;

  const size_t block_tokens_;
  std::vector<std::unique_ptr<Simulated>> simulated_;
  uint64_t asked_ = 0;  // blocks of prompts
  HitTokens hit_tokens_{};
};

}  // namespace prefixd
