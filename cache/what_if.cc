#include "cache/what_if.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <span>

#include "base/check.h"

namespace prefixd {
namespace {

// The sample of a tier has about so many blocks: a larger one costs more, a smaller one is less exact.
constexpr uint64_t kSampledBlocks = 512;
constexpr BlockKey kRoot{.low = 0x77686174, .high = 0x6966};

// A tier of so many blocks takes one block in 2^shift.
int ShiftFor(uint64_t blocks) {
  return blocks <= kSampledBlocks ? 0 : std::bit_width((blocks - 1) / kSampledBlocks);
}

// A block of the sample is one token of a simulated cache, so none ever matches in part.
class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override { PREFIXD_CHECK(false) << "a block of one token was copied"; }
};
NoCopies no_copies;

}  // namespace

struct WhatIf::Simulated {
  Simulated(Tier of, size_t at, int one_in, const PrefixCache::Options& options)
      : tier(of), scale(at), shift(one_in), cache(options, &no_copies) {}

  void Serve(const Sampled& sampled) {
    asked += sampled.of_prompt;
    // A request that is longer than the tier leaves its beginning.
    const auto all = std::span(sampled.blocks)
                         .first(std::min<size_t>(sampled.blocks.size(), cache.capacity(Tier::kDevice)));
    const auto prompt = all.first(std::min(sampled.of_prompt, all.size()));
    BlockKeys keys(kRoot, 1);
    Lease lease = cache.Open(&keys);
    hits += static_cast<uint64_t>(cache.Acquire(lease, prompt, static_cast<int>(prompt.size())).tokens());
    const auto settled = cache.Acquire(lease, all, static_cast<int>(all.size()));
    PREFIXD_CHECK(settled.state == PrefixCache::AcquireState::kReady) << "one lease waits for nothing";
    PREFIXD_CHECK(cache.Reserve(lease, static_cast<int>(all.size()))) << "no other lease is open";
    cache.EndStep(true);
    cache.Commit(lease, all);
  }

  // The blocks of all prompts that it would have hit, when they have had `asked_blocks`.
  uint64_t Hits(uint64_t asked_blocks) const {
    const auto missing = static_cast<int64_t>(asked_blocks) - static_cast<int64_t>(asked << shift);
    return static_cast<uint64_t>(std::max(int64_t{0}, static_cast<int64_t>(hits << shift) + missing));
  }

  const Tier tier;
  const size_t scale;  // index into kWhatIfScales
  const int shift;
  uint64_t asked = 0, hits = 0;  // of the sample: blocks of prompts
  PrefixCache cache;
};

PrefixCache::Options WhatIf::OptionsFor(const Options& options, Tier tier, double scale) {
  const uint64_t blocks = options.blocks[static_cast<size_t>(tier)];
  const double sampled = scale * static_cast<double>(blocks >> ShiftFor(blocks));
  return {.block_tokens = 1,
          .blocks = std::max(1u, static_cast<uint32_t>(std::lround(sampled))),
          .eviction = tier == Tier::kDisk ? "lru" : options.eviction,
          .tenants = false};
}

WhatIf::WhatIf(const Options& options) : block_tokens_(static_cast<size_t>(options.block_tokens)) {
  for (const Tier tier : {Tier::kDevice, Tier::kHost, Tier::kDisk}) {
    const uint64_t blocks = options.blocks[static_cast<size_t>(tier)];
    for (size_t scale = 0; blocks > 0 && scale < kWhatIfScales.size(); ++scale) {
      simulated_.push_back(std::make_unique<Simulated>(tier, scale, ShiftFor(blocks),
                                                       OptionsFor(options, tier, kWhatIfScales[scale])));
    }
  }
}

WhatIf::~WhatIf() = default;

size_t WhatIf::MaxMemoryBytes(const Options& options) {
  size_t bytes = 0;
  for (const Tier tier : {Tier::kDevice, Tier::kHost, Tier::kDisk}) {
    if (options.blocks[static_cast<size_t>(tier)] == 0) continue;
    for (const double scale : kWhatIfScales)
      bytes += PrefixCache::MaxMemoryBytes(OptionsFor(options, tier, scale));
  }
  return bytes;
}

// The keys are hashes, so some bits of them choose at random, and the same blocks each time.
WhatIf::Sampled WhatIf::SampleOf(const BlockKeys& keys, int prompt_tokens, int shift) const {
  const size_t prompt_blocks = static_cast<size_t>(prompt_tokens) / block_tokens_;
  const uint64_t mask = (uint64_t{1} << shift) - 1;
  Sampled sampled;
  for (size_t i = 0; i < keys.size(); ++i) {
    if ((keys.key(i).high & mask) != 0) continue;
    if (i < prompt_blocks) ++sampled.of_prompt;
    sampled.blocks.push_back(static_cast<TokenId>(keys.key(i).low & 0x7fffffff));
  }
  return sampled;
}

void WhatIf::Add(const BlockKeys& keys, int prompt_tokens) {
  asked_ += static_cast<size_t>(prompt_tokens) / block_tokens_;
  Sampled sampled;
  int shift = -1;
  for (const std::unique_ptr<Simulated>& simulated : simulated_) {
    if (simulated->shift != shift) sampled = SampleOf(keys, prompt_tokens, shift = simulated->shift);
    if (!sampled.blocks.empty()) simulated->Serve(sampled);
    // The estimate may fall a little, but a counter does not.
    uint64_t& counted = hit_tokens_[static_cast<size_t>(simulated->tier)][simulated->scale];
    counted = std::max(counted, simulated->Hits(asked_) * block_tokens_);
  }
}

}  // namespace prefixd
