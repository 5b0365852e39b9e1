#include "engine/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <sstream>

#include "base/prng.h"
#include "tests/engine/reference_sampler.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using testing::ElementsAre;

constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> RandomLogits(Prng& prng, size_t vocab, double spread) {
  std::vector<float> logits(vocab);
  for (float& logit : logits) logit = static_cast<float>((prng.Unit() - 0.5) * spread);
  return logits;
}

TokenCounts CountsOf(const SamplerCase& c) {
  TokenCounts counts;
  if (c.params.repetition_penalty != 1.0f) counts.AddPrompt(c.prompt);
  for (const TokenId token : c.answer) counts.AddGenerated(token);
  return counts;
}

TokenId SampleToken(const SamplingParams& params, const TokenCounts& counts, int position,
                    std::span<const float> logits, std::span<const TokenId> banned,
                    std::span<const uint32_t> allowed = {}) {
  DrawScratch scratch;
  EXPECT_TRUE(scratch.Reserve(static_cast<int>(logits.size())).ok());
  SampleRow row = SampleRowOf(params, counts, position, banned, allowed);
  row.logits = logits.data();
  DrawRow(row, static_cast<int>(logits.size()), scratch);
  return row.token;
}

TokenId Draw(const SamplerCase& c) {
  return SampleToken(c.params, CountsOf(c), c.position(), c.logits, c.banned, c.allowed);
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowerIdOnTies) {
  SamplingParams params;
  params.temperature = 0;
  EXPECT_EQ(SampleToken(params, {}, 0, std::vector<float>{1, 5, 5, 2}, {}), 1);
  EXPECT_EQ(SampleToken(params, {}, 0, std::vector<float>{1, 5, 5, 2}, std::vector<TokenId>{1}), 2);
  EXPECT_EQ(SampleToken(params, {}, 0, std::vector<float>{NAN, -INFINITY, -3}, {}), 2);
  EXPECT_EQ(SampleToken(params, {}, 0, std::vector<float>{1, 2}, std::vector<TokenId>{0, 1}), 1)
      << "something must be drawn";
}

TEST(Sampler, GreedySeesBiasAndPenalties) {
  SamplerCase c;
  c.params.temperature = 0;
  c.logits = {3, 2.5f, -1, -1.5f};
  EXPECT_EQ(Draw(c), 0);
  c.params.logit_bias = {{3, 100}};
  EXPECT_EQ(Draw(c), 3);
  c.params.logit_bias = {{0, -kInf}, {1, -100}};
  EXPECT_EQ(Draw(c), 2);
  c.params.logit_bias.clear();
  c.params.repetition_penalty = 2;
  c.prompt = {0};
  EXPECT_EQ(Draw(c), 1) << "3 / 2";
  c.logits = {-1, -1.5f, -3, -3};
  EXPECT_EQ(Draw(c), 1) << "-1 * 2";
  c.params = {};
  c.params.temperature = 0;
  c.logits = {3, 2.5f, -1, -1.5f};
  c.params.presence_penalty = 1;
  EXPECT_EQ(Draw(c), 0) << "the prompt does not count";
  c.answer = {0, 0};
  EXPECT_EQ(Draw(c), 1);
  c.params.presence_penalty = 0;
  c.params.frequency_penalty = 0.3f;
  EXPECT_EQ(Draw(c), 1) << "3 - 2 * 0.3";
  c.answer = {0};
  EXPECT_EQ(Draw(c), 0) << "3 - 0.3";
}

TEST(Sampler, BansComeBeforeTheBias) {
  SamplerCase c;
  c.logits = {1, 2, 3};
  c.banned = {2};
  c.params.logit_bias = {{2, 100}};
  for (int seed = 0; seed < 50; ++seed) {
    c.params.seed = static_cast<uint64_t>(seed);
    EXPECT_NE(Draw(c), 2);
  }
}

TEST(TokenCounts, AreThoseOfTheWholeHistory) {
  Prng prng(1);
  TokenCounts counts;
  std::vector<TokenId> prompt;
  for (int i = 0; i < 1000; ++i) prompt.push_back(static_cast<TokenId>(prng.Below(300)));
  counts.AddPrompt(prompt);
  std::map<TokenId, int> expected;
  for (const TokenId token : prompt) expected[token] = 0;
  for (int i = 0; i < 500; ++i) {
    const TokenId token = static_cast<TokenId>(prng.Below(400));
    counts.AddGenerated(token);
    ++expected[token];
  }
  std::map<TokenId, int> got;
  for (const TokenCounts::Entry& entry : counts.entries()) got[entry.token] = entry.generated;
  EXPECT_EQ(got, expected);
  EXPECT_EQ(counts.entries().size(), expected.size()) << "one entry per distinct token";
}

