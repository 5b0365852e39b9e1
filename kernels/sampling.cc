#include "kernels/sampling.h"

#include <algorithm>
#include <limits>

#include "base/check.h"
#include "kernels/logit_adjustment.h"

namespace prefixd {
namespace {

using namespace sampling;

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int kLanes = 16;
constexpr int kBlock = 256;  // tokens; a multiple of kLanes and 4
constexpr int kBucketBits = 11;
// Above this share of the vocabulary it is cheaper to draw the numbers of all tokens.
constexpr size_t kSparseShare = 16;

// Returns the largest logit; -inf if all are NaN or -inf. Lanes, so that the compiler can vectorise it.
float Largest(std::span<const float> logits) {
  std::array<float, kLanes> lanes;
  lanes.fill(kLowest);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
  }
  float largest = kLowest;
  for (; i < logits.size(); ++i) largest = logits[i] > largest ? logits[i] : largest;
  for (const float lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

// Returns the first id that has the value `largest`, which is not -inf.
TokenId FirstEqual(std::span<const float> logits, float largest) {
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    uint32_t equal = 0;
    for (size_t j = 0; j < kLanes; ++j) equal |= logits[i + j] == largest ? 1u : 0u;
    if (equal != 0) break;
  }
  while (logits[i] != largest) ++i;
  return static_cast<TokenId>(i);
}

// Returns the lowest id that is not banned, or -1 if all are.
TokenId FirstAllowed(size_t vocab, std::span<const TokenId> banned) {
  std::vector<bool> mask(vocab, false);
  for (const TokenId id : banned) {
    if (id >= 0 && static_cast<size_t>(id) < vocab) mask[static_cast<size_t>(id)] = true;
  }
  const auto allowed = std::find(mask.begin(), mask.end(), false);
  return allowed == mask.end() ? -1 : static_cast<TokenId>(allowed - mask.begin());
}

// Unsigned integers in the order of the logits. `logit` is not NaN.
uint32_t KeyOf(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes +0
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// Writes word 0 of the tokens first .. first + kBlock - 1, halved so that it converts as a signed integer.
// `first` is a multiple of 4.
void HalvedWords(uint64_t seed, uint32_t position, uint32_t first, int32_t* words) {
  for (uint32_t j = 0; j < kBlock / 4; ++j) {
    uint32_t c0 = first / 4 + j, c1 = position, c2 = 0, c3 = 0;
    uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < kPhiloxRounds; ++round) {
      const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * c0;
      const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * c2;
      c0 = static_cast<uint32_t>(product1 >> 32) ^ c1 ^ key0;
      c1 = static_cast<uint32_t>(product1);
      c2 = static_cast<uint32_t>(product0 >> 32) ^ c3 ^ key1;
      c3 = static_cast<uint32_t>(product0);
      key0 += kPhiloxWeyl0;
      key1 += kPhiloxWeyl1;
    }
    words[4 * j] = static_cast<int32_t>(c0 >> 1);
    words[4 * j + 1] = static_cast<int32_t>(c1 >> 1);
    words[4 * j + 2] = static_cast<int32_t>(c2 >> 1);
    words[4 * j + 3] = static_cast<int32_t>(c3 >> 1);
  }
}

// The smallest ExponentialOf(u) / w seen so far, and its token.
class Race {
 public:
  explicit Race(const DrawParams& params) : params_(params) {}

  // A token of weight w whose u is above w * bound() cannot win, because ExponentialOf(u) >= u. The margin
  // covers the rounding of that test in f32.
  float bound() const { return static_cast<float>(time_ * (1 + 1e-5)); }

  void Enter(TokenId id, float weight) {
    const double time =
        ExponentialOf(UniformAt(params_.seed, params_.position, id)) / static_cast<double>(weight);
    if (time < time_ || (time == time_ && id < winner_)) {
      time_ = time;
      winner_ = id;
    }
  }
  TokenId winner() const { return winner_; }

