// The parts of a draw (kernels/sampling.cc) that do not depend on how it visits the tokens: keys in the order
// of the logits, the sums of a radix select, and the race of step 7. Values; one thread at a time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>
#include <numeric>

#include "base/types.h"
#include "kernels/sampling.h"

namespace prefixd::sampling {

// Unsigned integers in the order of the logits. `logit` is not NaN.
constexpr uint32_t KeyOf(float logit) {
  const uint32_t bits = std::bit_cast<uint32_t>(logit + 0.0f);  // -0 becomes +0
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

// Sums of measures by buckets of keys in low .. high. A key of a logit is far enough below 2^32 that no
// bucket ends above it.
class KeyBuckets {
 public:
  KeyBuckets(uint32_t low, uint32_t high)
      : low_(low),
        last_(high - low),
        shift_(std::max(0, static_cast<int>(std::bit_width(high - low)) - kBits)) {}

  uint32_t Of(uint32_t key) const { return (key - low_) >> shift_; }
  uint32_t LowestKey(uint32_t bucket) const { return low_ + (bucket << shift_); }
  void Add(uint32_t key, uint64_t measure) { sums_[Of(key)] += measure; }
  uint64_t Total() const { return std::accumulate(sums_.begin(), sums_.end(), uint64_t{0}); }

  // Returns the bucket in which the sum from the largest key down reaches *wanted, and takes the sums of the
  // buckets above it from *wanted. Requires 0 < *wanted <= Total().
  uint32_t Find(uint64_t* wanted) const {
    uint32_t bucket = last_ >> shift_;
    while (sums_[bucket] < *wanted) *wanted -= sums_[bucket--];
    return bucket;
  }

 private:
  static constexpr int kBits = 11;
  uint32_t low_, last_;
  int shift_;
  std::array<uint64_t, size_t{1} << kBits> sums_{};
};

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

}  // namespace prefixd::sampling