template <typename T>
T OneOf(Prng& prng, std::initializer_list<T> values) {
  return *(values.begin() + prng.Below(values.size()));
}

std::vector<float> AwkwardLogits(Prng& prng, size_t vocab) {
  std::vector<float> logits = RandomLogits(prng, vocab, OneOf(prng, {1e-6, 1.0, 12.0, 12.0, 200.0, 1e30}));
  if (prng.Chance(0.4)) {  // ties
    for (float& logit : logits) logit = std::round(logit);
  }
  const float odd[] = {NAN, -kInf, kInf, 3e38f, -3e38f, 0.0f, -0.0f};
  if (prng.Chance(0.3)) {
    for (size_t i = prng.Below(vocab + 1); i > 0; --i) logits[prng.Below(vocab)] = odd[prng.Below(7)];
  }
  if (prng.Chance(0.02)) std::fill(logits.begin(), logits.end(), odd[prng.Below(7)]);
  return logits;
}

// Every option, alone and together, in and out of its range.
SamplerCase RandomCase(Prng& prng) {
  SamplerCase c;
  size_t vocab = OneOf<size_t>(prng, {1, 2, 5, 33, 200, 255, 256, 257});
  if (prng.Chance(0.05)) vocab = OneOf<size_t>(prng, {1000, 4096, 10007});
  if (prng.Chance(0.003)) vocab = OneOf<size_t>(prng, {32000, 131072, 152000});
  const auto token = [&] { return static_cast<TokenId>(prng.Below(vocab)); };
  c.logits = AwkwardLogits(prng, vocab);
  for (size_t i = prng.Below(20); i > 0; --i) c.prompt.push_back(token());
  for (size_t i = prng.Below(20); i > 0; --i) c.answer.push_back(token());
  SamplingParams& p = c.params;
  p.seed = prng.Next();
  p.temperature =
      OneOf(prng, {0.0f, 1e-40f, 1e-6f, 0.3f, 0.7f, 1.0f, 1.0f, 2.0f, 100.0f, 1e30f, kInf, NAN, -1.0f});
  if (prng.Chance(0.5))
    p.top_k = OneOf(prng, {-1, 1, 2, 5, 40, static_cast<int>(vocab), static_cast<int>(vocab) + 1, 1 << 30});
  if (prng.Chance(0.5)) p.top_p = OneOf(prng, {0.0f, 1e-9f, 0.1f, 0.5f, 0.9f, 0.999f, 1.0f, 2.0f, NAN});
  if (prng.Chance(0.4)) p.min_p = OneOf(prng, {1e-30f, 0.01f, 0.1f, 0.5f, 1.0f, 2.0f, NAN});
  if (prng.Chance(0.4)) p.repetition_penalty = OneOf(prng, {1.1f, 1.3f, 0.5f, 2.0f, 1e-30f, 1e30f});
  if (prng.Chance(0.4)) p.presence_penalty = OneOf(prng, {-2.0f, -0.5f, 0.5f, 2.0f});
  if (prng.Chance(0.4)) p.frequency_penalty = OneOf(prng, {-2.0f, -0.5f, 0.1f, 2.0f});
  if (prng.Chance(0.4)) {
    for (size_t i = prng.Below(6); i > 0; --i)
      p.logit_bias.push_back({token(), OneOf(prng, {-100.0f, 100.0f, -kInf, 1.0f, -0.5f, 0.0f, NAN})});
  }
  if (prng.Chance(0.3)) {
    for (size_t i = prng.Below(5); i > 0; --i) c.banned.push_back(token());
    if (prng.Chance(0.2)) c.banned.insert(c.banned.end(), {-1, static_cast<TokenId>(vocab), 1 << 30});
    if (prng.Chance(0.1)) {
      c.banned.resize(vocab);
      std::iota(c.banned.begin(), c.banned.end(), 0);
    }
  }
  if (prng.Chance(0.3)) {
    c.allowed.assign((vocab + 31) / 32, 0);
    const double share = OneOf(prng, {0.0, 0.05, 0.5, 0.95});
    for (size_t id = 0; id < vocab; ++id) c.allowed[id / 32] |= uint32_t{prng.Chance(share)} << (id % 32);
    const size_t one = prng.Below(vocab);
    c.allowed[one / 32] |= 1u << (one % 32);
  }
  return c;
}

