#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "base/prng.h"

namespace prefixd {
namespace {

using testing::ElementsAre;

std::vector<float> RandomLogits(Prng& prng, size_t vocab, double spread) {
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = static_cast<float>((prng.Unit() - 0.5) * spread);
  return logits;
}

// The definition, in double and by sorting everything: token -> probability of what may be drawn.
std::map<TokenId, double> ReferenceDistribution(const SamplingParams& p, const std::vector<float>& logits,
                                                const std::vector<TokenId>& banned) {
  std::vector<TokenId> order;
  for (TokenId id = 0; id < static_cast<TokenId>(logits.size()); ++id) {
    if (std::find(banned.begin(), banned.end(), id) == banned.end()) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  const double max = logits[order[0]];
  std::map<TokenId, double> weight;
  if (p.temperature == 0) return {{order[0], 1.0}};
  std::vector<TokenId> kept;
  for (const TokenId id : order) {
    weight[id] = std::exp((logits[id] - max) / p.temperature);
    if (weight[id] >= p.min_p) kept.push_back(id);
  }
  if (p.top_k > 0 && kept.size() > static_cast<size_t>(p.top_k)) kept.resize(p.top_k);
  double total = 0, reached = 0;
  for (const TokenId id : kept) total += weight[id];
  std::map<TokenId, double> result;
  for (const TokenId id : kept) {
    if (p.top_p < 1 && reached >= total * p.top_p) break;
    reached += weight[id];
    result[id] = weight[id];
  }
  for (auto& [id, w] : result) w /= reached;
  return result;
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowerIdOnTies) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(SampleToken(params, 0, std::vector<float>{1, 5, 5, 2}, {}), 1);
  EXPECT_EQ(SampleToken(params, 0, std::vector<float>{1, 5, 5, 2}, std::vector<TokenId>{1}), 2);
  EXPECT_EQ(SampleToken(params, 0, std::vector<float>{NAN, -INFINITY, -3}, {}), 2);
  EXPECT_EQ(SampleToken(params, 0, std::vector<float>{1, 2}, std::vector<TokenId>{0, 1}), 1)
      << "something must be drawn";
}

TEST(Sampler, DrawsFollowTheReferenceDistribution) {
  Prng prng(11);
  const float temperatures[] = {0.3f, 1.0f, 1.7f};
  for (int round = 0; round < 40; ++round) {
    SamplingParams params;
    params.temperature = temperatures[prng.Below(3)];
    if (prng.Chance(0.5)) params.top_k = static_cast<int>(prng.Between(2, 30));
    if (prng.Chance(0.5)) params.top_p = static_cast<float>(0.2 + 0.7 * prng.Unit());
    if (prng.Chance(0.3)) params.min_p = static_cast<float>(0.3 * prng.Unit());
    const std::vector<float> logits = RandomLogits(prng, 300, 12);
    std::vector<TokenId> banned;
    if (prng.Chance(0.3)) banned = {static_cast<TokenId>(prng.Below(300)), 7};
    const auto expected = ReferenceDistribution(params, logits, banned);
    std::map<TokenId, int> seen;
    constexpr int kDraws = 3000;
    for (int i = 0; i < kDraws; ++i) {
      params.seed = static_cast<uint64_t>(round);
      ++seen[SampleToken(params, i, logits, banned)];
    }
    for (const auto& [id, count] : seen) {
      ASSERT_TRUE(expected.contains(id)) << "round " << round << " drew " << id;
    }
    for (const auto& [id, probability] : expected) {
      const double sigma = std::sqrt(kDraws * probability * (1 - probability)) + 1;
      EXPECT_NEAR(seen[id], kDraws * probability, 6 * sigma) << "round " << round << " token " << id;
    }
  }
}

TEST(Sampler, IsAFunctionOfSeedPositionAndLogits) {
  Prng prng(3);
  const std::vector<float> logits = RandomLogits(prng, 1000, 4);
  SamplingParams a;
  a.seed = 5;
  SamplingParams b = a;
  b.seed = 6;
  std::set<TokenId> by_position;
  int differ = 0;
  for (int position = 0; position < 50; ++position) {
    EXPECT_EQ(SampleToken(a, position, logits, {}), SampleToken(a, position, logits, {}));
    by_position.insert(SampleToken(a, position, logits, {}));
    differ += SampleToken(a, position, logits, {}) != SampleToken(b, position, logits, {});
  }
  EXPECT_GT(by_position.size(), 25u);
  EXPECT_GT(differ, 25);
}

TEST(Sampler, TopKOfOneAndTinyTopPAreGreedy) {
  Prng prng(4);
  const std::vector<float> logits = RandomLogits(prng, 200, 3);
  SamplingParams greedy, top_k, top_p;
  greedy.temperature = 0;
  top_k.top_k = 1;
  top_p.top_p = 1e-6f;
  for (int position = 0; position < 20; ++position) {
    EXPECT_EQ(SampleToken(top_k, position, logits, {}), SampleToken(greedy, position, logits, {}));
    EXPECT_EQ(SampleToken(top_p, position, logits, {}), SampleToken(greedy, position, logits, {}));
  }
}

TEST(Sampler, DrawsTheLikeliestWhenMinPIsOutOfRange) {
  const std::vector<float> logits = {1, 4, 2};
  for (const float min_p : {NAN, INFINITY, 2.0f, 1.0f}) {
    SamplingParams params;
    params.min_p = min_p;
    for (int position = 0; position < 20; ++position)
      EXPECT_EQ(SampleToken(params, position, logits, {}), 1) << min_p;
  }
}

TEST(Sampler, ImpossibleTokensAreNotDrawnByTheSmallestRandomNumber) {
  SamplingParams params;
  params.seed = 0x3a1ee2fb72ccd99a;
  ASSERT_EQ(ToUnitInterval(RandomAt(params.seed, 0)), 0.0);
  EXPECT_EQ(SampleToken(params, 0, std::vector<float>{-INFINITY, -1000, 3, 2}, {}), 2);
}

// By a search of the list for every token this would take 2^33 comparisons.
TEST(Sampler, BansAWholeVocabulary) {
  constexpr TokenId kVocab = 1 << 17;
  std::vector<float> logits(kVocab);
  std::iota(logits.begin(), logits.end(), 0.0f);
  std::vector<TokenId> banned(kVocab);
  std::iota(banned.rbegin(), banned.rend(), 0);
  banned.pop_back();  // token 0
  banned.insert(banned.end(), {-1, kVocab});
  SamplingParams params;
  EXPECT_EQ(SampleToken(params, 0, logits, banned), 0);
  params.temperature = 0;
  EXPECT_EQ(SampleToken(params, 0, logits, banned), 0);
}

TEST(Sampler, LogprobsAreThoseOfTheUnmodifiedDistribution) {
  Prng prng(5);
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> logits = RandomLogits(prng, 500, 30);
    const TokenId token = static_cast<TokenId>(prng.Below(500));
    const GeneratedToken got = WithLogprobs(token, 5, logits);
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
    EXPECT_NEAR(got.logprob, logits[token] - std::log(sum), 2e-5);
    std::vector<TokenId> order(500);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
    EXPECT_EQ(order[static_cast<size_t>(got.rank - 1)], token);
    ASSERT_EQ(got.top.size(), 5u);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(got.top[i].token, order[i]);
      EXPECT_NEAR(got.top[i].logprob, logits[order[i]] - std::log(sum), 2e-5);
    }
  }
  EXPECT_EQ(WithLogprobs(1, 10, std::vector<float>{0, 0}).top.size(), 2u)
      << "never more than there are tokens";
  EXPECT_NEAR(WithLogprobs(1, 0, std::vector<float>{0, 0}).logprob, std::log(0.5), 1e-6);
}

}  // namespace
}  // namespace prefixd
