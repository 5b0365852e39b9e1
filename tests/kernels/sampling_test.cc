#include "kernels/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "kernels/cpu/ops.h"
#include "kernels/registry.h"
#include "tests/support/allocations.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using sampling::ExponentialOf;
using sampling::Philox;
using sampling::PhiloxWords;
using sampling::Uniform;
using sampling::UniformAt;
using sampling::WeightOf;

constexpr float kInf = std::numeric_limits<float>::infinity();

DrawScratch ScratchFor(size_t vocab, const SampleLoops& loops = PlainSampleLoops()) {
  DrawScratch scratch(loops);
  EXPECT_TRUE(scratch.Reserve(static_cast<int>(vocab)).ok());
  return scratch;
}

// The known answers of the Random123 library for philox4x32, 10 rounds.
TEST(Sampling, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(Philox({0, 0, 0, 0}, 0), (PhiloxWords{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox({~0u, ~0u, ~0u, ~0u}, ~uint64_t{0}),
            (PhiloxWords{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (PhiloxWords{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Sampling, EveryTokenBlockAndPositionHasItsOwnNumber) {
  std::set<double> seen;
  for (uint64_t seed : {0ull, 1ull, 1ull << 32}) {
    for (uint32_t position = 0; position < 30; ++position) {
      for (uint32_t index = 0; index < 100; ++index) {
        for (const Uniform of : {Uniform::kOfToken, Uniform::kOfBlock}) {
          const double u = UniformAt(seed, position, index, of);
          EXPECT_TRUE(u > 0 && u < 1) << u;
          EXPECT_LE(sampling::WordAt(seed, position, index, 0, of) * 0x1.0p-32, u);
          seen.insert(u);
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 18000u);
}

TEST(Sampling, ExponentialsAreLogarithms) {
  Prng prng(3);
  const auto check = [](double u) {
    const double expected = static_cast<double>(-std::log1p(-static_cast<long double>(u)));
    EXPECT_NEAR(ExponentialOf(u) / expected, 1.0, 0x1.0p-50) << u;
  };
  for (const double u : {0x1.0p-53, 1 - 0x1.0p-53, 1.0 / 3, std::nextafter(1.0 / 3, 1), 0.5, 2.0 / 3, 0.75})
    check(u);
  for (int i = 0; i < 100000; ++i) {
    const double u = (static_cast<double>(2 * (prng.Next() >> 12) + 1)) * 0x1.0p-53;
    check(u);
    check(std::max(0x1.0p-53, u * std::exp2(-static_cast<double>(prng.Below(50)))));
    check(1 - std::max(0x1.0p-53, u * std::exp2(-static_cast<double>(prng.Below(50)))));
  }
}

TEST(Sampling, WeightsAreExponentials) {
  Prng prng(4);
  for (int i = 0; i < 200000; ++i) {
    const float x = static_cast<float>(-87 * prng.Unit());
    ASSERT_NEAR(static_cast<double>(WeightOf(x)) / std::exp(static_cast<double>(x)), 1.0, 2e-7) << x;
    ASSERT_LE(WeightOf(x), 1.0f) << x;
  }
  EXPECT_EQ(WeightOf(0.0f), 1.0f);
  EXPECT_GT(WeightOf(-87.0f), 0.0f);
  for (const float x : {std::nextafter(-87.0f, -100.0f), -1e30f, -kInf, 1e-30f, 1.0f, kInf, NAN})
    EXPECT_EQ(WeightOf(x), 0.0f) << x;
}

TEST(Sampling, TopPAsksForAnIntegerSum) {
  constexpr uint64_t kOne = uint64_t{1} << 40;
  EXPECT_EQ(sampling::SumForTopP(0.5f, 3 * kOne), 3 * kOne / 2);
  EXPECT_EQ(sampling::SumForTopP(0.5f, 3), 2u) << "1.5, rounded up";
  EXPECT_EQ(sampling::SumForTopP(0.0f, kOne), 1u);
  EXPECT_EQ(sampling::SumForTopP(-1.0f, kOne), 1u);
  EXPECT_LE(sampling::SumForTopP(std::nextafter(1.0f, 0.0f), kOne), kOne);
  EXPECT_EQ(sampling::FixedPoint(1.0f), kOne);
  EXPECT_EQ(sampling::FixedPoint(1e-30f), 0u);
}

// Word 0 of token 2 here is 1 (found by a search over positions). It wins against equal weights, but never
// with a weight of 0.
TEST(Sampling, ImpossibleTokensAreNotDrawnByTheSmallestRandomNumber) {
  constexpr uint32_t kPosition = 761501576;
  constexpr TokenId kToken = 2;
  DrawScratch scratch = ScratchFor(256);
  const DrawParams params{.seed = 7, .position = kPosition};
  std::vector<float> logits(256, 0.0f);
  ASSERT_LT(sampling::WordAt(7, kPosition, kToken, 0, Uniform::kOfToken), 2u);
  EXPECT_EQ(DrawToken(params, logits, {}, scratch), kToken);
  for (const float impossible : {-1000.0f, -kInf, NAN}) {
    logits[kToken] = impossible;
    EXPECT_NE(DrawToken(params, logits, {}, scratch), kToken);
  }
  logits[kToken] = 0.0f;
  EXPECT_NE(DrawToken(params, logits, std::vector<TokenId>{kToken}, scratch), kToken);
}

TEST(Sampling, ScratchCarriesNothingFromDrawToDraw) {
  Prng prng(5);
  DrawScratch used = ScratchFor(700);
  for (int i = 0; i < 300; ++i) {
    std::vector<float> logits(prng.Between(1, 700));
    for (float& logit : logits) logit = static_cast<float>(8 * prng.Unit());
    std::vector<TokenId> banned(prng.Below(4), 0);
    DrawParams params{.top_p = prng.Chance(0.5) ? 0.8f : 1.0f,
                      .top_k = prng.Chance(0.5) ? 20 : 0,
                      .seed = prng.Next(),
                      .position = static_cast<uint32_t>(i)};
    DrawScratch fresh = ScratchFor(logits.size());
    EXPECT_EQ(DrawToken(params, logits, banned, used), DrawToken(params, logits, banned, fresh));
  }
}

// A few values at each alignment to blocks and lanes, and every table of loops.
TEST(Sampling, LoopsOfEveryInstructionSetDoWhatTheDefinitionSays) {
  std::vector<const SampleLoops*> tables = {&PlainSampleLoops()};
  for (const BackendInfo& info : ListBackends()) {
    if (info.runs_here && info.name == "avx2") tables.push_back(&cpu::Avx2Ops().sampling);
    if (info.runs_here && info.name == "avx512") tables.push_back(&cpu::Avx512Ops().sampling);
  }
  Prng prng(8);
  for (const size_t n : {1, 15, 16, 17, 255, 256, 257, 700}) {
    std::vector<float> logits(n);
    for (float& logit : logits) logit = static_cast<float>(-100 * prng.Unit());
    for (const float odd : {NAN, -kInf, 0.0f}) logits[prng.Below(n)] = odd;
    const float temperature = n % 2 == 0 ? 0.7f : 1.0f;
    for (const SampleLoops* loops : tables) {
      std::vector<float> largest((n + kSampleBlock - 1) / kSampleBlock);
      loops->largest(logits.data(), n, largest.data());
      std::vector<float> weights(kSampleBlock * largest.size(), 0.0f);
      loops->set_weights(logits.data(), n, -1.0f, temperature, weights.data());
      float most = -kInf;
      uint64_t expected = 0;
      for (size_t i = 0; i < n; ++i) {
        if (i % kSampleBlock == 0) most = -kInf;
        if (logits[i] > most) most = logits[i];
        const bool last = i + 1 == n || (i + 1) % kSampleBlock == 0;
        ASSERT_TRUE(!last || largest[i / kSampleBlock] == most) << i;
        ASSERT_EQ(weights[i], WeightOf((logits[i] - -1.0f) / temperature)) << logits[i];
        expected += sampling::FixedPoint(weights[i]);
      }
      EXPECT_EQ(loops->sum_weights(weights.data(), weights.size()), expected);
      std::vector<int32_t> words(kSampleBlock);
      for (const Uniform of : {Uniform::kOfToken, Uniform::kOfBlock}) {
        loops->halved_words(n << 33 | 5, 9, 512, static_cast<uint32_t>(of), words.data());
        for (uint32_t j = 0; j < kSampleBlock; ++j) {
          ASSERT_EQ(static_cast<uint32_t>(words[j]), sampling::WordAt(n << 33 | 5, 9, 512 + j, 0, of) / 2);
        }
      }
    }
  }
}

// The definition in kernels/sampling.h, by sorting. `logits` have no NaN.
TokenId DrawBySorting(const DrawParams& params, const std::vector<float>& logits) {
  struct Token {
    float logit;
    TokenId id;
    float weight;
  };
  std::vector<Token> tokens;
  const float largest = *std::max_element(logits.begin(), logits.end());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float weight = WeightOf((logits[i] - largest) / params.temperature);
    if (weight > 0.0f && weight >= params.min_p)
      tokens.push_back({logits[i], static_cast<TokenId>(i), weight});
  }
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  });
  if (params.top_k > 0) tokens.resize(std::min(tokens.size(), static_cast<size_t>(params.top_k)));
  if (params.top_p < 1.0f) {
    uint64_t total = 0, sum = 0;
    for (const Token& token : tokens) total += sampling::FixedPoint(token.weight);
    const uint64_t wanted = sampling::SumForTopP(params.top_p, total);
    size_t kept = 0;
    while (sum < wanted) sum += sampling::FixedPoint(tokens[kept++].weight);
    tokens.resize(kept);
  }
  std::map<uint32_t, uint64_t> masses;
  for (const Token& token : tokens)
    masses[static_cast<uint32_t>(token.id) / kSampleBlock] += sampling::FixedPoint(token.weight);
  const auto time = [&](Uniform of, uint32_t index, double weight) {
    return ExponentialOf(UniformAt(params.seed, params.position, index, of)) / weight;
  };
  std::pair<double, uint32_t> block = {kInf, 0}, token = {kInf, 0};
  for (const auto& [index, mass] : masses) {
    if (mass > 0)
      block = std::min(block, {time(Uniform::kOfBlock, index, static_cast<double>(mass) * 0x1.0p-40), index});
  }
  for (const Token& of : tokens) {
    const auto id = static_cast<uint32_t>(of.id);
    if (id / kSampleBlock == block.second)
      token = std::min(token, {time(Uniform::kOfToken, id, static_cast<double>(of.weight)), id});
  }
  return static_cast<TokenId>(token.second);
}

// Logits by number of candidates: few, too many for the scratch, many that share a key or nearly so, and a
// few that are heavy among many that weigh as much together.
std::vector<float> LogitsOfKind(size_t kind, size_t vocab, Prng& prng) {
  std::vector<float> logits(vocab);
  for (float& logit : logits) {
    const float unit = static_cast<float>(prng.Unit());
    if (kind == 0) logit = 30 * unit;
    if (kind == 1) logit = 0.01f * (unit - 0.5f);
    if (kind == 2) logit = prng.Chance(0.01) ? 1.0f + unit : 0.5f;
    if (kind == 3) logit = std::bit_cast<float>(0x3F800000u + static_cast<uint32_t>(prng.Below(3)));
    if (kind == 4) logit = prng.Chance(0.002) ? 9.0f + unit : unit;
    if (kind == 5) logit = prng.Chance(0.3) ? 1000.0f + 1e-3f * unit : -1000.0f * unit;
  }
  return logits;
}

TEST(Sampling, DrawsAreThoseOfSortingHoweverManyCandidatesThereAre) {
  Prng prng(11);
  const std::vector<size_t> sizes = {1, 2, 255, 257, 2049, 9001};
  DrawScratch scratch = ScratchFor(9001);
  for (int i = 0; i < testing_support::Rounds(3000); ++i) {
    const size_t kind = prng.Below(6), vocab = sizes[prng.Below(sizes.size())];
    const std::vector<float> logits = LogitsOfKind(kind, vocab, prng);
    const float temperatures[] = {0.3f, 1.0f, 5.0f};
    const float shares[] = {0.01f, 0.5f, 0.9f, 0.999f, 1.0f};
    const int ranks[] = {0, 2, 50, 500, 600, 2000, 3000, 8999, 10000};
    const DrawParams params{.temperature = temperatures[prng.Below(3)],
                            .top_p = shares[prng.Below(5)],
                            .top_k = ranks[prng.Below(9)],
                            .min_p = prng.Chance(0.2) ? 0.05f : 0.0f,
                            .seed = prng.Next(),
                            .position = static_cast<uint32_t>(i)};
    ASSERT_EQ(DrawToken(params, logits, {}, scratch), DrawBySorting(params, logits))
        << "case " << i << ": kind " << kind << ", " << vocab << " tokens, temperature " << params.temperature
        << ", top_p " << params.top_p << ", top_k " << params.top_k << ", min_p " << params.min_p;
  }
}

// Tokens of three blocks, with few that are likely: counts of draws against the softmax, by Pearson's test.
TEST(Sampling, DrawsHaveTheProbabilitiesOfTheSoftmax) {
  if (testing_support::kSanitized) GTEST_SKIP() << "it is about numbers, which sanitizers do not change";
  constexpr size_t kVocab = 700;
  constexpr int kDraws = 50000;
  Prng prng(13);
  DrawScratch scratch = ScratchFor(kVocab);
  for (const float top_p : {1.0f, 0.95f}) {
    std::vector<float> logits(kVocab);
    for (float& logit : logits) logit = static_cast<float>(3 * prng.Unit());
    for (int i = 0; i < 10; ++i) logits[prng.Below(kVocab)] = 6.0f;
    std::vector<int> drawn(kVocab);
    for (int i = 0; i < kDraws; ++i) {
      const DrawParams params{.top_p = top_p, .seed = prng.Next(), .position = static_cast<uint32_t>(i)};
      ++drawn[static_cast<size_t>(DrawToken(params, logits, {}, scratch))];
    }
    std::vector<size_t> order(kVocab);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    double total = 0, kept = 0, chi_square = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    size_t count = 0;
    while (count < kVocab && kept < static_cast<double>(top_p) * total)
      kept += std::exp(static_cast<double>(logits[order[count++]]));
    for (size_t i = 0; i < count; ++i) {
      const double expected = kDraws * std::exp(static_cast<double>(logits[order[i]])) / kept;
      chi_square += (drawn[order[i]] - expected) * (drawn[order[i]] - expected) / expected;
    }
    const double freedom = static_cast<double>(count - 1);
    EXPECT_LT(std::abs(chi_square - freedom), 5 * std::sqrt(2 * freedom)) << "top_p " << top_p;
  }
}

TEST(Sampling, BansOfEveryTokenAreIgnoredAlsoWithChanges) {
  DrawScratch scratch = ScratchFor(3);
  const std::vector<TokenId> all = {0, 1, 2, 7, -1};
  const LogitBias bias = {1, 5.0f};
  const std::vector<float> logits = {1.0f, 0.0f, 2.0f};
  SampleRow row;
  row.logits = logits.data();
  row.params.temperature = 0.0f;
  row.changes.bias = {&bias, 1};
  row.banned = all;
  DrawRow(row, 3, scratch);
  EXPECT_EQ(row.token, 1);
  row.banned = std::span(all).subspan(1, 1);
  DrawRow(row, 3, scratch);
  EXPECT_EQ(row.token, 2);
  // Without any possible token, the first that is not banned.
  const std::vector<float> none(3, -kInf);
  EXPECT_EQ(DrawToken(row.params, none, std::span(all).subspan(0, 2), scratch), 2);
  EXPECT_EQ(DrawToken(row.params, none, all, scratch), 0);
}

TEST(Sampling, DrawsAllocateNothing) {
  Prng prng(12);
  DrawScratch scratch = ScratchFor(9001);
  const std::vector<TokenId> banned = {0, 5};
  const LogitBias bias = {1, 5.0f};
  for (size_t i = 0; i < 200; ++i) {
    const std::vector<float> logits =
        i == 0 ? std::vector<float>(9001, -kInf) : LogitsOfKind(i % 6, 9001, prng);
    SampleRow row;
    row.logits = logits.data();
    row.params = {.top_p = i % 2 == 0 ? 0.9f : 1.0f, .top_k = i % 3 == 0 ? 3000 : i % 3 == 1 ? 20 : 0};
    row.banned = banned;
    row.changes.bias = {&bias, 1};
    const int64_t before = testing_support::Allocations();
    DrawRow(row, 9001, scratch);
    ASSERT_EQ(testing_support::Allocations(), before) << i;
  }
  const int64_t before = testing_support::Allocations();
  EXPECT_TRUE(scratch.Reserve(9002).ok());
  EXPECT_GT(testing_support::Allocations(), before) << "Allocations counts nothing";
}

TEST(Sampling, ScratchHasAFixedSize) {
  constexpr int kVocab = 151936;
  EXPECT_LE(DrawScratch::Bytes(kVocab), size_t{8} * kVocab);
  DrawScratch scratch;
  testing_support::RefuseAllocationsAbove(size_t{1} << 20);
  const Status status = scratch.Reserve(kVocab);
  testing_support::RefuseAllocationsAbove(SIZE_MAX);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_NE(status.message().find(std::to_string(DrawScratch::Bytes(kVocab))), std::string::npos);
  const std::vector<float> logits(701);
  DrawScratch small = ScratchFor(700);
  EXPECT_DEATH(DrawToken({}, logits, {}, small), "701 logits; memory is reserved for 700");
}

// Rows of all kinds: greedy, plain, filtered, flat, banned, penalised.
std::vector<SampleRow> MixedRows(const std::vector<std::vector<float>>& logits) {
  static const LogitBias kBias[] = {{3, 2.0f}, {1000, -5.0f}};
  static const TokenCount kCounts[] = {{7, 2}, {9, 0}};
  static const TokenId kBanned[] = {0, 1, 2500};
  std::vector<SampleRow> rows(logits.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    SampleRow& row = rows[i];
    row.logits = logits[i].data();
    row.params = {.temperature = i % 5 == 0 ? 0.0f : 0.25f * static_cast<float>(i % 7 + 1),
                  .top_p = i % 3 == 0 ? 0.9f : 1.0f,
                  .top_k = i % 4 == 0 ? 50 : 0,
                  .min_p = i % 6 == 0 ? 0.02f : 0.0f,
                  .seed = i * 77,
                  .position = static_cast<uint32_t>(i)};
    if (i % 2 == 0) row.changes = {.bias = kBias, .repetition_penalty = 1.2f, .counts = kCounts};
    if (i % 8 == 3) row.banned = kBanned;
  }
  return rows;
}

TEST(Sampling, AnyBackendThreadsAndPlaceInTheBatchDrawTheSame) {
  constexpr int kVocab = 3001;
  Prng prng(6);
  std::vector<std::vector<float>> logits(40, std::vector<float>(kVocab));
  for (size_t i = 0; i < logits.size(); ++i) {
    for (float& logit : logits[i]) logit = static_cast<float>((i % 3 == 0 ? 0.01 : 12) * prng.Unit());
  }
  std::vector<SampleRow> expected = MixedRows(logits);
  std::set<TokenId> different;
  for (SampleRow& row : expected) {
    DrawScratch scratch = ScratchFor(kVocab);
    DrawRow(row, kVocab, scratch);
    different.insert(row.token);
  }
  EXPECT_GT(different.size(), 30u);
  for (const BackendInfo& info : ListBackends()) {
    if (!info.runs_here) continue;
    for (const int threads : {1, 3}) {
      const auto operations = CreateOperations(info.name, threads);
      ASSERT_TRUE(operations.ok()) << operations.status().ToString();
      const size_t count = expected.size();
      std::vector<LogitRow> rows(count);
      std::vector<float> reversed;
      const std::vector<SampleRow> mixed = MixedRows(logits);
      for (size_t i = 0; i < count; ++i) {
        rows[i].draw = mixed[count - 1 - i];
        const std::vector<float>& of_row = logits[count - 1 - i];
        reversed.insert(reversed.end(), of_row.begin(), of_row.end());
      }
      EXPECT_TRUE((*operations)->ReadRows(std::span(rows).subspan(0, 1), reversed.data(), kVocab).ok());
      EXPECT_TRUE((*operations)->ReadRows(std::span(rows).subspan(1), reversed.data() + kVocab, kVocab).ok());
      for (size_t i = 0; i < count; ++i)
        EXPECT_EQ(rows[i].result.token, expected[count - 1 - i].token) << info.name << " row " << i;
    }
  }
}

}  // namespace
}  // namespace prefixd
