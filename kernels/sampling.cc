#include "kernels/sampling.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <utility>

#include "base/check.h"
#include "kernels/draw_parts.h"
#include "kernels/logit_adjustment.h"

namespace prefixd {
namespace {

using namespace sampling;

constexpr float kLowest = -std::numeric_limits<float>::infinity();
// top_p first looks at the tokens of at least this weight.
constexpr float kHeavy = 0x1.0p-12f;
// WeightOf may round so that a larger logit has a weight that is smaller by this factor, or less.
constexpr float kMargin = 1 - 1e-4f;

// Bit i: weights[i] >= least, of kAtOnce weights. Most are 0, so that few tokens are looked at one by one.
// Every machine has these instructions.
constexpr size_t kAtOnce = 16;
uint32_t AtLeast(const float* weights, float least) {
  const __m128 bound = _mm_set1_ps(least);
  const auto four = [&](size_t first) {
    return static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpge_ps(_mm_loadu_ps(weights + first), bound)))
           << first;
  };
  return four(0) | four(4) | four(8) | four(12);
}

}  // namespace

// One draw; the steps are those of the header.
class TokenDraw {
 public:
  TokenDraw(const SampleRow& row, std::span<const float> logits, DrawScratch& scratch)
      : row_(row), params_(row.params), unchanged_(logits), loops_(*scratch.loops_), scratch_(scratch) {
    PREFIXD_CHECK(!logits.empty() && logits.size() <= scratch.vocab_)
        << logits.size() << " logits; memory is reserved for " << scratch.vocab_;
    PREFIXD_CHECK(row.allowed.empty() || row.allowed.size() * 32 >= logits.size())
        << row.allowed.size() << " words for " << logits.size() << " tokens";
  }

  TokenId Run() {
    SetLogits(!row_.banned.empty());
    FindBest();
    if (largest_ == kLowest) {
      if (const TokenId allowed = FirstAllowed(); allowed >= 0) return allowed;
      SetLogits(false);
      FindBest();
      if (largest_ == kLowest) return std::max(FirstAllowed(), 0);
    }
    if (params_.temperature <= 0.0f || params_.top_k == 1) return best_;
    if (params_.top_k > 0 && KeepFewLikeliest()) {
      if (params_.top_p < 1.0f) KeepTopP();
      return RaceOfKept();
    }
    const bool by_rank = params_.top_k > 0 && static_cast<size_t>(params_.top_k) < logits_.size();
    bool collected = false;  // the tokens that may pass cut_ are in kept_
    if (by_rank) {
      collected = KeepTopKOfAll();
    } else if (params_.top_p < 1.0f) {
      collected = KeepTopPOfAll();
    }
    return collected ? RaceOfKept() : RaceOfAll();
  }

 private:
  using Candidate = DrawScratch::Candidate;

  // Returns whether a candidate is not less likely than the cut.
  bool Passes(const Candidate& c) const { return c.key > cut_.key || (c.key == cut_.key && c.id <= cut_.id); }

  // Types, so that KeepLikeliest inlines them.
  struct One {
    uint64_t operator()(const Candidate&) const { return 1; }
  };
  struct FixedWeight {
    uint64_t operator()(const Candidate& candidate) const { return FixedPoint(candidate.weight); }
  };

  // Sets logits_, with or without the bans of the row. Copies the logits only if something changes them.
  void SetLogits(bool ban) {
    logits_ = unchanged_;
    const bool changes = ChangesLogits(row_.changes);
    bans_ = ban;
    if (!changes && !ban && row_.allowed.empty()) return;
    const std::span<float> copy(scratch_.changed_, logits_.size());
    std::copy(logits_.begin(), logits_.end(), copy.begin());
    if (changes) AdjustLogits(row_.changes, copy);
    Mark(copy, kLowest);
    logits_ = copy;
  }

  // Sets the elements of the tokens that do not take part.
  void Mark(std::span<float> tokens, float value) const {
    for (size_t word = 0; word < row_.allowed.size() && word * 32 < tokens.size(); ++word) {
      const size_t first = word * 32, end = std::min(first + 32, tokens.size());
      for (size_t id = first; id < end; ++id)
        tokens[id] = (row_.allowed[word] >> (id - first) & 1) != 0 ? tokens[id] : value;
    }
    for (const TokenId id : bans_ ? row_.banned : std::span<const TokenId>()) {
      if (id >= 0 && static_cast<size_t>(id) < tokens.size()) tokens[static_cast<size_t>(id)] = value;
    }
  }

