// The sampler once more, as plainly as it can be written: counts taken anew from the whole history, one array
// entry per token of the vocabulary, everything sorted, every block and every token of the drawn block in the
// races. For tests. The weights and random numbers of single tokens and blocks are those of
// kernels/sampling.h; tests/kernels/sampling_test.cc tests them by themselves.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "kernels/sampling.h"

namespace prefixd {

// What a token is drawn from.
struct SamplerCase {
  SamplingParams params;
  std::vector<TokenId> prompt, answer;  // so far
  std::vector<TokenId> banned;
  std::vector<uint32_t> allowed;  // as SampleRow::allowed
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

struct ReferenceToken {
  TokenId id;
  float weight;
};

// Whether a token may be drawn as far as the mask and the bans go.
inline std::vector<bool> ReferenceAllowed(const SamplerCase& c) {
  std::vector<bool> masked(c.logits.size(), true);
  for (size_t id = 0; id < masked.size() && !c.allowed.empty(); ++id)
    masked[id] = (c.allowed[id / 32] >> (id % 32) & 1) != 0;
  std::vector<bool> allowed = masked;
  for (const TokenId id : c.banned) {
    if (id >= 0 && static_cast<size_t>(id) < allowed.size()) allowed[static_cast<size_t>(id)] = false;
  }
  return std::count(allowed.begin(), allowed.end(), true) == 0 ? masked : allowed;
}

// All tokens that may be drawn, likeliest first.
inline std::vector<ReferenceToken> ReferenceKept(const SamplerCase& c) {
  const std::vector<float> logits = ReferenceAdjusted(c);
  const std::vector<bool> allowed = ReferenceAllowed(c);
  std::vector<TokenId> order;
  for (TokenId id = 0; id < static_cast<TokenId>(logits.size()); ++id) {
    if (allowed[static_cast<size_t>(id)]) order.push_back(id);
  }
  const auto logit = [&](TokenId id) { return logits[static_cast<size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logit(a) > logit(b); });
  std::vector<ReferenceToken> kept = {{order[0], 1.0f}};
  if (c.params.temperature <= 0) return kept;
  for (const TokenId id : order) {
    const float weight = sampling::WeightOf((logit(id) - logit(order[0])) / c.params.temperature);
    if (id != order[0] && weight > 0 && weight >= c.params.min_p) kept.push_back({id, weight});
  }
  if (c.params.top_k > 0 && kept.size() > static_cast<size_t>(c.params.top_k))
    kept.resize(static_cast<size_t>(c.params.top_k));
  if (c.params.top_p < 1) {
    const auto units = [](const ReferenceToken& token) {  // of 2^-40
      return static_cast<uint64_t>(std::floor(static_cast<double>(token.weight) * 0x1.0p+40));
    };
    uint64_t total = 0, reached = 0;
    for (const ReferenceToken& token : kept) total += units(token);
    const double share = static_cast<double>(total) * static_cast<double>(c.params.top_p);
    const uint64_t wanted = static_cast<uint64_t>(std::ceil(std::max(1.0, share)));
    size_t count = 0;
    while (reached < wanted) reached += units(kept[count++]);
    kept.resize(count);
  }
  return kept;
}

// Token and probability of all that may be drawn, by ascending id.
inline std::vector<std::pair<TokenId, double>> ReferenceDistribution(const SamplerCase& c) {
  std::vector<std::pair<TokenId, double>> result;
  double total = 0;
  for (const ReferenceToken& token : ReferenceKept(c)) {
    result.emplace_back(token.id, token.weight);
    total += static_cast<double>(token.weight);
  }
  for (auto& [id, probability] : result) probability /= total;
  std::sort(result.begin(), result.end());
  return result;
}

inline TokenId ReferenceDraw(const SamplerCase& c) {
  using sampling::Uniform;
  const std::vector<ReferenceToken> kept = ReferenceKept(c);
  const auto block_of = [](TokenId id) { return static_cast<uint32_t>(id) / kSampleBlock; };
  const auto time = [&](Uniform of, uint32_t index, double weight) {
    const auto position = static_cast<uint32_t>(c.position());
    return sampling::ExponentialOf(sampling::UniformAt(c.params.seed, position, index, of)) / weight;
  };
  std::map<uint32_t, double> masses;  // in units of 2^-40: integers, whose sums are exact
  for (const ReferenceToken& token : kept)
    masses[block_of(token.id)] += std::floor(static_cast<double>(token.weight) * 0x1.0p+40);
  // The time of the winner, and which it is.
  std::pair<double, uint32_t> block = {std::numeric_limits<double>::infinity(), 0}, drawn = block;
  for (const auto& [index, mass] : masses) {
    if (mass > 0) block = std::min(block, {time(Uniform::kOfBlock, index, mass * 0x1.0p-40), index});
  }
  for (const ReferenceToken& token : kept) {
    const auto id = static_cast<uint32_t>(token.id);
    if (block_of(token.id) == block.second)
      drawn = std::min(drawn, {time(Uniform::kOfToken, id, static_cast<double>(token.weight)), id});
  }
  return static_cast<TokenId>(drawn.second);
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
