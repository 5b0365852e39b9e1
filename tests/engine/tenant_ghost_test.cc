#include "engine/tenant_ghost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace prefixd {
namespace {

using Runs = std::vector<PrefixCache::MissRun>;
using enum MissReason;

constexpr BlockKey kModel{.low = 1, .high = 2};

std::vector<TokenId> Prompt(int tokens, TokenId first) {
  std::vector<TokenId> prompt(static_cast<size_t>(tokens));
  std::iota(prompt.begin(), prompt.end(), first);
  return prompt;
}

std::vector<std::pair<MissReason, int>> Explained(const TenantGhost& ghost, uint64_t tenant,
                                                  const std::vector<TokenId>& prompt, int begin, Runs runs) {
  ghost.Explain(tenant, TenantGhost::DigestsOf(kModel, 16, prompt), begin, 16, &runs);
  std::vector<std::pair<MissReason, int>> pairs;
  for (const auto& run : runs) pairs.emplace_back(run.reason, run.tokens);
  return pairs;
}

TEST(TenantGhost, NamesBlocksOfAnotherTenantAndNoOthers) {
  TenantGhost ghost;
  std::vector<TokenId> prompt = Prompt(70, 100);
  const Runs runs = {{kNeverSeen, 64}, {kBlockTail, 6}};
  using testing::ElementsAre;
  using testing::Pair;
  EXPECT_THAT(Explained(ghost, 7, prompt, 0, runs), ElementsAre(Pair(kNeverSeen, 64), Pair(kBlockTail, 6)));
  ghost.Add(7, TenantGhost::DigestsOf(kModel, 16, std::span(prompt).first(40)));
  EXPECT_THAT(Explained(ghost, 7, prompt, 0, runs), ElementsAre(Pair(kNeverSeen, 64), Pair(kBlockTail, 6)))
      << "its own";
  EXPECT_THAT(Explained(ghost, 8, prompt, 0, runs),
              ElementsAre(Pair(kOtherTenant, 32), Pair(kNeverSeen, 32), Pair(kBlockTail, 6)));
  EXPECT_THAT(Explained(ghost, 8, prompt, 20, {{kNeverSeen, 44}, {kBlockTail, 6}}),
              ElementsAre(Pair(kOtherTenant, 12), Pair(kNeverSeen, 32), Pair(kBlockTail, 6)))
      << "the first four tokens were copied";
  EXPECT_THAT(
      Explained(ghost, 8, prompt, 0, {{kEvictedDisk, 16}, {kNeverSeen, 48}, {kBlockTail, 6}}),
      ElementsAre(Pair(kEvictedDisk, 16), Pair(kOtherTenant, 16), Pair(kNeverSeen, 32), Pair(kBlockTail, 6)));
  prompt[0] = 1;
  EXPECT_THAT(Explained(ghost, 8, prompt, 0, runs), ElementsAre(Pair(kNeverSeen, 64), Pair(kBlockTail, 6)))
      << "a block is known after the same prefix alone";
}

TEST(TenantGhost, IsBoundedAndKeepsTheLatestTenant) {
  TenantGhost ghost;
  const std::vector<TokenId> first = Prompt(16, 0);
  ghost.Add(7, TenantGhost::DigestsOf(kModel, 16, first));
  ghost.Add(8, TenantGhost::DigestsOf(kModel, 16, first));
  EXPECT_EQ(Explained(ghost, 8, first, 0, {{kNeverSeen, 16}}).front().first, kNeverSeen);
  EXPECT_EQ(Explained(ghost, 7, first, 0, {{kNeverSeen, 16}}).front().first, kOtherTenant);
  ghost.Add(9, TenantGhost::DigestsOf(kModel, 1, Prompt(16 * TenantGhost::kPlaces, 1)));
  EXPECT_EQ(Explained(ghost, 7, first, 0, {{kNeverSeen, 16}}).front().first, kNeverSeen) << "overwritten";
  Runs none = {{kNeverSeen, 5}};
  ghost.Explain(7, {}, 0, 16, &none);
  EXPECT_EQ(none.front().reason, kNeverSeen);
}

}  // namespace
}  // namespace prefixd
