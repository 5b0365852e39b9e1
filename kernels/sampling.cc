#include "kernels/sampling.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/check.h"
#include "kernels/logit_adjustment.h"

namespace prefixd {
namespace {

using namespace sampling;

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int kBucketBits = 11;
// Above this share of the vocabulary it is cheaper to draw the numbers of all tokens.
constexpr size_t kSparseShare = 16;

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
      : params_(params),
        logits_(logits),
        loops_(*scratch.loops),
        weights_(scratch.weights),
        scratch_(scratch) {}

  TokenId Run(std::span<const TokenId> banned) {
    if (!banned.empty()) Ban(banned);
    FindBest();
    if (largest_ == kLowest) {
      if (const TokenId allowed = FirstAllowed(logits_.size(), banned); allowed >= 0) return allowed;
      logits_ = unbanned_;
      FindBest();
      if (largest_ == kLowest) return 0;
    }
    if (params_.temperature <= 0.0f || params_.top_k == 1) return best_;
    if (params_.top_k > 0 && KeepFewLikeliest()) {
      if (params_.top_p < 1.0f) KeepTopP();
      return RaceOfKept();
    }
    SetWeights();
    const bool by_rank = params_.top_k > 0 && static_cast<size_t>(params_.top_k) < logits_.size();
    if (!by_rank && !(params_.top_p < 1.0f)) return RaceOfAll();
    if (by_rank) {
      KeepByWeight(0.0f);
      KeepTopK();
      if (params_.top_p < 1.0f) KeepTopP();
    } else {
      KeepTopPOfAll();
    }
    return kept_.size() < logits_.size() / kSparseShare ? RaceOfKept() : RaceOfAll();
  }

 private:
  using Candidate = DrawScratch::Candidate;

  // Returns room for a candidate per token. It keeps its size, since clearing it would cost a pass.
  Candidate* RoomForAll() {
    if (scratch_.kept.size() < logits_.size()) scratch_.kept.resize(logits_.size());
    return scratch_.kept.data();
  }

  // Returns whether a candidate is not less likely than the cut.
  bool Passes(const Candidate& c) const { return c.key > cut_.key || (c.key == cut_.key && c.id <= cut_.id); }

  // Types, so that KeepLikeliest inlines them.
  struct One {
    uint64_t operator()(const Candidate&) const { return 1; }
  };
  struct FixedWeight {
    uint64_t operator()(const Candidate& candidate) const { return FixedPoint(candidate.weight); }
  };

  void Ban(std::span<const TokenId> banned) {
    unbanned_ = logits_;
    scratch_.allowed.assign(logits_.begin(), logits_.end());
    for (const TokenId id : banned) {
      if (id >= 0 && static_cast<size_t>(id) < logits_.size())
        scratch_.allowed[static_cast<size_t>(id)] = kLowest;
    }
    logits_ = scratch_.allowed;
  }

  // Sets largest_, and best_ unless no logit is above -inf.
  void FindBest() {
    std::vector<float>& largest = scratch_.largest;
    largest.resize((logits_.size() + kSampleBlock - 1) / kSampleBlock);
    loops_.largest(logits_.data(), logits_.size(), largest.data());
    const auto block = std::max_element(largest.begin(), largest.end());  // the first of equals
    largest_ = *block;
    if (largest_ == kLowest) return;
    size_t id = static_cast<size_t>(block - largest.begin()) * kSampleBlock;
    while (logits_[id] != largest_) ++id;
    best_ = static_cast<TokenId>(id);
  }

  // Sets the weights after min_p; 0 for tokens that are not kept.
  void SetWeights() {
    const size_t padded = (logits_.size() + kSampleBlock - 1) / kSampleBlock * kSampleBlock;
    weights_.resize(padded);
    loops_.set_weights(logits_.data(), logits_.size(), largest_, params_.temperature, weights_.data());
    std::fill(weights_.begin() + static_cast<ptrdiff_t>(logits_.size()), weights_.end(), 0.0f);
    if (params_.min_p != 0.0f) {
      for (float& weight : weights_) weight = weight >= params_.min_p ? weight : 0.0f;
    }
    weights_[static_cast<size_t>(best_)] = 1.0f;  // also when the logits are infinite
  }

  // Steps 4 and 5 for a small top_k, by the largest logits of the blocks: as many tokens as there are blocks
  // whose largest logit is at least `bound` are that likely. So no other token is kept, if these pass min_p.
  // Returns false, with nothing done, where that does not find the tokens, or finds too many.
  bool KeepFewLikeliest() {
    const size_t wanted = static_cast<size_t>(params_.top_k);
    std::vector<float>& sorted = scratch_.sorted;
    if (2 * wanted > scratch_.largest.size()) return false;
    sorted = scratch_.largest;
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(wanted - 1), sorted.end(),
                     std::greater<>());
    const float bound = sorted[wanted - 1];
    Candidate* const room = RoomForAll();
    size_t count = 0;
    for (size_t block = 0; block < scratch_.largest.size(); ++block) {
      if (!(scratch_.largest[block] >= bound)) continue;
      if (count > logits_.size() / kSparseShare) return false;
      const size_t end = std::min((block + 1) * kSampleBlock, logits_.size());
      for (size_t i = block * kSampleBlock; i < end; ++i) {
        if (logits_[i] >= bound) count += Consider(static_cast<TokenId>(i), &room[count]) ? 1 : 0;
      }
    }
    if (count < wanted) return false;
    kept_ = {room, count};
    KeepTopK();
    return true;
  }

