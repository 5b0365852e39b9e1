#include "daemon/admin/rate_history.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

EngineStats StatsWith(uint64_t computed, uint64_t device, uint64_t generated, uint64_t requests) {
  EngineStats stats;
  stats.prompt_tokens[static_cast<size_t>(TokenSource::kComputed)] = computed;
  stats.prompt_tokens[static_cast<size_t>(TokenSource::kDevice)] = device;
  stats.generation_tokens = generated;
  stats.finished[0] = requests;
  return stats;
}

TEST(RateHistory, RatesAreThoseSinceTheOldestSampleInTheWindow) {
  RateHistory history;
  history.Sample(100, StatsWith(0, 0, 0, 0));
  EngineStats stats = StatsWith(100, 300, 50, 20);
  for (int i = 0; i < 19; ++i) stats.time_to_first_token.Add(0.09);
  stats.time_to_first_token.Add(3);
  const Rates rates = history.Until(110, stats);
  EXPECT_EQ(rates.seconds, 10);
  EXPECT_EQ(rates.prefill_tokens_per_second, 10);
  EXPECT_EQ(rates.prompt_tokens_per_second, 40);
  EXPECT_EQ(rates.decode_tokens_per_second, 5);
  EXPECT_EQ(rates.requests_per_second, 2);
  EXPECT_DOUBLE_EQ(*rates.cached_share, 0.75);
  EXPECT_DOUBLE_EQ(*rates.ttft_p95_seconds, 0.1) << "the bound of the bucket that holds the 19 of 20";
}

TEST(RateHistory, WithoutTrafficNothingIsKnown) {
  RateHistory history;
  EXPECT_EQ(history.Until(5, StatsWith(1, 1, 1, 1)).seconds, 0) << "no sample";
  history.Sample(5, StatsWith(7, 7, 7, 7));
  const Rates rates = history.Until(65, StatsWith(7, 7, 7, 7));
  EXPECT_EQ(rates.seconds, 60);
  EXPECT_EQ(rates.requests_per_second, 0);
  EXPECT_FALSE(rates.cached_share);
  EXPECT_FALSE(rates.ttft_p95_seconds);
}

TEST(RateHistory, WhatIsOlderThanTheWindowIsForgotten) {
  RateHistory history;
  for (int second = 0; second <= 1000; ++second)
    history.Sample(second, StatsWith(static_cast<uint64_t>(second < 500 ? 0 : 5000), 0, 0, 0));
  const Rates rates = history.Until(1000, StatsWith(5000, 0, 0, 0));
  EXPECT_LE(rates.seconds, RateHistory::kWindowSeconds);
  EXPECT_GT(rates.seconds, RateHistory::kWindowSeconds - RateHistory::kSampleSeconds);
  EXPECT_EQ(rates.prefill_tokens_per_second, 0) << "it was 500 seconds ago";
  EXPECT_LE(history.Until(2000, StatsWith(5000, 0, 0, 0)).seconds, 1000) << "no sample since: the newest";
}

TEST(RateHistory, ThePastHasTheRatesBetweenTwoSamples) {
  RateHistory history;
  EXPECT_TRUE(history.Past().empty());
  EngineStats stats;
  history.Sample(100, stats);
  EXPECT_TRUE(history.Past().empty()) << "one sample is no span";
  stats = StatsWith(100, 300, 50, 20);
  stats.miss_tokens[1] = 100;
  history.Sample(110, stats);
  history.Sample(120, stats);
  const std::vector<PastRates> past = history.Past();
  ASSERT_EQ(past.size(), 2u);
  EXPECT_EQ(past[0].until, 110);
  EXPECT_EQ(past[0].rates.decode_tokens_per_second, 5);
  EXPECT_DOUBLE_EQ(*past[0].rates.cached_share, 0.75);
  EXPECT_EQ(past[0].rates.miss_tokens[1], 100u);
  EXPECT_EQ(past[1].until, 120);
  EXPECT_FALSE(past[1].rates.cached_share) << "there was no traffic";
  EXPECT_EQ(past[1].rates.miss_tokens[1], 0u);
}

TEST(QuantileOf, IsLinearWithinABucket) {
  constexpr std::array kBounds = {1.0, 2.0, 4.0};
  const auto of = [&](std::array<uint64_t, 4> counts, double share) {
    return QuantileOf(counts, kBounds, share);
  };
  EXPECT_FALSE(of({0, 0, 0, 0}, 0.5));
  EXPECT_DOUBLE_EQ(*of({10, 0, 0, 0}, 0.5), 0.5);
  EXPECT_DOUBLE_EQ(*of({0, 10, 0, 0}, 0.25), 1.25);
  EXPECT_DOUBLE_EQ(*of({1, 0, 3, 0}, 1.0), 4.0);
  EXPECT_DOUBLE_EQ(*of({0, 0, 0, 5}, 0.5), 4.0) << "above the last bound";
}

}  // namespace
}  // namespace prefixd
