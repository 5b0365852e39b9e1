#include "model/rope.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "hashing/checksum.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

// The formulas of transformers, computed with libm.
double ExpectedFrequency(const RopeConfig& rope, int i, int head_dim) {
  const double plain = 1.0 / std::pow(rope.theta, 2.0 * i / head_dim);
  if (rope.type == RopeType::kDefault) return plain;
  if (rope.type == RopeType::kDynamic) return plain;
  if (rope.type == RopeType::kLinear) return plain / rope.factor;
  if (rope.type == RopeType::kYarn) {
    const auto pair = [&](double turns) {
      return head_dim * std::log(rope.original_context / (turns * 2 * std::numbers::pi)) /
             (2 * std::log(rope.theta));
    };
    const double fast = pair(rope.beta_fast), slow = pair(rope.beta_slow);
    const double low = std::max(rope.truncate ? std::floor(fast) : fast, 0.0);
    const double high = std::min(rope.truncate ? std::ceil(slow) : slow, head_dim - 1.0);
    const double ramp = std::clamp((i - low) / (low == high ? 0.001 : high - low), 0.0, 1.0);
    return plain / rope.factor * ramp + plain * (1 - ramp);
  }
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength > rope.original_context / rope.low_freq_factor) return plain / rope.factor;
  if (wavelength < rope.original_context / rope.high_freq_factor) return plain;
  const double smooth = (rope.original_context / wavelength - rope.low_freq_factor) /
                        (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * plain / rope.factor + smooth * plain;
}

RopeConfig Yarn(double theta, double factor, int original, double fast, double slow, bool truncate) {
  return {RopeType::kYarn, theta, factor, 0, 0, original, fast, slow, truncate, 1.25};
}

const RopeConfig kRopes[] = {
    {RopeType::kDefault, 10000},
    {RopeType::kDefault, 1},
    {RopeType::kDefault, 1e15},
    {RopeType::kLinear, 10000, 4},
    {RopeType::kLlama3, 500000, 8, 1, 4, 64},
    {RopeType::kLlama3, 500000, 32, 1, 4, 8192},
    {RopeType::kDynamic, 10000, 4},
    Yarn(10000, 4, 128, 32, 1, true),
    Yarn(1000000, 4, 32768, 32, 1, true),
    Yarn(10000, 40, 4096, 32, 1, false),
    Yarn(137.5, 8, 16, 16.5, 2.5, false),
    Yarn(10000, 8, 16, 100, 64, true),       // both borders below the first pair
    Yarn(1e15, 2, 1 << 26, 1, 0.001, true),  // high at the last
};

TEST(Rope, FrequenciesFollowTheFormulas) {
  for (const RopeConfig& rope : kRopes) {
    for (const int head_dim : {2, 16, 48, 128}) {
      const std::vector<double> frequencies = RopeFrequencies(rope, head_dim);
      ASSERT_EQ(frequencies.size(), static_cast<size_t>(head_dim / 2));
      for (int i = 0; i < head_dim / 2; ++i) {
        const double expected = ExpectedFrequency(rope, i, head_dim);
        EXPECT_NEAR(frequencies[i] / expected, 1, 2e-14)
            << CanonicalRope(rope) << " " << head_dim << " " << i;
      }
    }
  }
}

TEST(Rope, Llama3HasAllThreeBands) {
  const RopeConfig rope = {RopeType::kLlama3, 500000, 8, 1, 4, 64};
  int kept = 0, divided = 0, blended = 0;
  const std::vector<double> scaled = RopeFrequencies(rope, 64);
  const std::vector<double> plain = RopeFrequencies({RopeType::kDefault, 500000}, 64);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double ratio = plain[i] / scaled[i];
    ++(ratio == 1.0 ? kept : ratio == 8.0 ? divided : blended);
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_GT(blended, 0);
}

TEST(Rope, YarnHasAllThreeBands) {
  int kept = 0, divided = 0, blended = 0;
  const std::vector<double> scaled = RopeFrequencies(Yarn(10000, 4, 128, 32, 1, true), 64);
  const std::vector<double> plain = RopeFrequencies({RopeType::kDefault, 10000}, 64);
  for (size_t i = 0; i < plain.size(); ++i) {
    const double ratio = plain[i] / scaled[i];
    ++(ratio == 1.0 ? kept : ratio == 4.0 ? divided : blended);
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_GT(blended, 0);
}

TEST(Rope, TheAttentionFactorScalesTheTable) {
  const RopeConfig yarn = Yarn(10000, 4, 128, 32, 1, true);
  const std::vector<float> table = RopeTable(yarn, 16, 50);
  for (const int position : {0, 1, 49}) {
    for (int i = 0; i < 8; ++i) {
      const double angle = position * ExpectedFrequency(yarn, i, 16);
      EXPECT_NEAR(table[position * 16 + i], 1.25 * std::cos(angle), 1.2e-7);
      EXPECT_NEAR(table[position * 16 + 8 + i], 1.25 * std::sin(angle), 1.2e-7);
    }
  }
  EXPECT_EQ(table[0], 1.25f);
}

TEST(Rope, TableHoldsCosinesThenSines) {
  const RopeConfig rope = {RopeType::kLinear, 10000, 4};
  const int head_dim = 16, half = 8;
  const std::vector<float> table = RopeTable(rope, head_dim, 1000);
  ASSERT_EQ(table.size(), 1000u * head_dim);
  for (const int position : {0, 1, 17, 300, 999}) {
    for (int i = 0; i < half; ++i) {
      const double angle = position * ExpectedFrequency(rope, i, head_dim);
      EXPECT_NEAR(table[position * head_dim + i], std::cos(angle), 6e-8);
      EXPECT_NEAR(table[position * head_dim + half + i], std::sin(angle), 6e-8);
    }
  }
  EXPECT_EQ(table[0], 1.0f);
  EXPECT_EQ(table[half], 0.0f);
}

TEST(Rope, TheTableIsTheRoundedSineAtEveryPosition) {
  const int positions = 200000;  // the first pair turns one radian per position: all quadrants, far from 0
  const std::vector<float> table = RopeTable({RopeType::kDefault, 10000}, 2, positions);
  int differ = 0;
  for (int p = 0; p < positions; ++p) {
    differ += table[2 * p] != static_cast<float>(std::cos(static_cast<double>(p)));
    differ += table[2 * p + 1] != static_cast<float>(std::sin(static_cast<double>(p)));
  }
  EXPECT_EQ(differ, 0) << "of " << 2 * positions
                       << ": both are within 1e-15 of the true value before they are rounded to f32";
}

// Stored KV depends on the table, but the fingerprint contains only the version of the numerics. If this
// value changes, the versions of the numerics must change too.
TEST(Rope, TheTableIsPinnedToTheVersionOfTheNumerics) {
  const std::vector<float> table = RopeTable({RopeType::kLlama3, 500000, 8, 1, 4, 64}, 64, 300);
  EXPECT_EQ(numerics::VersionName(numerics::Version::kCpu1), "cpu-1");
  EXPECT_EQ(numerics::VersionName(numerics::kLatest), "cpu-4");
  EXPECT_EQ(Checksum(std::as_bytes(std::span(table))), 5284060595238183817u);
}

}  // namespace
}  // namespace prefixd
