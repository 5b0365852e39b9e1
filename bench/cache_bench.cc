// What it costs to find a prompt in the cache: the cache's own code (cache/prefix_cache.h) with more and more
// cached blocks. Every prompt is cached whole, so every block is hashed, found by its key and compared token
// by token. Prompts are looked up in random order, so that little of the tree is in a CPU cache. And what the
// engine thread spends on its statistics: the caches of other sizes (cache/what_if.h) for each prompt, and
// one turn of a look at all prefixes (cache/prefix_scan.h).
#include <malloc.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/prng.h"
#include "bench/harness.h"
#include "cache/prefix_cache.h"
#include "cache/prefix_scan.h"
#include "cache/what_if.h"

namespace prefixd::bench {
namespace {

constexpr int kBlockTokens = 16;
constexpr size_t kPromptBlocks = 256;  // of them the first half is shared by all prompts of a group
constexpr size_t kSharedBlocks = kPromptBlocks / 2;
constexpr size_t kGroup = 8;
constexpr size_t kGroupBlocks = kSharedBlocks + kGroup * (kPromptBlocks - kSharedBlocks);
constexpr int kPromptTokens = static_cast<int>(kPromptBlocks) * kBlockTokens;
constexpr BlockKey kRoot{.low = 1, .high = 2};

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId /*from*/, BlockId /*to*/) override {}
};