 private:
  const DrawParams& params_;
  double time_ = std::numeric_limits<double>::infinity();
  TokenId winner_ = -1;
};

}  // namespace

// One draw; the steps are those of the header.
class TokenDraw {
 public:
  TokenDraw(const DrawParams& params, std::span<const float> logits, DrawScratch& scratch)
      : params_(params), logits_(logits), weights_(scratch.weights), scratch_(scratch) {}

  TokenId Run(std::span<const TokenId> banned) {
    if (!banned.empty()) Ban(banned);
    float largest = Largest(logits_);
    if (largest == kLowest) {
      if (const TokenId allowed = FirstAllowed(logits_.size(), banned); allowed >= 0) return allowed;
      logits_ = unbanned_;
      largest = Largest(logits_);
      if (largest == kLowest) return 0;
    }
    best_ = FirstEqual(logits_, largest);
    if (params_.temperature <= 0.0f || params_.top_k == 1) return best_;
    SetWeights(largest);
    const bool filters = params_.top_k > 0 || params_.top_p < 1.0f || params_.min_p != 0.0f;
    if (!filters) return RaceOfAll();
    KeepByWeight();
    if (params_.top_k > 0 && static_cast<size_t>(params_.top_k) < scratch_.kept.size()) {
      KeepLikeliest(static_cast<uint64_t>(params_.top_k), [](const Candidate&) { return uint64_t{1}; });
    }
    if (params_.top_p < 1.0f) {
      const auto fixed = [](const Candidate& c) { return FixedPoint(c.weight); };
      uint64_t total = 0;
      for (const Candidate& candidate : scratch_.kept) total += fixed(candidate);
      KeepLikeliest(SumForTopP(params_.top_p, total), fixed);
    }
    if (scratch_.kept.size() < logits_.size() / kSparseShare) return RaceOfKept();
    std::fill(weights_.begin(), weights_.end(), 0.0f);
    for (const Candidate& candidate : scratch_.kept)
      weights_[static_cast<size_t>(candidate.id)] = candidate.weight;
    return RaceOfAll();
  }

 private:
  using Candidate = DrawScratch::Candidate;

  void Ban(std::span<const TokenId> banned) {
    unbanned_ = logits_;
    scratch_.allowed.assign(logits_.begin(), logits_.end());
    for (const TokenId id : banned) {
      if (id >= 0 && static_cast<size_t>(id) < logits_.size())
        scratch_.allowed[static_cast<size_t>(id)] = kLowest;
    }
    logits_ = scratch_.allowed;
  }

  void SetWeights(float largest) {
    const size_t padded = (logits_.size() + kBlock - 1) / kBlock * kBlock;
    weights_.resize(padded);
    float* const weights = weights_.data();
    const float temperature = params_.temperature;
    for (size_t i = 0; i < logits_.size(); ++i) weights[i] = WeightOf((logits_[i] - largest) / temperature);
    std::fill(weights_.begin() + static_cast<ptrdiff_t>(logits_.size()), weights_.end(), 0.0f);
    weights[static_cast<size_t>(best_)] = 1.0f;  // also when the logits are infinite
  }

  void KeepByWeight() {
    std::vector<Candidate>& kept = scratch_.kept;
    kept.resize(logits_.size());
    size_t count = 0;
    for (size_t i = 0; i < logits_.size(); ++i) {
      const float weight = weights_[i];
      kept[count] = {KeyOf(logits_[i]), static_cast<TokenId>(i), weight};
      const bool keeps = (weight > 0.0f && weight >= params_.min_p) || static_cast<TokenId>(i) == best_;
      count += keeps ? 1 : 0;
    }
    kept.resize(count);
  }

