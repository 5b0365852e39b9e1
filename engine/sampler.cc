#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/prng.h"
#include "engine/logit_adjustment.h"
#include "engine/model/portable_math.h"

namespace prefixd {
namespace {

// e^x for x <= 0, relative error below 2e-7; 0 below -87. Cody-Waite reduction by ln 2 and a Taylor
// polynomial of degree 7 on [-ln2/2, ln2/2]. Without fused operations: the compiler may vectorise it, and no
// machine computes it differently.
inline float ExpNonPositive(float from) {
  const float x = from < -87.0f ? -87.0f : from;
  const float scaled = x * 1.44269504088896341f;
  const float shifted =
      scaled + 12582912.0f;  // 1.5 * 2^23: the rounding to an integer happens in this addition
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = static_cast<int32_t>(n) + 127;
  const float result = p * std::bit_cast<float>(exponent << 23);
  return from < -87.0f ? 0.0f : result;
}

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

// By token: whether it is banned; empty when none is.
std::vector<bool> BanMask(std::span<const TokenId> banned, size_t vocab) {
  std::vector<bool> mask(banned.empty() ? 0 : vocab, false);
  for (const TokenId id : banned) {
    if (id >= 0 && static_cast<size_t>(id) < vocab) mask[static_cast<size_t>(id)] = true;
  }
  return mask;
}

// -1 when all are banned.
TokenId Largest(std::span<const float> logits, const std::vector<bool>& banned) {
  const auto allowed = [&](TokenId id) { return banned.empty() || !banned[static_cast<size_t>(id)]; };
  const TokenId vocab = static_cast<TokenId>(logits.size());
  TokenId best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  for (TokenId id = 0; id < vocab; ++id) {
    const float logit = logits[static_cast<size_t>(id)];
    if (logit > largest && allowed(id)) {  // false for NaN, and for the later of equals
      largest = logit;
      best = id;
    }
  }
  for (TokenId id = 0; best < 0 && id < vocab; ++id) {  // nothing above -inf
    if (allowed(id)) best = id;
  }
  return best;
}

// The smallest set of likeliest candidates whose weights reach `share` of the total; at least one.
// `candidates` by ascending id. Sorts no more than it needs: the likeliest few usually suffice.
void KeepTopP(std::vector<TokenId>* candidates, const std::vector<float>& weight, const Likelier& likelier,
              float share) {
  double total = 0;
  for (const TokenId id : *candidates) total += weight[static_cast<size_t>(id)];
  const double wanted = total * static_cast<double>(share);
  size_t sorted = 0;
  double reached = 0;
  for (size_t goal = 64;; goal *= 8) {
    const size_t end = std::min(goal, candidates->size());
    std::partial_sort(candidates->begin() + static_cast<ptrdiff_t>(sorted),
                      candidates->begin() + static_cast<ptrdiff_t>(end), candidates->end(), likelier);
    for (; sorted < end; ++sorted) {
      reached += weight[static_cast<size_t>((*candidates)[sorted])];
      if (reached >= wanted) {
        candidates->resize(sorted + 1);
        return;
      }
    }
    if (end == candidates->size()) return;
  }
}

// By token, relative to the one of `best`; 0 for those that cannot be drawn.
std::vector<float> Weights(std::span<const float> logits, float temperature, TokenId best,
                           const std::vector<bool>& banned) {
  const float max = Likelier{logits}.Value(best);
  std::vector<float> weight(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float x = (logits[i] - max) / temperature;
    weight[i] = x <= 0.0f ? ExpNonPositive(x) : 0.0f;  // 0 for NaN, and for banned tokens above the best
  }
  for (size_t i = 0; i < banned.size(); ++i) {
    if (banned[i]) weight[i] = 0.0f;
  }
  weight[static_cast<size_t>(best)] = 1.0f;  // also where the logits are infinite
  return weight;
}

// What may be drawn, by ascending id; never empty, whatever the parameters are.
std::vector<TokenId> Filter(const SamplingParams& params, const std::vector<float>& weight,
                            const Likelier& likelier, TokenId best) {
  std::vector<TokenId> kept;
  for (size_t i = 0; i < weight.size(); ++i) {
    const TokenId id = static_cast<TokenId>(i);
    if (id == best || (weight[i] > 0.0f && weight[i] >= params.min_p)) kept.push_back(id);
  }
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < kept.size()) {
    std::nth_element(kept.begin(), kept.begin() + params.top_k, kept.end(), likelier);
    kept.resize(static_cast<size_t>(params.top_k));
    std::sort(kept.begin(), kept.end());
  }
  if (params.top_p < 1.0f) {
    KeepTopP(&kept, weight, likelier, params.top_p);
    std::sort(kept.begin(), kept.end());
  }
  return kept;
}

// From logits that have been adjusted.
TokenId Draw(const SamplingParams& params, int position, std::span<const float> logits,
             std::span<const TokenId> banned_ids) {
  std::vector<bool> banned = BanMask(banned_ids, logits.size());
  TokenId best = Largest(logits, banned);
  if (best < 0) {
    banned.clear();
    best = Largest(logits, banned);
  }
  if (params.temperature <= 0.0f || params.top_k == 1) return best;

  const std::vector<float> weight = Weights(logits, params.temperature, best, banned);
  const std::vector<TokenId> kept = Filter(params, weight, Likelier{logits}, best);
  double total = 0;
  for (const TokenId id : kept) total += weight[static_cast<size_t>(id)];
  const double target = ToUnitInterval(RandomAt(params.seed, static_cast<uint64_t>(position))) * total;
  double reached = 0;
  for (const TokenId id : kept) {
    reached += weight[static_cast<size_t>(id)];
    if (reached > target) return id;
  }
  return kept.back();
}

// Of finite logits and their like, by ascending id.
double SumOfWeights(float max, std::span<const float> logits) {
  double sum = 0;
  std::array<float, 256> weight;  // apart from the sum, whose order keeps it from being vectorised
  for (size_t begin = 0; begin < logits.size(); begin += weight.size()) {
    const size_t count = std::min(weight.size(), logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const float x = logits[begin + i] - max;
      weight[i] = x <= 0.0f ? ExpNonPositive(x) : 0.0f;  // 0 for NaN
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

TokenId SampleToken(const SamplingParams& params, const TokenCounts& counts, int position,
                    std::span<const float> logits, std::span<const TokenId> banned) {
  if (!ChangesLogits(params)) return Draw(params, position, logits, banned);
  std::vector<float> adjusted(logits.begin(), logits.end());
  AdjustLogits(params, counts, adjusted);
  return Draw(params, position, adjusted, banned);
}

GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits) {
  const Likelier likelier{logits};
  const float max = likelier.Value(Largest(logits, {}));
  const bool infinite = std::isinf(max);
  const double sum = infinite ? CountOf(max, likelier) : SumOfWeights(max, logits);
  const double log_sum = portable::Log(sum);
  const auto logprob = [&](TokenId id) {
    const float value = likelier.Value(id);
    if (infinite && value != max) return -std::numeric_limits<float>::infinity();
    const double below = infinite ? 0.0 : static_cast<double>(value) - static_cast<double>(max);
    return static_cast<float>(below - log_sum);
  };
  GeneratedToken result{token, logprob(token), {}};
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