  // Writes the token to `to`. Returns whether it passes min_p.
  bool Consider(TokenId id, Candidate* to) const {
    const float logit = logits_[static_cast<size_t>(id)];
    const float weight = id == best_ ? 1.0f : WeightOf((logit - largest_) / params_.temperature);
    *to = {KeyOf(logit), id, weight};
    return id == best_ || (weight > 0.0f && weight >= params_.min_p);
  }

  // Step 6 without top_k. If the sum of the large weights is enough, no other token is kept. The margin
  // covers the rounding of WeightOf, by which a larger logit may have a slightly smaller weight.
  void KeepTopPOfAll() {
    const WeightSums sums = loops_.sum_weights(weights_.data(), weights_.size());
    const uint64_t wanted = SumForTopP(params_.top_p, sums.all);
    KeepByWeight(sums.large >= wanted ? kLargeWeight * (1 - 1e-4f) : 0.0f);
    KeepLikeliest(wanted, FixedWeight());
  }

  // Keeps the tokens with a weight above 0 and of at least `least`.
  void KeepByWeight(float least) {
    Candidate* const room = RoomForAll();
    size_t count = 0;
    for (size_t i = 0; i < logits_.size(); ++i) {
      const float weight = weights_[i];
      room[count] = {KeyOf(logits_[i]), static_cast<TokenId>(i), weight};
      count += weight > 0.0f && weight >= least ? 1 : 0;
    }
    kept_ = {room, count};
  }

  void KeepTopK() {
    const uint64_t wanted = static_cast<uint64_t>(params_.top_k);
    if (wanted < kept_.size()) KeepLikeliest(wanted, One());
  }
  void KeepTopP() {
    const auto end =
        std::remove_if(kept_.begin(), kept_.end(), [&](const Candidate& c) { return !Passes(c); });
    kept_ = {kept_.begin(), end};
    uint64_t total = 0;
    for (const Candidate& candidate : kept_) total += FixedPoint(candidate.weight);
    KeepLikeliest(SumForTopP(params_.top_p, total), FixedWeight());
  }

  // Sets cut_ to the last of the fewest likeliest candidates whose measures sum to `wanted`, by a radix
  // select on the keys: in each round the tokens that share a bucket with the last one kept remain. Requires
  // 0 < wanted <= the sum of all measures.
  template <typename Measure>
  void KeepLikeliest(uint64_t wanted, Measure measure) {
    std::vector<Candidate>& equals = scratch_.equals;
    if (equals.size() < kept_.size()) equals.resize(kept_.size());
    const Candidate* from = kept_.data();
    size_t count = kept_.size();
    while (true) {
      uint32_t low = from[0].key, high = low;
      for (size_t i = 1; i < count; ++i) {
        if (from[i].key > high) {  // a branch: seldom taken
          high = from[i].key;
        } else if (from[i].key < low) {
          low = from[i].key;
        }
      }
      if (low == high) break;
      const int shift = std::max(0, static_cast<int>(std::bit_width(high - low)) - kBucketBits);
      std::array<uint64_t, size_t{1} << kBucketBits> sums{};
      for (size_t i = 0; i < count; ++i) sums[(from[i].key - low) >> shift] += measure(from[i]);
      uint32_t bucket = (high - low) >> shift;
      while (sums[bucket] < wanted) wanted -= sums[bucket--];
      size_t remaining = 0;
      for (size_t i = 0; i < count; ++i) {
        if ((from[i].key - low) >> shift == bucket) equals[remaining++] = from[i];
      }
      from = equals.data();
      count = remaining;
    }
    size_t last = 0;  // the candidates are in the order of their ids
    for (uint64_t sum = measure(from[0]); sum < wanted; sum += measure(from[last])) ++last;
    cut_ = from[last];
  }

  TokenId RaceOfKept() const {
    Race race(params_);
    race.Enter(best_, 1.0f);
    for (const Candidate& candidate : kept_) {
      const float word =
          static_cast<float>(WordAt(params_.seed, params_.position, candidate.id, 0) >> 1) * 0x1.0p-31f;
      if (word <= candidate.weight * race.bound() && Passes(candidate))
        race.Enter(candidate.id, candidate.weight);
    }
    return race.winner();
  }

  TokenId RaceOfAll() const {
    Race race(params_);
    race.Enter(best_, 1.0f);
    std::array<int32_t, kSampleBlock> words;
    for (size_t first = 0; first < weights_.size(); first += kSampleBlock) {
      const float* const weights = weights_.data() + first;
      const bool any = loops_.any_can_win(params_.seed, params_.position, static_cast<uint32_t>(first),
                                          weights, race.bound(), words.data());
      for (size_t j = 0; any && j < kSampleBlock; ++j) {
        const float word = static_cast<float>(words[j]) * 0x1.0p-31f;
        if (!(weights[j] > 0.0f && word <= weights[j] * race.bound())) continue;
        const TokenId id = static_cast<TokenId>(first + j);
        if (Passes({KeyOf(logits_[first + j]), id, weights[j]})) race.Enter(id, weights[j]);
      }
    }
    return race.winner();
  }

  const DrawParams& params_;
  std::span<const float> logits_;
  std::span<const float> unbanned_;
  const SampleLoops& loops_;
  std::vector<float>& weights_;
  DrawScratch& scratch_;
  float largest_ = kLowest;  // logit
  TokenId best_ = -1;
  std::span<Candidate> kept_;  // by ascending id; those that do not pass cut_ do not count
  // The least likely token that is kept. At first every token passes.
  Candidate cut_ = {0, std::numeric_limits<TokenId>::max(), 0};
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
