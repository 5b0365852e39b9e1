// The sampler once more, as plainly as it can be written: counts taken anew from the whole history, one array
// entry per token of the vocabulary, everything sorted, exponentials by libm in double. For tests.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "base/prng.h"
#include "engine/request.h"

namespace prefixd {

// What a token is drawn from.
struct SamplerCase {
  SamplingParams params;
  std::vector<TokenId> prompt, answer;  // so far
  std::vector<TokenId> banned;
  std::vector<float> logits;

  int position() const { return static_cast<int>(prompt.size() + answer.size()); }
};

inline std::vector<float> ReferenceAdjusted(const SamplerCase& c) {
  std::vector<float> logits = c.logits;
  for (const LogitBias& bias : c.params.logit_bias) logits[static_cast<size_t>(bias.token)] += bias.bias;
  for (size_t i = 0; i < logits.size(); ++i) {
    const TokenId id = static_cast<TokenId>(i);
    const auto generated = std::count(c.answer.begin(), c.answer.end(), id);
    if (generated == 0 && std::count(c.prompt.begin(), c.prompt.end(), id) == 0) continue;
    if (logits[i] > 0) {
      logits[i] /= c.params.repetition_penalty;
    } else {
      logits[i] *= c.params.repetition_penalty;
    }
    if (generated > 0) {
      logits[i] -= c.params.frequency_penalty * static_cast<float>(generated);
      logits[i] -= c.params.presence_penalty;
    }
  }
  for (float& logit : logits) {
    if (std::isnan(logit)) logit = -std::numeric_limits<float>::infinity();
  }
  return logits;
}

// Weight of the token of logit `x` where the largest is `max`; the quotient is in float by definition.
inline double ReferenceWeight(float x, float max, float temperature) {
  const float below = (x - max) / temperature;
  if (!(below >= -87.0f && below <= 0.0f)) return 0;
  return static_cast<float>(std::exp(static_cast<double>(below)));
}

// Token and probability of all that may be drawn, by ascending id.
inline std::vector<std::pair<TokenId, double>> ReferenceDistribution(const SamplerCase& c) {
  const std::vector<float> logits = ReferenceAdjusted(c);
  std::vector<TokenId> order, all;
  for (TokenId id = 0; id < static_cast<TokenId>(logits.size()); ++id) {
    all.push_back(id);
    if (std::count(c.banned.begin(), c.banned.end(), id) == 0) order.push_back(id);
  }
  if (order.empty()) order = all;
  const auto logit = [&](TokenId id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logit(a) > logit(b); });
  const TokenId best = order[0];
  if (c.params.temperature <= 0) return {{best, 1.0}};

  std::vector<std::pair<double, TokenId>> kept;  // likeliest first
  for (const TokenId id : order) {
    const double weight = id == best ? 1.0 : ReferenceWeight(logit(id), logit(best), c.params.temperature);
    if (id == best || (weight > 0 && weight >= static_cast<double>(c.params.min_p)))
      kept.emplace_back(weight, id);
  }
  if (c.params.top_k > 0 && kept.size() > static_cast<size_t>(c.params.top_k))
    kept.resize(static_cast<size_t>(c.params.top_k));
  double total = 0;
  for (const auto& [weight, id] : kept) total += weight;
  std::vector<std::pair<TokenId, double>> result;
  double reached = 0;
  for (const auto& [weight, id] : kept) {
    reached += weight;
    result.emplace_back(id, weight);
    if (c.params.top_p < 1 && reached >= total * static_cast<double>(c.params.top_p)) break;
  }
  for (auto& [id, weight] : result) weight /= reached;
  std::sort(result.begin(), result.end());
  return result;
}

inline TokenId ReferenceToken(const SamplerCase& c) {
  const auto distribution = ReferenceDistribution(c);
  const double target = ToUnitInterval(RandomAt(c.params.seed, static_cast<uint64_t>(c.position())));
  double reached = 0;
  for (const auto& [id, probability] : distribution) {
    reached += probability;
    if (reached > target) return id;
  }
  return distribution.back().first;
}

// Of the logits as they came: natural logs of the softmax in long double.
inline std::vector<double> ReferenceLogprobs(const std::vector<float>& logits) {
  long double largest = -std::numeric_limits<long double>::infinity(), sum = 0;
  for (const float logit : logits) largest = std::max<long double>(largest, logit);
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::vector<double> result;
  for (const float logit : logits) result.push_back(static_cast<double>(logit - largest - std::log(sum)));
  return result;
}

}  // namespace prefixd
