// The parts of a draw (kernels/sampling.cc) that do not depend on how it visits the tokens: sizes, keys in
// the order of the logits, the sums of a radix select, and the races of steps 7 and 8. Values; one thread at
// a time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>

#include "base/types.h"
#include "kernels/sampling.h"

namespace prefixd::sampling {

constexpr size_t BlocksOf(size_t tokens) { return (tokens + kSampleBlock - 1) / kSampleBlock; }

// The most candidates of a draw, and the most of them that share a bucket. Where there are more, the draw
// visits all tokens instead. The scratch has room for one block more.
constexpr size_t MostKept(size_t tokens) { return tokens / 4; }
constexpr size_t MostEquals(size_t tokens) { return tokens / 16; }

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

// The smallest ExponentialOf(u) / weight seen so far, of the blocks (step 7) or the tokens of one (step 8).
class Race {
 public:
  Race(const DrawParams& params, Uniform of) : params_(params), of_(of) {}

  // One whose u is above weight * bound() cannot win, because ExponentialOf(u) >= u. The margin covers the
  // rounding of that test in f32.
  float bound() const { return static_cast<float>(time_ * (1 + 1e-5)); }

  // Requires a weight above 0.
  void Enter(uint32_t index, double weight) {
    const uint32_t word = WordAt(params_.seed, params_.position, index, 0, of_);
    if (!(word * 0x1.0p-32 <= weight * time_ * (1 + 1e-5))) return;
    const double time = ExponentialOf(UniformAt(params_.seed, params_.position, index, of_)) / weight;
    if (time < time_ || (time == time_ && index < winner_)) {
      time_ = time;
      winner_ = index;
    }
  }
  uint32_t winner() const { return winner_; }

 private:
  const DrawParams& params_;
  const Uniform of_;
  double time_ = std::numeric_limits<double>::infinity();
  uint32_t winner_ = 0;
};

}  // namespace prefixd::sampling
