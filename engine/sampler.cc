#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/prng.h"
#include "engine/logit_adjustment.h"
#include "model/portable_math.h"

namespace prefixd {
namespace {

// e^x for -87 <= x <= 0, relative error below 2e-7; 0 for all others and NaN. Cody-Waite reduction by ln 2
// and a Taylor polynomial of degree 7 on [-ln2/2, ln2/2]. It has no fused operations and no branches, so that
// the compiler can vectorise it and every machine computes the same bits.
inline float Weight(float from) {
  const float bounded = from >= -87.0f ? from : -87.0f;
  const float x = bounded <= 0.0f ? bounded : 0.0f;
  const float scaled = x * 1.44269504088896341f;
  // 1.5 * 2^23: the rounding to an integer happens in this addition
  const float shifted = scaled + 12582912.0f;
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
  return from == x ? result : 0.0f;
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

// Returns for each token whether it is banned, or nothing when none is.
std::vector<bool> BanMask(std::span<const TokenId> banned, size_t vocab) {
  std::vector<bool> mask(banned.empty() ? 0 : vocab, false);
  for (const TokenId id : banned) {
    if (id >= 0 && static_cast<size_t>(id) < vocab) mask[static_cast<size_t>(id)] = true;
  }
  return mask;
}

// Returns the allowed token with the largest logit, or -1 when all are banned.
TokenId Largest(std::span<const float> logits, const std::vector<bool>& banned) {
  const auto allowed = [&](TokenId id) { return banned.empty() || !banned[static_cast<size_t>(id)]; };
  const TokenId vocab = static_cast<TokenId>(logits.size());
  TokenId best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  for (TokenId id = 0; id < vocab; ++id) {
    const float logit = logits[static_cast<size_t>(id)];
    if (logit > largest && allowed(id)) {  // false for NaN, and for an equal logit with a higher id
      largest = logit;
      best = id;
    }
  }
  for (TokenId id = 0; best < 0 && id < vocab; ++id) {  // no logit is above -inf
    if (allowed(id)) best = id;
  }
  return best;
}

// Drops candidates of such low weight that the candidates above them sum to `enough` in any case. Each
// candidate counts as measure(weight). Weights are grouped into classes of an eighth of an octave, so one
// pass is enough and few more candidates than needed remain.
template <typename Measure>
void DropFarBelow(std::vector<TokenId>* candidates, const std::vector<float>& weight, double enough,
                  Measure measure) {
  const auto class_of = [&](TokenId id) {  // weights are in [0, 1]
    return std::bit_cast<uint32_t>(weight[static_cast<size_t>(id)]) >> 20;
  };
  std::array<double, (std::bit_cast<uint32_t>(1.0f) >> 20) + 1> held{};
  for (const TokenId id : *candidates) held[class_of(id)] += measure(weight[static_cast<size_t>(id)]);
  uint32_t lowest = held.size() - 1;
  for (double above = held[lowest]; above < enough && lowest > 0;) above += held[--lowest];
  if (lowest > 0) --lowest;  // rounding may have put a needed candidate one class lower
  std::erase_if(*candidates, [&](TokenId id) { return class_of(id) < lowest; });
}

// Keeps the `count` likeliest candidates, by ascending id. Requires more than `count` candidates.
void KeepTopK(std::vector<TokenId>* candidates, const std::vector<float>& weight, const Likelier& likelier,
              size_t count) {
  DropFarBelow(candidates, weight, static_cast<double>(count), [](float) { return 1.0; });
  std::nth_element(candidates->begin(), candidates->begin() + static_cast<ptrdiff_t>(count - 1),
                   candidates->end(), likelier);
  candidates->resize(count);
  std::sort(candidates->begin(), candidates->end());
}

// Keeps the fewest likeliest candidates whose weights reach `share` of the total; at least one. The
// candidates are sorted by ascending id before and after.
void KeepTopP(std::vector<TokenId>* candidates, const std::vector<float>& weight, const Likelier& likelier,
              float share) {
  double total = 0;
  for (const TokenId id : *candidates) total += weight[static_cast<size_t>(id)];
  const double wanted = total * static_cast<double>(share);
  const double surely = wanted * (1 + 1e-9);  // a margin for the rounding of the sums
  DropFarBelow(candidates, weight, surely, [](float w) { return static_cast<double>(w); });
  std::sort(candidates->begin(), candidates->end(), likelier);
  size_t kept = 0;
  for (double reached = 0; kept < candidates->size();) {
    reached += weight[static_cast<size_t>((*candidates)[kept++])];
    if (reached >= wanted) break;
  }
  candidates->resize(kept);
  std::sort(candidates->begin(), candidates->end());
}

// Returns the weight of each token relative to that of `best`; 0 for tokens that cannot be drawn.
std::vector<float> Weights(std::span<const float> logits, float temperature, TokenId best,
                           const std::vector<bool>& banned) {
  const float max = Likelier{logits}.Value(best);
  std::vector<float> weight(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const float x = (logits[i] - max) / temperature;
    weight[i] = Weight(x);  // 0 for x > 0: only banned tokens are above the best
  }
  for (size_t i = 0; i < banned.size(); ++i) {
    if (banned[i]) weight[i] = 0.0f;
  }
  weight[static_cast<size_t>(best)] = 1.0f;  // also when the logits are infinite
  return weight;
}

// Returns the tokens that may be drawn, by ascending id. It is never empty, whatever the parameters are.
std::vector<TokenId> Filter(const SamplingParams& params, const std::vector<float>& weight,
                            const Likelier& likelier, TokenId best) {
  std::vector<TokenId> kept;
  for (size_t i = 0; i < weight.size(); ++i) {
    const TokenId id = static_cast<TokenId>(i);
    if (id == best || (weight[i] > 0.0f && weight[i] >= params.min_p)) kept.push_back(id);
  }
  if (params.top_k > 0 && static_cast<size_t>(params.top_k) < kept.size()) {
    KeepTopK(&kept, weight, likelier, static_cast<size_t>(params.top_k));
  }
  if (params.top_p < 1.0f) KeepTopP(&kept, weight, likelier, params.top_p);
  return kept;
}

// Draws a token from adjusted logits.
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

// Returns the sum of e^(logit - max) by ascending id. `max` is finite.
double SumOfWeights(float max, std::span<const float> logits) {
  double sum = 0;
  std::array<float, 256> weight;  // separate from the sum, whose fixed order prevents vectorisation
  for (size_t begin = 0; begin < logits.size(); begin += weight.size()) {
    const size_t count = std::min(weight.size(), logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      const float x = logits[begin + i] - max;
      weight[i] = Weight(x);
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
  PREFIXD_CHECK(!logits.empty() && position >= 0) << position;
  if (!ChangesLogits(params)) return Draw(params, position, logits, banned);
  std::vector<float> adjusted(logits.begin(), logits.end());
  AdjustLogits(params, counts, adjusted);
  return Draw(params, position, adjusted, banned);
}

GeneratedToken WithLogprobs(TokenId token, int top, std::span<const float> logits) {
  PREFIXD_CHECK(token >= 0 && static_cast<size_t>(token) < logits.size()) << token << " of " << logits.size();
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
