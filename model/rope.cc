#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>

#include "kernels/portable_math.h"

namespace prefixd {
namespace {

struct Turn {
  double cosine, sine;
};

// For 0 <= x < 2^27. Pi/2 is in three parts. The first two have 26 bits, so their products with the number of
// quarter turns are exact.
Turn CosSin(double x) {
  constexpr double kHalfPiHigh = 0x1.921fb50p+0;
  constexpr double kHalfPiMid = 0x1.110b460p-26;
  constexpr double kHalfPiLow = 0x1.1a62633145c07p-54;
  const double quarters = std::nearbyint(x * (2 / std::numbers::pi));
  const double r = ((x - quarters * kHalfPiHigh) - quarters * kHalfPiMid) - quarters * kHalfPiLow;
  double cosine = 0, sine = 0;
  for (int n = 16; n >= 0; n -= 2) cosine = portable::kInverseFactorial[n] - cosine * (r * r);
  for (int n = 17; n >= 1; n -= 2) sine = portable::kInverseFactorial[n] - sine * (r * r);
  sine *= r;
  switch (static_cast<int64_t>(quarters) & 3) {
    case 0:
      return {cosine, sine};
    case 1:
      return {-sine, cosine};
    case 2:
      return {-cosine, -sine};
    default:
      return {sine, -cosine};
  }
}

double Llama3Frequency(const RopeConfig& rope, double frequency) {
  const double turns =
      rope.original_context * frequency / (2 * std::numbers::pi);  // within the original context
  if (turns < rope.low_freq_factor) return frequency / rope.factor;
  if (turns > rope.high_freq_factor) return frequency;
  const double smooth = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// Returns the index of the pair, as a fraction, that makes that many turns within the original context.
double PairOfTurns(const RopeConfig& rope, int head_dim, double turns) {
  return head_dim * portable::Log(rope.original_context / (turns * 2 * std::numbers::pi)) /
         (2 * portable::Log(rope.theta));
}

// Returns the share of each pair that is divided by the factor: 0 up to `low`, 1 from `high` on.
struct YarnRamp {
  double low, high;

  YarnRamp(const RopeConfig& rope, int head_dim)
      : low(PairOfTurns(rope, head_dim, rope.beta_fast)), high(PairOfTurns(rope, head_dim, rope.beta_slow)) {
    if (rope.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, head_dim - 1.0);
    if (low == high) high += 0.001;  // avoids a division by zero, as the reference does
  }
  double operator()(int pair) const { return std::clamp((pair - low) / (high - low), 0.0, 1.0); }
};

double YarnFrequency(const RopeConfig& rope, double ramp, double frequency) {
  return frequency / rope.factor * ramp + frequency * (1 - ramp);
}

}  // namespace

std::vector<double> RopeFrequencies(const RopeConfig& rope, int head_dim) {
  std::vector<double> frequencies(head_dim / 2);
  const std::optional<YarnRamp> ramp =
      rope.type == RopeType::kYarn ? std::optional(YarnRamp(rope, head_dim)) : std::nullopt;
  for (int i = 0; i < head_dim / 2; ++i) {
    const double frequency = portable::Exp(-portable::Log(rope.theta) * (2.0 * i / head_dim));
    switch (rope.type) {
      case RopeType::kDefault:
      case RopeType::kDynamic:
        frequencies[i] = frequency;
        break;
      case RopeType::kLinear:
        frequencies[i] = frequency / rope.factor;
        break;
      case RopeType::kLlama3:
        frequencies[i] = Llama3Frequency(rope, frequency);
        break;
      case RopeType::kYarn:
        frequencies[i] = YarnFrequency(rope, (*ramp)(i), frequency);
        break;
    }
    if (!rope.divisors.empty()) frequencies[i] /= static_cast<double>(rope.divisors[static_cast<size_t>(i)]);
  }
  return frequencies;
}

std::vector<float> RopeTable(const RopeConfig& rope, int head_dim, int positions) {
  const std::vector<double> frequencies = RopeFrequencies(rope, head_dim);
  const size_t half = frequencies.size();
  std::vector<float> table(static_cast<size_t>(positions) * 2 * half);
  for (int position = 0; position < positions; ++position) {
    float* row = table.data() + static_cast<size_t>(position) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      const Turn turn = CosSin(position * frequencies[i]);
      row[i] = static_cast<float>(turn.cosine * rope.attention_factor);
      row[half + i] = static_cast<float>(turn.sine * rope.attention_factor);
    }
  }
  return table;
}

}  // namespace prefixd