  // Returns the lowest id that takes part, or -1 if none does. Overwrites the copy of the logits.
  TokenId FirstAllowed() {
    const std::span<float> tokens(scratch_.changed_, logits_.size());
    std::fill(tokens.begin(), tokens.end(), 0.0f);
    Mark(tokens, 1.0f);
    const auto allowed = std::find(tokens.begin(), tokens.end(), 0.0f);
    return allowed == tokens.end() ? -1 : static_cast<TokenId>(allowed - tokens.begin());
  }

  size_t Blocks() const { return BlocksOf(logits_.size()); }

  // Sets largest_, and best_ unless no logit is above -inf.
  void FindBest() {
    const std::span<float> largest(scratch_.largest_, Blocks());
    loops_.largest(logits_.data(), logits_.size(), largest.data());
    const auto block = std::max_element(largest.begin(), largest.end());  // the first of equals
    largest_ = *block;
    if (largest_ == kLowest) return;
    size_t id = static_cast<size_t>(block - largest.begin()) * kSampleBlock;
    while (logits_[id] != largest_) ++id;
    best_ = static_cast<TokenId>(id);
  }

  // Returns the weights, after min_p, of the kSampleBlock tokens from `first` on; 0 for tokens that are not
  // kept or do not exist. The next call overwrites them.
  const float* BlockWeights(size_t first) {
    const size_t count = CountFrom(first);
    loops_.set_weights(logits_.data() + first, count, largest_, params_.temperature, weights_.data());
    std::fill(weights_.begin() + static_cast<ptrdiff_t>(count), weights_.end(), 0.0f);
    if (params_.min_p != 0.0f) {
      for (float& weight : weights_) weight = weight >= params_.min_p ? weight : 0.0f;
    }
    const size_t best = static_cast<size_t>(best_) - first;  // wraps around for a later block
    if (best < weights_.size()) weights_[best] = 1.0f;       // also when the logits are infinite
    return weights_.data();
  }
  // Returns a number that no weight of the block from `first` on exceeds, except that of `best`.
  float MostWeight(size_t first) const {
    const float largest = scratch_.largest_[first / kSampleBlock];
    return WeightOf((largest - largest_) / params_.temperature) / kMargin;
  }
  size_t CountFrom(size_t first) const { return std::min<size_t>(kSampleBlock, logits_.size() - first); }

  // Calls fn for each token that is kept so far, in the order of the ids.
  template <typename Fn>
  void ForEach(const Fn& fn) {
    for (size_t first = 0; first < logits_.size(); first += kSampleBlock) {
      const float* const weights = BlockWeights(first);
      for (size_t j = 0; j < kSampleBlock; ++j) {
        if (!(weights[j] > 0.0f)) continue;
        const Candidate candidate = {KeyOf(logits_[first + j]), static_cast<TokenId>(first + j), weights[j]};
        if (Passes(candidate)) fn(candidate);
      }
    }
  }

  bool HasRoom(size_t candidates) const { return candidates <= MostKept(logits_.size()); }

  // Adds the tokens of a block with a weight of at least `least` to the candidates. Returns the new number of
  // candidates. Requires least > 0 and HasRoom(candidates).
  size_t AddBlock(const float* weights, size_t first, float least, size_t candidates) {
    for (size_t from = 0; from < kSampleBlock; from += kAtOnce) {
      for (uint32_t heavy = AtLeast(weights + from, least); heavy != 0; heavy &= heavy - 1) {
        const size_t j = from + static_cast<size_t>(std::countr_zero(heavy)), id = first + j;
        scratch_.kept_[candidates++] = {KeyOf(logits_[id]), static_cast<TokenId>(id), weights[j]};
      }
    }
    return candidates;
  }