std::string Describe(const SamplerCase& c) {
  const SamplingParams& p = c.params;
  std::ostringstream out;
  out << "vocab " << c.logits.size() << " temperature " << p.temperature << " top_k " << p.top_k << " top_p "
      << p.top_p << " min_p " << p.min_p << " repetition " << p.repetition_penalty << " presence "
      << p.presence_penalty << " frequency " << p.frequency_penalty << " biases " << p.logit_bias.size()
      << " banned " << c.banned.size() << " mask of " << c.allowed.size();
  return out.str();
}

TEST(Sampler, DoesWhatTheReferenceDoes) {
  Prng prng(7);
  int not_greedy = 0;
  for (int i = 0; i < testing_support::Rounds(20000); ++i) {
    const SamplerCase c = RandomCase(prng);
    const TokenId expected = ReferenceDraw(c);
    ASSERT_EQ(Draw(c), expected) << "case " << i << ": " << Describe(c);
    SamplerCase greedy = c;
    greedy.params.temperature = 0;
    not_greedy += ReferenceDraw(greedy) != expected;
  }
  EXPECT_GT(not_greedy, testing_support::Rounds(2000)) << "the draws must matter";
}

// Pearson's statistic of `seen` draws against `expected` probabilities, rare tokens together, as standard
// deviations above its mean.
double ChiSquareExcess(const std::map<TokenId, int>& seen,
                       const std::vector<std::pair<TokenId, double>>& expected, int draws) {
  double statistic = 0, rare_expected = 0;
  int cells = 0, rare_seen = 0;
  const auto add = [&](double want, int have) {
    statistic += (have - want) * (have - want) / want;
    ++cells;
  };
  for (const auto& [id, probability] : expected) {
    const double want = probability * draws;
    const auto at = seen.find(id);
    const int have = at == seen.end() ? 0 : at->second;
    if (want >= 10) {
      add(want, have);
    } else {
      rare_expected += want;
      rare_seen += have;
    }
  }
  if (rare_expected >= 1) add(rare_expected, rare_seen);
  const double freedom = std::max(1, cells - 1);
  return (statistic - freedom) / std::sqrt(2 * freedom);
}

// By position with one seed, and by seed at one position: each must look like draws from the distribution.
TEST(Sampler, DrawsFollowTheDistribution) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  constexpr int kDraws = 20000;
  Prng prng(11);
  double worst = 0;
  for (int round = 0; round < testing_support::Rounds(24); ++round) {
    SamplerCase c;
    c.logits = RandomLogits(prng, 200, 10);
    c.prompt = {1, 2, 3};
    c.answer = {2, 4, 4};
    c.params.temperature = OneOf(prng, {0.5f, 1.0f, 1.7f});
    if (prng.Chance(0.4)) c.params.top_k = static_cast<int>(prng.Between(2, 30));
    if (prng.Chance(0.4)) c.params.top_p = static_cast<float>(0.2 + 0.7 * prng.Unit());
    if (prng.Chance(0.3)) c.params.min_p = static_cast<float>(0.3 * prng.Unit());
    if (prng.Chance(0.5)) c.params.repetition_penalty = 1.5f;
    if (prng.Chance(0.5)) c.params.frequency_penalty = 0.7f;
    if (prng.Chance(0.5)) c.params.logit_bias = {{9, 4.0f}};
    if (prng.Chance(0.3)) c.banned = {static_cast<TokenId>(prng.Below(200)), 7};
    const auto expected = ReferenceDistribution(c);
    const TokenCounts counts = CountsOf(c);
    std::map<TokenId, int> seen;
    for (int i = 0; i < kDraws; ++i) {
      const bool by_position = round % 2 == 0;
      c.params.seed = static_cast<uint64_t>(by_position ? round : i);
      ++seen[SampleToken(c.params, counts, by_position ? i : round, c.logits, c.banned)];
    }
    for (const auto& [id, count] : seen) {
      const bool possible =
          std::any_of(expected.begin(), expected.end(), [&](const auto& e) { return e.first == id; });
      ASSERT_TRUE(possible) << "round " << round << " drew " << id;
    }
    worst = std::max(worst, ChiSquareExcess(seen, expected, kDraws));
  }
  EXPECT_LT(worst, 4.0) << "standard deviations, worst of 24";
}

