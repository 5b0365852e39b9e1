#include "kernels/logit_row.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <string>

#include "base/check.h"
#include "kernels/portable_math.h"

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

// Returns the `count` likeliest tokens, likeliest first. Its memory is O(count).
std::vector<TokenId> Likeliest(const Likelier& likelier, size_t count) {
  std::vector<TokenId> kept(count);
  std::vector<TokenId>::iterator full = kept.begin();
  // A heap whose front is the least likely token kept.
  for (size_t i = 0; i < likelier.logits.size(); ++i) {
    const TokenId id = static_cast<TokenId>(i);
    if (full != kept.end()) {
      *full++ = id;
      std::push_heap(kept.begin(), full, likelier);
    } else if (likelier(id, kept.front())) {
      std::pop_heap(kept.begin(), kept.end(), likelier);
      kept.back() = id;
      std::push_heap(kept.begin(), kept.end(), likelier);
    }
  }
  std::sort_heap(kept.begin(), kept.end(), likelier);
  return kept;
}

}  // namespace

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
    const size_t count = std::min(logits.size(), static_cast<size_t>(top));
    result.top.reserve(count);
    for (const TokenId id : Likeliest(likelier, count)) result.top.push_back({id, logprob(id)});
  }
  return result;
}

Status ReadLogits(LogitRow& row, std::span<const float> logits, DrawScratch& scratch) {
  PREFIXD_CHECK(!logits.empty());
  TokenId token = row.given;
  if (token < 0) {
    row.draw.logits = logits.data();
    DrawRow(row.draw, static_cast<int>(logits.size()), scratch);
    token = row.draw.token;
  }
  try {
    row.result = row.logprobs < 0 ? GeneratedToken{token, 0, {}} : WithLogprobs(token, row.logprobs, logits);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for " + std::to_string(row.logprobs) +
                             " log probabilities of a token");
  }
  return Status::Ok();
}

}  // namespace prefixd