std::vector<TokenId> Prompt(size_t number) {
  std::vector<TokenId> tokens;
  Prng shared(2 * (number / kGroup)), own(2 * number + 1);
  while (tokens.size() < kSharedBlocks * kBlockTokens)
    tokens.push_back(static_cast<TokenId>(shared.Below(150'000)));
  while (tokens.size() < static_cast<size_t>(kPromptTokens))
    tokens.push_back(static_cast<TokenId>(own.Below(150'000)));
  return tokens;
}

// Bytes that malloc has given out.
size_t HeapBytes() {
  const struct mallinfo2 heap = ::mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A cache with the prompts 0 .. prompts-1, and no room for more.
struct FilledCache {
  explicit FilledCache(size_t prompts) : before(HeapBytes()) {
    const auto blocks = static_cast<uint32_t>((prompts + kGroup - 1) / kGroup * kGroupBlocks);
    cache = std::make_unique<PrefixCache>(
        PrefixCache::Options{.block_tokens = kBlockTokens, .blocks = blocks}, &copies);
    for (size_t i = 0; i < prompts; ++i) {
      const std::vector<TokenId> tokens = Prompt(i);
      BlockKeys keys(kRoot, kBlockTokens);
      Lease lease = cache->Open(&keys);
      PREFIXD_CHECK(cache->Acquire(lease, tokens, kPromptTokens).state == PrefixCache::AcquireState::kReady);
      PREFIXD_CHECK(cache->Reserve(lease, kPromptTokens));
      cache->EndStep(true);
      cache->Commit(lease, tokens);
    }
  }
  size_t blocks() const { return cache->cached_blocks(); }
  double BytesPerBlock() const {
    return static_cast<double>(HeapBytes() - before) / static_cast<double>(blocks()) -
           kBlockTokens * sizeof(TokenId);
  }

  const size_t before;
  NoCopies copies;
  std::unique_ptr<PrefixCache> cache;
};

// Seconds that the parts of all lookups took.
struct Parts {
  double hash = 0, match = 0, release = 0;
  double total() const { return hash + match; }
};

Parts LookUp(PrefixCache& cache, size_t prompts, size_t lookups, Prng& prng) {
  Parts parts;
  for (size_t i = 0; i < lookups; ++i) {
    const std::vector<TokenId> tokens = Prompt(prng.Below(prompts));
    const double begun = Now();
    BlockKeys keys(kRoot, kBlockTokens);
    keys.Extend(tokens);
    const double hashed = Now();
    Lease lease = cache.Open(&keys);
    const PrefixCache::Acquired acquired = cache.Acquire(lease, tokens, kPromptTokens);
    const double matched = Now();
    PREFIXD_CHECK(acquired.tokens() == kPromptTokens) << acquired.tokens();
    lease.Release();
    parts.release += Now() - matched;
    parts.hash += hashed - begun;
    parts.match += matched - hashed;
    cache.EndStep(true);
  }
  return parts;
}

// Seconds that the caches of other sizes take for a prompt, for all lookups. They are as full as the cache.
double Ghosts(const FilledCache& filled, size_t prompts, size_t lookups, Prng& prng) {
  WhatIf what_if({.block_tokens = kBlockTokens, .blocks = {filled.blocks(), 0, 0}, .eviction = ""});
  double seconds = 0;
  for (size_t i = 0; i < prompts + lookups; ++i) {
    BlockKeys keys(kRoot, kBlockTokens);
    keys.Extend(Prompt(i < prompts ? i : prng.Below(prompts)));
    const double begun = Now();
    what_if.Add(keys, kPromptTokens);
    if (i >= prompts) seconds += Now() - begun;
  }
  return seconds / static_cast<double>(lookups);
}

// The longest turn of a look at all prefixes, in seconds of processor time.
double LongestTurn(const PrefixCache& cache) {
  constexpr uint32_t kNodes = 2048;  // EngineView::kNodesPerTurn
  PrefixScan scan(100);
  double longest = 0;
  for (bool done = false; !done;) {
    const int64_t begun = SystemClock().ThreadNanos();
    done = cache.Scan(&scan, kNodes);
    longest = std::max(longest, 1e-9 * static_cast<double>(SystemClock().ThreadNanos() - begun));
  }
  return longest;
}

Result<std::vector<size_t>> ParseBlocks(const std::string& text) {
  std::vector<size_t> all;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    size_t blocks = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, blocks);
    if (error != std::errc() || stop != text.data() + end || blocks < kGroupBlocks || blocks > 10'000'000)
      return InvalidArgument("--blocks '" + text + "': numbers from " + std::to_string(kGroupBlocks) +
                             " to 10000000");
    all.push_back(blocks);
    begin = end + 1;
  }
  return all;
}

int Main(int argc, char** argv) {
  Arguments arguments(
      "cache_bench", "Measures what it costs to find a prompt in the cache, by the number of cached blocks.",
      {{"--blocks", "N,...", "2000,10000,100000,1000000", "cached blocks, at least 1152; rounded"},
       {"--lookups", "N", "2000", "prompts of 4,096 tokens that are looked up, for each number of blocks"},
       {"--runs", "N", "5", "repetitions, of which the median counts"},
       kJsonOption});
  arguments.ParseOrExit(argc, argv);
  const Result<std::vector<size_t>> all = ParseBlocks(arguments.Text("--blocks"));
  if (!all.ok()) arguments.Fail(all.status());
  const auto lookups = static_cast<size_t>(arguments.IntegerOrExit("--lookups", 1, 1'000'000));
  const auto runs = static_cast<size_t>(arguments.IntegerOrExit("--runs", 1, 100));
  Report report(arguments);
  report.ProbeMachine();
  for (const size_t wanted : *all) {
    const size_t prompts = wanted / kGroupBlocks * kGroup;
    const FilledCache filled(prompts);
    const double bytes = filled.BytesPerBlock();
    Prng prng(1);
    std::vector<Parts> measured;
    for (size_t run = 0; run < runs; ++run) measured.push_back(LookUp(*filled.cache, prompts, lookups, prng));
    std::ranges::sort(measured, {}, &Parts::total);
    const double ghosts = Ghosts(filled, prompts, lookups, prng);
    const double turn = LongestTurn(*filled.cache);
    const Parts& median = measured[runs / 2];
    const double to_ns = 1e9 / (static_cast<double>(lookups) * kPromptTokens);
    report.Add(std::to_string(filled.blocks()) + " blocks", median.total() * to_ns, "ns/token",
               {{"hash", median.hash * to_ns},
                {"match", median.match * to_ns},
                {"release", median.release * to_ns},
                {"ghosts_us_per_prompt", ghosts * 1e6},
                {"scan_turn_us", turn * 1e6},
                {"bytes_per_block", bytes}});
  }
  return report.Finish();
}

}  // namespace
}  // namespace prefixd::bench

int main(int argc, char** argv) { return prefixd::bench::Main(argc, argv); }
