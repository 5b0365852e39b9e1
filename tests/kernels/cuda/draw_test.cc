// The kernel of draws against kernels/logit_row.cc: the same tokens, ranks and likeliest tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/prng.h"
#include "kernels/cuda/draw_plan.h"
#include "kernels/cuda/launches.h"
#include "tests/kernels/cuda/cuda_fixture.h"
#include "tests/support/rounds.h"

namespace prefixd {
namespace {

using cuda_test::DeviceArray;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A row with what its spans refer to.
struct RowData {
  std::vector<LogitBias> bias;
  std::vector<TokenCount> counts;
  std::vector<TokenId> banned;
  std::vector<uint32_t> allowed;
};

class CudaDraw : public testing::Test {
 protected:
  // Draws the rows on the device and on the CPU, and compares. `drawn` are the tokens that the step before
  // has drawn on the device.
  void Check(std::vector<LogitRow> rows, const std::vector<float>& logits, int vocab,
             const std::vector<TokenId>& drawn = {}) {
    std::vector<LogitRow> expected = rows;
    std::vector<std::vector<TokenCount>> counts;  // with those tokens
    for (LogitRow& row : expected) {
      auto& all = counts.emplace_back(row.draw.changes.counts.begin(), row.draw.changes.counts.end());
      if (row.uncounted >= 0) Count(drawn.at(static_cast<size_t>(row.uncounted)), &all);
      row.draw.changes.counts = all;
    }
    DrawScratch scratch;
    ASSERT_TRUE(scratch.Reserve(vocab).ok());
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto row = std::span(logits).subspan(i * static_cast<size_t>(vocab), static_cast<size_t>(vocab));
      ASSERT_TRUE(ReadLogits(expected[i], row, scratch).ok());
    }
    Compute(rows, logits, vocab, drawn);
    for (size_t i = 0; i < rows.size(); ++i) {
      const GeneratedToken &got = rows[i].result, &want = expected[i].result;
      const DrawParams& p = rows[i].draw.params;
      ASSERT_EQ(got.token, want.token)
          << "row " << i << ", vocabulary " << vocab << ", temperature " << p.temperature << ", top_p "
          << p.top_p << ", top_k " << p.top_k << ", min_p " << p.min_p;
      ASSERT_EQ(got.rank, want.rank);
      ASSERT_EQ(got.top.size(), want.top.size());
      ExpectClose(got.logprob, want.logprob);
      for (size_t t = 0; t < got.top.size(); ++t) {
        ASSERT_EQ(got.top[t].token, want.top[t].token) << i << " " << t;
        ExpectClose(got.top[t].logprob, want.top[t].logprob);
      }
    }
  }

  // Their sums are in another order.
  static void ExpectClose(float got, float want) {
    if (std::isinf(want)) {
      EXPECT_EQ(got, want);
    } else {
      EXPECT_NEAR(got, want, 1e-6f * std::max(1.0f, std::abs(want)));
    }
  }

 private:
  static void Count(TokenId token, std::vector<TokenCount>* counts) {
    const auto at = std::ranges::find(*counts, token, &TokenCount::token);
    if (at == counts->end()) {
      counts->push_back({token, 1});
    } else {
      ++at->generated;
    }
  }
  void Compute(std::vector<LogitRow>& rows, const std::vector<float>& logits, int vocab,
               const std::vector<TokenId>& drawn) {
    cuda::DrawPlan plan;
    ASSERT_TRUE(PlanDraws(rows, vocab, &plan).ok());
    cuda::CudaRuntime* const device = device_.get();
    const DeviceArray<cuda::DrawSpec> specs(device, plan.specs);
    const DeviceArray<float> of_logits(device, logits), changed(device, logits.size());
    const DeviceArray<LogitBias> bias(device, plan.bias);
    const DeviceArray<TokenCount> counts(device, plan.counts);
    const DeviceArray<int32_t> banned(device, plan.banned);
    const DeviceArray<uint32_t> allowed(device, plan.allowed);
    const DeviceArray<cuda::DrawResult> results(device, rows.size());
    const auto top = static_cast<size_t>(plan.top);
    const DeviceArray<int32_t> top_tokens(device, top);
    const DeviceArray<float> top_logits(device, top);
    std::vector<cuda::DrawResult> before;
    for (const TokenId token : drawn) before.push_back({.token = token});
    const DeviceArray<cuda::DrawResult> of_before(device, before);
    const cuda::DrawParamsTable params{specs.data(),
                                       of_logits.data(),
                                       changed.data(),
                                       bias.data(),
                                       counts.data(),
                                       banned.data(),
                                       allowed.data(),
                                       results.data(),
                                       top_tokens.data(),
                                       top_logits.data(),
                                       static_cast<int>(rows.size()),
                                       vocab,
                                       of_before.data()};
    ASSERT_TRUE(device->Launch(cuda::Stream::kCompute, cuda::LaunchOf(params)).ok());
    cuda_test::Wait(*device);
    ASSERT_TRUE(TakeDraws(plan, results.Get(), top_tokens.Get(), top_logits.Get(), rows).ok());
  }