// Neighbouring positions of one seed must not know of each other, nor neighbouring seeds.
TEST(Sampler, NeighbouringDrawsAreIndependent) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  const std::vector<float> logits = {0, 0, 0, 0};
  SamplingParams params;
  constexpr int kDraws = 20000;
  std::map<TokenId, int> positions, seeds;
  for (int i = 0; i < kDraws; ++i) {
    params.seed = 3;
    const TokenId here = SampleToken(params, {}, 2 * i, logits, {});
    ++positions[4 * here + SampleToken(params, {}, 2 * i + 1, logits, {})];
    params.seed = static_cast<uint64_t>(2 * i);
    const TokenId first = SampleToken(params, {}, 5, logits, {});
    params.seed += 1;
    ++seeds[4 * first + SampleToken(params, {}, 5, logits, {})];
  }
  std::vector<std::pair<TokenId, double>> pairs;
  for (TokenId pair = 0; pair < 16; ++pair) pairs.emplace_back(pair, 1.0 / 16);
  EXPECT_LT(ChiSquareExcess(positions, pairs, kDraws), 4.0);
  EXPECT_LT(ChiSquareExcess(seeds, pairs, kDraws), 4.0);
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
    EXPECT_EQ(SampleToken(a, {}, position, logits, {}), SampleToken(a, {}, position, logits, {}));
    by_position.insert(SampleToken(a, {}, position, logits, {}));
    differ += SampleToken(a, {}, position, logits, {}) != SampleToken(b, {}, position, logits, {});
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
    const TokenId expected = SampleToken(greedy, {}, position, logits, {});
    EXPECT_EQ(SampleToken(top_k, {}, position, logits, {}), expected);
    EXPECT_EQ(SampleToken(top_p, {}, position, logits, {}), expected);
  }
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
  EXPECT_EQ(SampleToken(params, {}, 0, logits, banned), 0);
  params.temperature = 0;
  EXPECT_EQ(SampleToken(params, {}, 0, logits, banned), 0);
}

TEST(Sampler, LogprobsAreThoseOfTheUnmodifiedDistribution) {
  Prng prng(5);
  for (int round = 0; round < 20; ++round) {
    const std::vector<float> logits = RandomLogits(prng, 500, 30);
    const std::vector<double> expected = ReferenceLogprobs(logits);
    const TokenId token = static_cast<TokenId>(prng.Below(500));
    const GeneratedToken got = WithLogprobs(token, 5, logits);
    EXPECT_NEAR(got.logprob, expected[token], 2e-5);
    std::vector<TokenId> order(500);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
    EXPECT_EQ(order[static_cast<size_t>(got.rank - 1)], token);
    ASSERT_EQ(got.top.size(), 5u);
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(got.top[i].token, order[i]);
      EXPECT_NEAR(got.top[i].logprob, expected[order[i]], 2e-5);
    }
  }
  EXPECT_EQ(WithLogprobs(1, 10, std::vector<float>{0, 0}).top.size(), 2u)
      << "never more than there are tokens";
  EXPECT_NEAR(WithLogprobs(1, 0, std::vector<float>{0, 0}).logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(WithLogprobs(1, 0, std::vector<float>{0, 0}).rank, 2) << "of equals the lower id comes first";
}

TEST(Sampler, LogprobsOfBrokenLogitsAreNumbers) {
  const auto all = [](const std::vector<float>& logits) {
    std::vector<float> result;
    for (size_t i = 0; i < logits.size(); ++i)
      result.push_back(WithLogprobs(static_cast<TokenId>(i), 0, logits).logprob);
    return result;
  };
  const float half = static_cast<float>(std::log(0.5));
  EXPECT_THAT(all({NAN, 2, -kInf}), ElementsAre(-kInf, 0, -kInf));
  EXPECT_THAT(all({kInf, 2, kInf, NAN}),
              ElementsAre(testing::FloatEq(half), -kInf, testing::FloatEq(half), -kInf));
  EXPECT_THAT(all({NAN, -kInf}), ElementsAre(testing::FloatEq(half), testing::FloatEq(half)));
  const GeneratedToken broken = WithLogprobs(1, 3, std::vector<float>{NAN, NAN, NAN});
  EXPECT_THAT(broken.top, testing::SizeIs(3));
  EXPECT_FLOAT_EQ(broken.top[2].logprob, std::log(1.0f / 3));
}

TEST(SamplerDeathTest, NeedsLogitsAndTokensOfTheVocabulary) {
  const std::vector<float> logits{1, 2, 3};
  SamplingParams params;
  EXPECT_DEATH(SampleToken(params, {}, 0, {}, {}), "vocab > 0");
  EXPECT_DEATH(SampleToken(params, {}, -1, logits, {}), "position >= 0");
  EXPECT_DEATH(WithLogprobs(3, 0, logits), "3 of 3");
  params.logit_bias = {{.token = -1, .bias = 1}};
  EXPECT_DEATH(SampleToken(params, {}, 0, logits, {}), "-1 of 3");
}

}  // namespace
}  // namespace prefixd