  // Steps 4 and 5 for a small top_k, by the largest logits of the blocks: as many tokens as there are blocks
  // whose largest logit is at least `bound` are that likely. So no other token is kept, if these pass min_p.
  // Returns false, with nothing done, where that does not find the tokens, or finds too many.
  bool KeepFewLikeliest() {
    const size_t wanted = static_cast<size_t>(params_.top_k);
    const std::span<const float> largest(scratch_.largest_, Blocks());
    if (2 * wanted > largest.size()) return false;
    const std::span<float> sorted(scratch_.sorted_, largest.size());
    std::copy(largest.begin(), largest.end(), sorted.begin());
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(wanted - 1), sorted.end(),
                     std::greater<>());
    const float bound = sorted[wanted - 1];
    Candidate* const room = scratch_.kept_;
    size_t count = 0;
    for (size_t block = 0; block < largest.size(); ++block) {
      if (!(largest[block] >= bound)) continue;
      if (!HasRoom(count)) return false;
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

  // Step 6 without top_k. Returns whether kept_ has the candidates.
  bool KeepTopPOfAll() {
    uint64_t total = 0, heavy = 0;
    if (KeepHeavy(&total)) {
      for (const Candidate& c : kept_) heavy += c.weight >= kHeavy ? FixedPoint(c.weight) : 0;
      const uint64_t wanted = SumForTopP(params_.top_p, total);
      // No lighter token is kept. A race of all rules out most blocks, so it is faster than one of many.
      if (heavy >= wanted && KeepLikeliest(wanted, FixedWeight())) return kept_.size() <= Blocks();
    }
    KeepTopPByVisits();
    return false;
  }

  // Sets kept_ to the tokens of a weight of at least kHeavy, or less by kMargin, and *total to the sum of all
  // weights. Returns false if they are too many; an early guess saves the time to find that out.
  bool KeepHeavy(uint64_t* total) {
    constexpr size_t kGuess = 8 * kSampleBlock;
    size_t candidates = 0;
    for (size_t first = 0; first < logits_.size(); first += kSampleBlock) {
      if (!HasRoom(candidates) || (first == kGuess && candidates > kGuess / 2)) return false;
      const float* const weights = BlockWeights(first);
      *total += loops_.sum_weights(weights, kSampleBlock);
      const bool has_best = static_cast<size_t>(best_) - first < kSampleBlock;
      if (has_best || MostWeight(first) >= kHeavy * kMargin)
        candidates = AddBlock(weights, first, kHeavy * kMargin, candidates);
    }
    kept_ = {scratch_.kept_, candidates};
    return true;
  }

  // Steps 5 and 6 with top_k. Returns whether kept_ has the candidates.
  bool KeepTopKOfAll() {
    const bool top_p = params_.top_p < 1.0f;
    if (KeepAll()) {
      KeepTopK();
    } else {
      KeepTopKByVisits();
      if (static_cast<size_t>(params_.top_k) > MostEquals(logits_.size())) {
        if (top_p) KeepTopPByVisits();
        return false;
      }
      const size_t most = MostKept(logits_.size());
      kept_ = {scratch_.kept_, Collect(cut_.key, KeyOf(largest_), most, scratch_.kept_)};
    }
    if (top_p) KeepTopP();
    return true;
  }

  // Sets kept_ to the tokens with a weight above 0. Returns false if they are too many.
  bool KeepAll() {
    size_t candidates = 0;
    for (size_t first = 0; first < logits_.size(); first += kSampleBlock) {
      if (!HasRoom(candidates)) return false;
      candidates = AddBlock(BlockWeights(first), first, std::numeric_limits<float>::denorm_min(), candidates);
    }
    kept_ = {scratch_.kept_, candidates};
    return true;
  }

  // Steps 5 and 6 among kept_.
  void KeepTopK() {
    const uint64_t wanted = static_cast<uint64_t>(params_.top_k);
    if (wanted < kept_.size() && !KeepLikeliest(wanted, One())) KeepTopKByVisits();
  }
  void KeepTopP() {
    const auto end =
        std::remove_if(kept_.begin(), kept_.end(), [&](const Candidate& c) { return !Passes(c); });
    kept_ = {kept_.begin(), end};
    uint64_t total = 0;
    for (const Candidate& candidate : kept_) total += FixedPoint(candidate.weight);
    if (!KeepLikeliest(SumForTopP(params_.top_p, total), FixedWeight())) KeepTopPByVisits();
  }

  // Steps 5 and 6 among all tokens that are kept so far.
  void KeepTopKByVisits() {
    KeepLikeliestByVisits([&](uint64_t) { return static_cast<uint64_t>(params_.top_k); }, One());
  }
  void KeepTopPByVisits() {
    KeepLikeliestByVisits([&](uint64_t sum) { return SumForTopP(params_.top_p, sum); }, FixedWeight());
  }

  // Sets cut_ to the last of the fewest likeliest of kept_ whose measures sum to `wanted`. Returns false,
  // with nothing done, if too many of them share a bucket. Requires 0 < wanted <= the sum of all measures.
  template <typename Measure>
  bool KeepLikeliest(uint64_t wanted, Measure measure) {
    return Select(kept_, wanted, measure);
  }

  // Does so by a radix select on the keys: in each round the candidates that share a bucket with the last one
  // kept remain.
  template <typename Measure>
  bool Select(std::span<const Candidate> from, uint64_t wanted, Measure measure) {
    Candidate* const equals = scratch_.equals_;
    while (true) {
      uint32_t low = from[0].key, high = low;
      for (const Candidate& candidate : from) {
        if (candidate.key > high) {  // a branch: seldom taken
          high = candidate.key;
        } else if (candidate.key < low) {
          low = candidate.key;
        }
      }
      if (low == high) break;
      KeyBuckets buckets(low, high);
      for (const Candidate& candidate : from) buckets.Add(candidate.key, measure(candidate));
      const uint32_t bucket = buckets.Find(&wanted);
      size_t count = 0;
      for (const Candidate& candidate : from) {
        if (buckets.Of(candidate.key) != bucket) continue;
        if (count > MostEquals(logits_.size())) return false;
        equals[count++] = candidate;
      }
      from = {equals, count};
    }
    size_t last = 0;  // the candidates are in the order of their ids
    for (uint64_t sum = measure(from[0]); sum < wanted; sum += measure(from[last])) ++last;
    cut_ = from[last];
    return true;
  }

  // The same among all tokens that ForEach visits, with wanted = wanted_of(the sum of their measures), or
  // that sum if it is smaller. Each round visits all tokens, until few enough share a bucket.
  template <typename WantedOf, typename Measure>
  void KeepLikeliestByVisits(WantedOf wanted_of, Measure measure) {
    uint32_t low = cut_.key, high = KeyOf(largest_);
    uint32_t first_bucket = std::max(low, SampledLowKey());
    uint64_t wanted = 0;
    do {
      KeyBuckets buckets(first_bucket, high);
      ForEach([&](const Candidate& c) {
        if (c.key - low <= high - low) buckets.Add(std::max(c.key, first_bucket), measure(c));
      });
      if (wanted == 0) wanted = std::min(wanted_of(buckets.Total()), buckets.Total());
      const uint32_t bucket = buckets.Find(&wanted);
      high = std::min(high, buckets.LowestKey(bucket + 1) - 1);
      if (bucket > 0) low = buckets.LowestKey(bucket);
      first_bucket = low;
      const size_t most = MostEquals(logits_.size());
      const size_t count = Collect(low, high, most, scratch_.equals_);
      if (count <= most && Select({scratch_.equals_, count}, wanted, measure)) return;
    } while (low != high);
    uint64_t sum = 0;
    Candidate last = cut_;
    ForEach([&](const Candidate& c) {
      if (c.key != low || sum >= wanted) return;
      sum += measure(c);
      last = c;
    });
    cut_ = last;
  }

  // Returns a key near the smallest: with it the buckets divide the keys that occur. Tokens with smaller keys
  // count for the first bucket.
  uint32_t SampledLowKey() const {
    constexpr size_t kStep = 61;
    float smallest = largest_;
    for (size_t i = 0; i < logits_.size(); i += kStep) {
      if (logits_[i] > kLowest && logits_[i] < smallest) smallest = logits_[i];
    }
    return KeyOf(smallest);
  }

  // Writes the tokens kept so far with keys in low .. high to `to`, and at most one more than `most`. Returns
  // their number.
  size_t Collect(uint32_t low, uint32_t high, size_t most, Candidate* to) const {
    size_t count = 0;
    for (size_t i = 0; i < logits_.size() && count <= most; ++i) {
      if (KeyOf(logits_[i]) - low > high - low) continue;  // one branch, seldom taken; also for NaN
      if (Consider(static_cast<TokenId>(i), &to[count]) && Passes(to[count])) ++count;
    }
    return count;
  }

  // From half a random word: about the uniform number of its token or block (see Race::bound for the
  // difference).
  static float Halved(int32_t half) { return static_cast<float>(half) * 0x1.0p-31f; }
  static uint32_t BlockOf(TokenId id) { return static_cast<uint32_t>(id) / kSampleBlock; }

  // Steps 7 and 8 among kept_, which has the tokens of a block one after the other.
  TokenId RaceOfKept() const {
    Race blocks(params_, Uniform::kOfBlock);
    for (auto at = kept_.begin(); at != kept_.end();) {
      const uint32_t block = BlockOf(at->id);
      uint64_t mass = 0;
      for (; at != kept_.end() && BlockOf(at->id) == block; ++at)
        mass += Passes(*at) ? FixedPoint(at->weight) : 0;
      if (mass > 0) blocks.Enter(block, FromFixedPoint(mass));
    }
    Race tokens(params_, Uniform::kOfToken);
    for (const Candidate& candidate : kept_) {
      if (BlockOf(candidate.id) == blocks.winner() && Passes(candidate))
        tokens.Enter(static_cast<uint32_t>(candidate.id), static_cast<double>(candidate.weight));
    }
    return static_cast<TokenId>(tokens.winner());
  }

  // The same among all tokens. Blocks whose largest logit rules them out are not visited.
  TokenId RaceOfAll() {
    const std::span<float> earliest(scratch_.sorted_, Blocks());
    SetEarliestTimes(earliest);
    Race blocks(params_, Uniform::kOfBlock);
    const auto enter = [&](size_t block) {
      if (!(earliest[block] <= blocks.bound())) return;
      const uint64_t mass = loops_.sum_weights(KeptWeights(block), kSampleBlock);
      if (mass > 0) blocks.Enter(static_cast<uint32_t>(block), FromFixedPoint(mass));
    };
    // The most promising one first: then most others are ruled out.
    enter(static_cast<size_t>(std::min_element(earliest.begin(), earliest.end()) - earliest.begin()));
    for (size_t block = 0; block < earliest.size(); ++block) enter(block);
    return RaceInBlock(blocks.winner());
  }

  // earliest[b] = a number that the time of block b is not below, but for the margin of Race::bound.
  void SetEarliestTimes(std::span<float> earliest) const {
    std::array<int32_t, kSampleBlock> words;
    for (size_t block = 0; block < earliest.size(); ++block) {
      if (block % kSampleBlock == 0)
        loops_.halved_words(params_.seed, params_.position, static_cast<uint32_t>(block),
                            static_cast<uint32_t>(Uniform::kOfBlock), words.data());
      const float best = BlockOf(best_) == block ? 1.0f : 0.0f;
      const float mass = best + kSampleBlock * MostWeight(block * kSampleBlock);
      earliest[block] = Halved(words[block % kSampleBlock]) / mass;
    }
  }

  // BlockWeights of a block, and 0 for tokens that do not pass the cut.
  const float* KeptWeights(size_t block) {
    const size_t first = block * kSampleBlock;
    BlockWeights(first);
    if (cut_.key == 0) return weights_.data();
    for (size_t j = 0; j < CountFrom(first); ++j) {
      if (!Passes({KeyOf(logits_[first + j]), static_cast<TokenId>(first + j), 0})) weights_[j] = 0.0f;
    }
    return weights_.data();
  }

  TokenId RaceInBlock(uint32_t block) {
    const float* const weights = KeptWeights(block);
    std::array<int32_t, kSampleBlock> words;
    const uint32_t first = block * kSampleBlock;
    loops_.halved_words(params_.seed, params_.position, first, static_cast<uint32_t>(Uniform::kOfToken),
                        words.data());
    Race tokens(params_, Uniform::kOfToken);
    for (uint32_t j = 0; j < kSampleBlock; ++j) {
      if (weights[j] > 0.0f && Halved(words[j]) <= weights[j] * tokens.bound())
        tokens.Enter(first + j, static_cast<double>(weights[j]));
    }
    return static_cast<TokenId>(tokens.winner());
  }

  const SampleRow& row_;
  const DrawParams& params_;
  const std::span<const float> unchanged_;
  std::span<const float> logits_;
  const SampleLoops& loops_;
  DrawScratch& scratch_;
  alignas(64) std::array<float, kSampleBlock> weights_;
  bool bans_ = false;        // whether the bans of the row count
  float largest_ = kLowest;  // logit
  TokenId best_ = -1;
  std::span<Candidate> kept_;  // by ascending id; those that do not pass cut_ do not count
  // The least likely token that is kept. At first every token passes.
  Candidate cut_ = {0, std::numeric_limits<TokenId>::max(), 0};
};

void DrawRow(SampleRow& row, int vocab, DrawScratch& scratch) {
  PREFIXD_CHECK(row.logits != nullptr && vocab > 0) << vocab;
  row.token = TokenDraw(row, {row.logits, static_cast<size_t>(vocab)}, scratch).Run();
}

TokenId DrawToken(const DrawParams& params, std::span<const float> logits, std::span<const TokenId> banned,
                  DrawScratch& scratch) {
  SampleRow row;
  row.params = params;
  row.banned = banned;
  return TokenDraw(row, logits, scratch).Run();
}

}  // namespace prefixd