  std::unique_ptr<cuda::CudaRuntime> device_ = cuda_test::NewDevice();
};

float Logit(Prng& prng, int kind) {
  const float value = static_cast<float>(prng.Below(2'000'001)) / 1e5f - 10.0f;
  if (kind == 1) return std::round(value);  // many equal ones
  if (kind == 2) return value * 1e-4f;      // flat
  if (kind == 3 && prng.Chance(0.2)) return std::nanf("");
  if (kind == 4 && prng.Chance(0.3)) return -kInfinity;
  if (kind == 5 && prng.Chance(0.1)) return kInfinity;
  if (kind == 6) return prng.Chance(0.5) ? 0.0f : -0.0f;
  return value;
}

DrawParams RandomParams(Prng& prng, int vocab) {
  DrawParams params;
  constexpr float kTemperatures[] = {0.0f, 0.3f, 1.0f, 1.5f, 100.0f};
  params.temperature = kTemperatures[prng.Below(5)];
  if (prng.Chance(0.5)) params.top_p = static_cast<float>(prng.Below(1001)) / 1000.0f;
  if (prng.Chance(0.5)) params.top_k = static_cast<int>(prng.Between(1, static_cast<uint64_t>(vocab) + 2));
  if (prng.Chance(0.3)) params.min_p = static_cast<float>(prng.Below(1001)) / 1000.0f;
  params.seed = prng.Next();
  params.position = static_cast<uint32_t>(prng.Below(10'000));
  return params;
}

void FillData(Prng& prng, int vocab, RowData* data) {
  const auto token = [&] { return static_cast<TokenId>(prng.Below(static_cast<uint64_t>(vocab))); };
  const TokenId first = token();
  if (prng.Chance(0.3)) data->bias.push_back({first, static_cast<float>(prng.Below(41)) - 20.0f});
  for (TokenId id = 0; id < vocab && data->counts.size() < 40; ++id)
    if (prng.Chance(0.2)) data->counts.push_back({id, static_cast<int>(prng.Below(4))});
  for (uint64_t i = prng.Below(5); i > 0; --i) data->banned.push_back(prng.Chance(0.2) ? vocab + 7 : token());
  data->allowed.assign(static_cast<size_t>(vocab + 31) / 32, 0);
  const double share = prng.Chance(0.5) ? 0.02 : 0.7;
  const auto allow = [&](TokenId id) { data->allowed[static_cast<size_t>(id) / 32] |= 1u << (id % 32); };
  for (TokenId id = 0; id < vocab; ++id)
    if (prng.Chance(share)) allow(id);
  allow(token());
}

TEST_F(CudaDraw, TokensAreThoseOfTheCpu) {
  Prng prng(1);
  for (const int vocab : {1, 2, 31, 255, 257, 1000, 5000}) {
    for (int round = 0; round < testing_support::Rounds(12); ++round) {
      constexpr size_t kRows = 8;
      std::vector<RowData> data(kRows);
      std::vector<LogitRow> rows(kRows);
      std::vector<float> logits;
      for (size_t i = 0; i < kRows; ++i) {
        const int kind = static_cast<int>(prng.Below(7));
        for (int id = 0; id < vocab; ++id) logits.push_back(Logit(prng, kind));
        FillData(prng, vocab, &data[i]);
        rows[i].row = static_cast<int>(i);
        rows[i].draw.params = RandomParams(prng, vocab);
        if (prng.Chance(0.5)) {
          rows[i].draw.changes = {.bias = data[i].bias, .counts = data[i].counts};
          if (prng.Chance(0.7)) rows[i].draw.changes.repetition_penalty = 1.3f;
          if (prng.Chance(0.5)) rows[i].draw.changes.frequency_penalty = 0.4f;
          if (prng.Chance(0.5)) rows[i].draw.changes.presence_penalty = -0.6f;
        }
        if (prng.Chance(0.5)) rows[i].draw.banned = data[i].banned;
        if (prng.Chance(0.4)) rows[i].draw.allowed = data[i].allowed;
        if (prng.Chance(0.2)) rows[i].given = static_cast<TokenId>(prng.Below(static_cast<uint64_t>(vocab)));
        if (prng.Chance(0.6)) rows[i].logprobs = static_cast<int>(prng.Below(8));
      }
      Check(rows, logits, vocab);
      if (HasFatalFailure()) return;
    }
  }
}

// The lists are longer than a block. Some have the token that the step before has drawn, in the answer or in
// the prompt alone; others lack it, or are empty. It is the likeliest token, but for its penalties.
TEST_F(CudaDraw, TheTokenOfTheStepBeforeCounts) {
  constexpr int kVocab = 600;
  constexpr size_t kRows = 12;
  const std::vector<TokenId> drawn = {17, 599, 0, 300};
  Prng prng(6);
  std::vector<RowData> data(kRows);
  std::vector<LogitRow> rows(kRows);
  std::vector<float> logits;
  for (size_t i = 0; i < kRows; ++i) {
    const auto slot = static_cast<int>((i + 1) % drawn.size());
    const TokenId token = drawn[static_cast<size_t>(slot)];
    for (int id = 0; id < kVocab; ++id) logits.push_back(id == token ? 11.0f : Logit(prng, 0));
    for (int id = 0; id < kVocab && i % 4 != 3; ++id) {
      if (id == token ? i % 3 != 0 : prng.Chance(0.7))
        data[i].counts.push_back({id, static_cast<int>(prng.Below(3))});
    }
    rows[i].draw.params = {.temperature = i % 2 == 0 ? 0.0f : 1.0f, .seed = prng.Next()};
    rows[i].draw.changes = {.repetition_penalty = i % 2 == 0 ? 1.1f : 1.0f,
                            .frequency_penalty = 0.9f,
                            .presence_penalty = 0.5f,
                            .counts = data[i].counts};
    if (i != 5) rows[i].uncounted = slot;
    rows[i].logprobs = 2;
  }
  Check(rows, logits, kVocab, drawn);
}

TEST_F(CudaDraw, RowsWithoutAChoice) {
  const std::vector<TokenId> all = {0, 1, 2, 3}, few = {0, 2};
  const std::vector<uint32_t> first_and_third = {5}, last = {8};
  for (const float value : {1.0f, -kInfinity, std::nanf(""), kInfinity}) {
    const std::vector<float> logits(20, value);
    std::vector<LogitRow> rows(5);
    rows[0].draw.banned = all;
    rows[0].logprobs = 6;
    rows[1].draw.banned = few;
    rows[1].draw.params.temperature = 0;
    rows[2].draw.banned = few;
    rows[2].draw.allowed = first_and_third;  // no token is left
    rows[3].draw.banned = few;
    rows[3].draw.allowed = last;
    rows[4].draw.allowed = last;
    Check(rows, logits, 4);
  }
}

// A thread has several tokens without a weight, of which some are banned.
TEST_F(CudaDraw, TheFirstAllowedOfTokensWithoutAWeight) {
  constexpr int kVocab = 700;
  const std::vector<float> logits(3 * kVocab, -kInfinity);
  const std::vector<std::vector<TokenId>> allowed = {{300, 556}, {44, 300}, {}};
  std::vector<std::vector<TokenId>> banned(allowed.size());
  std::vector<LogitRow> rows(allowed.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (TokenId id = 0; id < kVocab; ++id)
      if (std::ranges::count(allowed[i], id) == 0) banned[i].push_back(id);
    rows[i].draw.banned = banned[i];
  }
  Check(rows, logits, kVocab);
}

// More changes and bans than a block has threads, as a mask has, and more log probabilities than usual.
TEST_F(CudaDraw, LongListsOfChangesAndBans) {
  constexpr int kVocab = 3000;
  constexpr size_t kRows = 4;
  Prng prng(3);
  std::vector<RowData> data(kRows);
  std::vector<LogitRow> rows(kRows);
  std::vector<float> logits;
  for (size_t i = 0; i < kRows; ++i) {
    for (int id = 0; id < kVocab; ++id) {
      logits.push_back(Logit(prng, static_cast<int>(i)));
      if (prng.Chance(0.3)) data[i].bias.push_back({id, static_cast<float>(prng.Below(41)) - 20.0f});
      if (prng.Chance(0.4)) data[i].counts.push_back({id, static_cast<int>(prng.Below(4))});
      if (prng.Chance(0.8)) data[i].banned.push_back(id);
    }
    // The likeliest token is the last one of each list.
    const TokenId last = kVocab - 1 - static_cast<TokenId>(i);
    std::erase_if(data[i].bias, [&](const LogitBias& bias) { return bias.token == last; });
    data[i].bias.push_back({last, 60.0f});
    if (i % 2 == 1) {
      std::erase(data[i].banned, last);
      data[i].banned.push_back(last);
    }
    rows[i].draw.params = {.temperature = i < 2 ? 0.0f : 1.0f, .top_p = 0.95f, .seed = prng.Next()};
    rows[i].draw.changes = {.bias = data[i].bias,
                            .repetition_penalty = 1.2f,
                            .frequency_penalty = 0.5f,
                            .presence_penalty = 0.3f,
                            .counts = data[i].counts};
    rows[i].draw.banned = data[i].banned;
    rows[i].logprobs = 25;
  }
  Check(rows, logits, kVocab);
}

TEST_F(CudaDraw, ParametersAtTheirEnds) {
  constexpr int kVocab = 300;
  Prng prng(4);
  std::vector<LogitRow> rows;
  std::vector<float> logits;
  const auto add = [&](const DrawParams& params) {
    rows.emplace_back().draw.params = params;
    rows.back().draw.params.seed = prng.Next();
    rows.back().draw.params.position = 0xFFFFFFFF - static_cast<uint32_t>(rows.size());
    for (int id = 0; id < kVocab; ++id) logits.push_back(Logit(prng, id % 2));
  };
  for (const float temperature : {1e-40f, 1e-30f, 1e-3f, 1e30f, kInfinity}) add({.temperature = temperature});
  for (const float top_p : {0.0f, 1e-12f, 0.5f, 0.99999994f, 1.0f, 1.5f, std::nanf("")}) {
    add({.top_p = top_p});
    add({.temperature = 50.0f, .top_p = top_p, .min_p = 0.9f});
  }
  for (const int top_k : {-1, 0, 1, 2, kVocab - 1, kVocab, 1 << 30}) {
    add({.top_k = top_k});
    add({.temperature = 50.0f, .top_p = 0.7f, .top_k = top_k});
  }
  for (const float min_p : {0.0f, 1e-40f, 1e-3f, 0.5f, 1.0f}) {
    add({.min_p = min_p});
    add({.temperature = 50.0f, .top_p = 0.9f, .top_k = 20, .min_p = min_p});
  }
  Check(rows, logits, kVocab);
}

TEST_F(CudaDraw, ALargeVocabulary) {
  Prng prng(2);
  constexpr int kVocab = 40'000;
  std::vector<float> logits;
  for (int i = 0; i < 3 * kVocab; ++i) logits.push_back(Logit(prng, i / kVocab));
  std::vector<LogitRow> rows(3);
  for (LogitRow& row : rows) row.draw.params = {.top_p = 0.9f, .seed = prng.Next()};
  rows[1].draw.params.top_k = 50;
  rows[2].logprobs = 3;
  Check(rows, logits, kVocab);
}

}  // namespace
}  // namespace prefixd