  // Keeps the fewest likeliest candidates whose measures sum to `wanted`, by a radix select on the keys: in
  // each round the tokens that share a bucket with the last one kept remain. Requires 0 < wanted <= the sum
  // of all measures.
  template <typename Measure>
  void KeepLikeliest(uint64_t wanted, Measure measure) {
    std::vector<Candidate>& kept = scratch_.kept;
    std::vector<Candidate>& equals = scratch_.equals;
    equals.resize(kept.size());
    const Candidate* from = kept.data();
    size_t count = kept.size();
    while (true) {
      uint32_t low = from[0].key, high = low;
      for (size_t i = 1; i < count; ++i) {
        low = std::min(low, from[i].key);
        high = std::max(high, from[i].key);
      }
      if (low == high) break;
      const int shift = std::max(0, static_cast<int>(std::bit_width(high - low)) - kBucketBits);
      std::array<uint64_t, size_t{1} << kBucketBits> sums{};
      for (size_t i = 0; i < count; ++i) sums[(from[i].key - low) >> shift] += measure(from[i]);
      uint32_t bucket = (high - low) >> shift;
      while (sums[bucket] < wanted) wanted -= sums[bucket--];
      size_t remaining = 0;
      for (size_t i = 0; i < count; ++i) {
        equals[remaining] = from[i];
        remaining += (from[i].key - low) >> shift == bucket ? 1 : 0;
      }
      from = equals.data();
      count = remaining;
    }
    size_t last = 0;  // the candidates are in the order of their ids
    for (uint64_t sum = measure(from[0]); sum < wanted; sum += measure(from[last])) ++last;
    const Candidate cut = from[last];
    std::erase_if(kept,
                  [&](const Candidate& c) { return c.key < cut.key || (c.key == cut.key && c.id > cut.id); });
  }

  TokenId RaceOfKept() const {
    Race race(params_);
    race.Enter(best_, 1.0f);
    for (const Candidate& candidate : scratch_.kept) {
      const float word =
          static_cast<float>(WordAt(params_.seed, params_.position, candidate.id, 0) >> 1) * 0x1.0p-31f;
      if (word <= candidate.weight * race.bound()) race.Enter(candidate.id, candidate.weight);
    }
    return race.winner();
  }

  TokenId RaceOfAll() const {
    Race race(params_);
    race.Enter(best_, 1.0f);
    std::array<int32_t, kBlock> words;
    for (size_t first = 0; first < weights_.size(); first += kBlock) {
      HalvedWords(params_.seed, params_.position, static_cast<uint32_t>(first), words.data());
      const float* const weights = weights_.data() + first;
      const float bound = race.bound();
      uint32_t any = 0;
      for (size_t j = 0; j < kBlock; ++j)
        any |= static_cast<float>(words[j]) * 0x1.0p-31f <= weights[j] * bound ? 1u : 0u;
      for (size_t j = 0; any != 0 && j < kBlock; ++j) {
        const float word = static_cast<float>(words[j]) * 0x1.0p-31f;
        if (weights[j] > 0.0f && word <= weights[j] * race.bound())
          race.Enter(static_cast<TokenId>(first + j), weights[j]);
      }
    }
    return race.winner();
  }

  const DrawParams& params_;
  std::span<const float> logits_;
  std::span<const float> unbanned_;
  std::vector<float>& weights_;
  DrawScratch& scratch_;
  TokenId best_ = -1;
};

void DrawRow(SampleRow& row, int vocab, DrawScratch& scratch) {
  PREFIXD_CHECK(row.logits != nullptr && vocab > 0) << vocab;
  std::span<const float> logits(row.logits, static_cast<size_t>(vocab));
  if (ChangesLogits(row.changes)) {
    scratch.adjusted.assign(logits.begin(), logits.end());
    AdjustLogits(row.changes, scratch.adjusted);
    logits = scratch.adjusted;
  }
  row.token = DrawToken(row.params, logits, row.banned, scratch);
}

TokenId DrawToken(const DrawParams& params, std::span<const float> logits, std::span<const TokenId> banned,
                  DrawScratch& scratch) {
  PREFIXD_CHECK(!logits.empty());
  return TokenDraw(params, logits, scratch).Run(banned);
}

}  // namespace prefixd
