// The bound on the memory of the cache's books, which the memory plan of the daemon counts on. The caches are
// filled until every block is cached and the ghost index is full, with prefixes of several shapes.
#include <gtest/gtest.h>
#include <malloc.h>

#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "cache/prefix_cache.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

constexpr int kBlockTokens = 16;
constexpr uint32_t kBlocks = 20'000;

class NoCopies final : public DeviceCopier {
 public:
  void CopyBlock(BlockId, BlockId) override {}
};

// The prompt with number `request`, and the namespace in which it is asked.
struct Prompt {
  BlockKey root;
  std::vector<TokenId> tokens;
};
using Shape = std::function<Prompt(uint64_t request)>;

std::vector<TokenId> Block(uint64_t first) {
  std::vector<TokenId> tokens(kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), static_cast<TokenId>(first));
  return tokens;
}

// Long prompts that share nothing.
Prompt Chains(uint64_t request) {
  std::vector<TokenId> tokens(100 * kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), static_cast<TokenId>(request * 1'000'000));
  return {{1, 1}, tokens};
}
// One block each, all of one root.
Prompt Star(uint64_t request) { return {{1, 1}, Block(request * 100)}; }
// A namespace for two prompts of one block each: the shape that costs most.
Prompt Pairs(uint64_t request) { return {{request / 2, 1}, Block(request * 100)}; }
// Below 10 first blocks, each block has two successors.
Prompt Binary(uint64_t request) {
  std::vector<TokenId> tokens;
  for (int level = 0; level < 12; ++level) {
    const std::vector<TokenId> block =
        Block(level == 0 ? 1'000 * (request >> 11) : 100 * (1 + (request >> (11 - level) & 1)));
    tokens.insert(tokens.end(), block.begin(), block.end());
  }
  return {{1, 1}, tokens};
}

void Ask(PrefixCache* cache, const Prompt& prompt) {
  BlockKeys keys(prompt.root, kBlockTokens);
  const int size = static_cast<int>(prompt.tokens.size());
  Lease lease = cache->Open(&keys);
  ASSERT_EQ(cache->Acquire(lease, prompt.tokens, size).state, PrefixCache::AcquireState::kReady);
  ASSERT_TRUE(cache->Reserve(lease, size));
  cache->EndStep(true);
  cache->Commit(lease, prompt.tokens);
}

size_t HeapBytes() {
  const struct mallinfo2 info = mallinfo2();  // a sanitizer's heap reports 0
  return info.uordblks + info.hblkhd;
}

void ExpectWithinBound(const std::string& name, const Shape& shape) {
  // A sanitizer's heap measures nothing; the shapes are the same.
  constexpr uint32_t kFilled = testing_support::kSanitized ? kBlocks / 10 : kBlocks;
  const PrefixCache::Options options{.block_tokens = kBlockTokens, .blocks = kFilled, .tenants = false};
  const size_t bound = PrefixCache::MaxMemoryBytes(options);
  const size_t before = HeapBytes();
  NoCopies copier;
  PrefixCache cache(options, &copier);
  const auto& evicted = cache.stats().evicted_blocks[0];
  uint64_t requests = 0;
  for (; evicted < 2 * kGhostsPerBlock * kFilled; ++requests) Ask(&cache, shape(requests));
  EXPECT_EQ(cache.cached_blocks(), kFilled) << name;
  EXPECT_LE(cache.nodes(), (1 + kGhostsPerBlock) * kFilled) << name;
  EXPECT_GT(cache.nodes(), kGhostsPerBlock * kFilled) << name;
  EXPECT_LE(cache.memory_bytes(), bound) << name;
  const size_t heap = HeapBytes() - before;
  EXPECT_LE(heap, bound) << name;
  testing::Test::RecordProperty(name, std::to_string(bound) + " bound, " + std::to_string(heap) + " heap, " +
                                          std::to_string(cache.memory_bytes()) + " counted");
  // The bound is of use: it is below five times what the cheapest shape takes.
  EXPECT_LT(bound, 5 * cache.memory_bytes()) << name;
}

TEST(PrefixCacheMemory, StaysBelowItsBoundWhateverThePrefixesAre) {
  ExpectWithinBound("chains", Chains);
  ExpectWithinBound("star", Star);
  ExpectWithinBound("pairs", Pairs);
  ExpectWithinBound("binary", Binary);
}

// The prompts of two tenants in turn, 40 blocks each; those of a tenant share the first half.
Prompt Tenants(uint64_t request) {
  const uint64_t tenant = request % 2;
  std::vector<TokenId> tokens(40 * kBlockTokens);
  const auto half = tokens.begin() + 20 * kBlockTokens;
  std::iota(tokens.begin(), half, TokenId{1});
  std::iota(half, tokens.end(), static_cast<TokenId>(1'000 * (request + 1)));
  return {{tenant, 1}, tokens};
}

// What a block may take beside its token ids.
constexpr double kMostBlockBytes = 200;

TEST(PrefixCacheMemory, ABlockTakesAtMost200BytesBesideItsTokens) {
  const size_t before = HeapBytes();
  NoCopies copier;
  PrefixCache cache({.block_tokens = kBlockTokens, .blocks = kBlocks}, &copier);
  const auto bytes_of_each = [&](size_t bytes, size_t blocks) {
    return static_cast<double>(bytes) / static_cast<double>(blocks) - kBlockTokens * sizeof(TokenId);
  };
  const auto expect_few_bytes = [&](const char* when) {
    const double heap = bytes_of_each(HeapBytes() - before, cache.cached_blocks());
    const double counted = bytes_of_each(cache.memory_bytes(), cache.cached_blocks());
    EXPECT_LE(heap, kMostBlockBytes) << when;
    EXPECT_LE(counted, kMostBlockBytes) << when;
    EXPECT_GT(counted, 80) << when << ": a node has 80 bytes";
    testing::Test::RecordProperty(when, std::to_string(heap) + " heap, " + std::to_string(counted));
  };
  uint64_t requests = 0;
  while (cache.cached_blocks() + 40 <= kBlocks) Ask(&cache, Tenants(requests++));
  EXPECT_GT(cache.cached_blocks(), kBlocks - 80);
  expect_few_bytes("every prompt once");
  for (int round = 0; round < 3; ++round) {
    for (uint64_t request = 0; request < requests; ++request) Ask(&cache, Tenants(request));
  }
  EXPECT_EQ(cache.stats().evicted_blocks[0], 0u);
  expect_few_bytes("every prompt four times");
}

TEST(PrefixCacheMemory, TheBoundFollowsTheOptions) {
  const auto bound = [](int block_tokens, uint32_t blocks, uint32_t host_blocks) {
    return PrefixCache::MaxMemoryBytes(
        {.block_tokens = block_tokens, .blocks = blocks, .host_blocks = host_blocks});
  };
  const size_t known_tokens = 10'000u * (32 - 16) * sizeof(TokenId);
  EXPECT_EQ(bound(32, 10'000, 0) - bound(16, 10'000, 0), known_tokens);
  EXPECT_GT(bound(16, 20'000, 0), bound(16, 10'000, 0) + 10'000 * 5 * 80);  // 80 bytes for each node
  EXPECT_GT(bound(16, 10'000, 10'000), bound(16, 10'000, 0) + 10'000 * 80);
  EXPECT_GE(bound(16, 10'000, 0) - PrefixCache::MaxMemoryBytes({.blocks = 10'000, .tenants = false}),
            TenantEviction::MaxMemoryBytes(10'000, 0));
  const auto with_disk = [](uint32_t max_transfers) {
    return PrefixCache::MaxMemoryBytes({.blocks = 10'000, .disk = true, .max_transfers = max_transfers});
  };
  EXPECT_GE(with_disk(1), bound(16, 10'000, 0));
  EXPECT_GT(with_disk(10'001), with_disk(1) + 10'000 * 80) << "a node for each block that is being loaded";
}

}  // namespace
}  // namespace prefixd
