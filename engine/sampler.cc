#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "kernels/sampling.h"
#include "model/portable_math.h"

namespace prefixd {
namespace {

// Larger logit first, then lower id. NaN sorts last.
struct Likelier {
  std::span<const float> logits;
  bool operator()(TokenId a, TokenId b) const {
    const float la = Value(a), lb = Value(b);
    return la != lb ? la > lb : a < b;
  }
  float Value(TokenId id) const {
    const float x = logits[static_cast<size_t>(id)];
    return std::isnan(x) ? -std::numeric_limits<float>::infinity() : x;
  }
};

float Largest(const Likelier& likelier) {
  float largest = -std::numeric_limits<float>::infinity();
  for (const float logit : likelier.logits) largest = logit > largest ? logit : largest;  // false for NaN
  return largest;
}

// Returns the sum of e^(logit - max) by ascending id. `max` is finite.
double SumOfWeights(float max, std::span<const float> logits) {
  double sum = 0;
  std::array<float, 256> weight;  // separate from the sum, whose fixed order prevents vectorisation
  for (size_t begin = 0; begin < logits.size(); begin += weight.size()) {
    const size_t count = std::min(weight.size(), logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const float x = logits[begin + i] - max;
      weight[i] = sampling::WeightOf(x);
    }
    for (size_t i = 0; i < count; ++i) sum += weight[i];
  }
  return sum;
}

double CountOf(float value, const Likelier& likelier) {
  double count = 0;
  for (size_t i = 0; i < likelier.logits.size(); ++i)
    count += likelier.Value(static_cast<TokenId>(i)) == value ? 1 : 0;
  return count;
}

}  // namespace

SampleRow SampleRowOf(const SamplingParams& params, const TokenCounts& counts, int position,
                      const float* logits, std::span<const TokenId> banned) {
  PREFIXD_CHECK(position >= 0) << position;
  return {.logits = logits,
          .params = {.temperature = params.temperature,
                     .top_p = params.top_p,
                     .top_k = params.top_k,
                     .min_p = params.min_p,
                     .seed = params.seed,
                     .position = static_cast<uint32_t>(position)},
          .changes = {.bias = params.logit_bias,
                      .repetition_penalty = params.repetition_penalty,
                      .frequency_penalty = params.frequency_penalty,
                      .presence_penalty = params.presence_penalty,
                      .counts = counts.entries()},
          .banned = banned};
}

GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits) {
  PREFIXD_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size()) << token << " of " << logits.size();
  const Likelier likelier{logits};
  const float max = Largest(likelier);
  const bool infinite = std::isinf(max);
  const double sum = infinite ? CountOf(max, likelier) : SumOfWeights(max, logits);
  const double log_sum = portable::Log(sum);
  const auto logprob = [&](TokenId id) {
    const float value = likelier.Value(id);
    if (infinite && value != max) return -std::numeric_limits<float>::infinity();
    const double below = infinite ? 0.0 : static_cast<double>(value) - static_cast<double>(max);
    return static_cast<float>(below - log_sum);
  };
  GeneratedToken result{token, logprob(token), {}, 1};
  for (size_t i = 0; i < logits.size(); ++i) result.rank += likelier(static_cast<TokenId>(i), token) ? 1 : 0;
  if (top > 0) {
    std::vector<TokenId> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const size_t count = std::min(order.size(), static_cast<size_t>(top));
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(), likelier);
    for (size_t i = 0; i < count; ++i) result.top.push_back({order[i], logprob(order[i])});
  }
  return result;
}

}  // namespace prefixd
