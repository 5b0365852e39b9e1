// Compares the scalar definitions of kernels/numerics.h with double precision, and tests every bit pattern of
// the 16-bit types.
#include "kernels/numerics.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/prng.h"

namespace prefixd::numerics {
namespace {

TEST(Numerics, ExpIsWithinOneAndAHalfUlpOfTheTrueValue) {
  // Every 1009th f32 of the range, both signs.
  double worst = 0;
  for (uint32_t bits = 0; bits < std::bit_cast<uint32_t>(kExpMax); bits += 1009) {
    for (const float x : {std::bit_cast<float>(bits), -std::bit_cast<float>(bits)}) {
      if (x < kExpMin) continue;
      const double truth = std::exp(static_cast<double>(x));
      const float nearest = static_cast<float>(truth);
      const double ulp = std::nextafter(nearest, INFINITY) - static_cast<double>(nearest);
      worst = std::max(worst, std::abs(Exp(x) - truth) / ulp);
    }
  }
  EXPECT_LE(worst, 1.5);
  EXPECT_GT(worst, 0.4) << "the sweep compared nothing";
}

TEST(Numerics, ExpAtTheEdges) {
  EXPECT_EQ(Exp(0.0f), 1.0f);
  EXPECT_EQ(Exp(-0.0f), 1.0f);
  EXPECT_EQ(Exp(-INFINITY), 0.0f);
  EXPECT_EQ(Exp(INFINITY), INFINITY);
  EXPECT_TRUE(std::isnan(Exp(NAN)));
  EXPECT_GT(Exp(kExpMin), 0.0f);
  EXPECT_TRUE(std::isnormal(Exp(kExpMin)));
  EXPECT_EQ(Exp(std::nextafter(kExpMin, -INFINITY)), 0.0f);
  EXPECT_TRUE(std::isfinite(Exp(kExpMax)));
  EXPECT_EQ(Exp(std::nextafter(kExpMax, INFINITY)), INFINITY);
}

TEST(Numerics, ActivationsAreWithinRoundingOfTheirFormulas) {
  for (float x = -20.0f; x < 20.0f; x += 0.0013f) {
    const double u = 0.7978845608028654 * (x + 0.044715 * std::pow(x, 3));
    // The reference is not 1 + tanh(u), because that sum cancels for u below zero; 1 / (1 + exp(-2u)) does
    // not.
    EXPECT_NEAR(GeluTanh(x), x / (1 + std::exp(-2 * u)), std::abs(x) * 0x1p-22) << x;
    EXPECT_NEAR(Silu(x), x / (1 + std::exp(-static_cast<double>(x))), std::abs(x) * 0x1p-22) << x;
    EXPECT_EQ(Relu(x), std::max(x, 0.0f));
  }
  EXPECT_EQ(GeluTanh(1e30f), 1e30f);
  EXPECT_EQ(GeluTanh(-1e30f), 0.0f);
  EXPECT_TRUE(std::isnan(GeluTanh(NAN)));
  EXPECT_TRUE(std::isnan(Relu(NAN)));
}

TEST(Numerics, AWindowEndsAtItsOwnPosition) {
  EXPECT_EQ(WindowStart(9, 0), 0);
  EXPECT_EQ(WindowStart(9, 1), 9);
  EXPECT_EQ(WindowStart(9, 9), 1);
  EXPECT_EQ(WindowStart(9, 10), 0);
  EXPECT_EQ(WindowStart(9, std::numeric_limits<int>::max()), 0);
}

TEST(Numerics, EveryHalfRoundsToItself) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const bool f16_nan = (h & 0x7FFF) > 0x7C00;
    const bool bf16_nan = (h & 0x7FFF) > 0x7F80;
    ASSERT_EQ(F32ToF16(F32FromF16(half)), f16_nan ? (h | 0x200) : h);
    ASSERT_EQ(F32ToBF16(F32FromBF16(half)), bf16_nan ? (h | 0x40) : h);
    ASSERT_EQ(std::isnan(F32FromF16(half)), f16_nan);
    ASSERT_EQ(std::isnan(F32FromBF16(half)), bf16_nan);
  }
}

// Between two neighbouring values: a number below the middle rounds down, one above it rounds up, and the
// middle rounds to the even neighbour.
template <typename From, typename To>
void CheckMiddles(uint16_t infinity, From from, To to) {
  for (uint16_t h = 0; h + 1 < infinity; ++h) {
    const double low = from(h);
    const double high = from(static_cast<uint16_t>(h + 1));
    const float middle = static_cast<float>((low + high) / 2);
    ASSERT_EQ(to(middle), h % 2 == 0 ? h : h + 1) << h;
    ASSERT_EQ(to(std::nextafter(middle, -INFINITY)), h) << h;
    ASSERT_EQ(to(std::nextafter(middle, INFINITY)), h + 1) << h;
    ASSERT_EQ(to(-middle), (h % 2 == 0 ? h : h + 1) | 0x8000) << h;
  }
}

TEST(Numerics, F16RoundsToNearestEven) {
  CheckMiddles(0x7C00, F32FromF16, F32ToF16);
  EXPECT_EQ(F32ToF16(65504.0f), 0x7BFF);
  EXPECT_EQ(F32ToF16(std::nextafter(65520.0f, 0.0f)), 0x7BFF);
  EXPECT_EQ(F32ToF16(65520.0f), 0x7C00);
  EXPECT_EQ(F32ToF16(-INFINITY), 0xFC00);
  EXPECT_EQ(F32ToF16(1e-20f), 0);
}

TEST(Numerics, BF16RoundsToNearestEven) {
  CheckMiddles(0x7F80, F32FromBF16, F32ToBF16);
  EXPECT_EQ(F32ToBF16(std::numeric_limits<float>::max()), 0x7F80);
  EXPECT_EQ(F32ToBF16(-INFINITY), 0xFF80);
}

// Rule 8 in another way: the exact sum as two doubles, rounded to 24 bits without a limit of the exponent.
float ExactFlushedFma(float a, float b, float c) {
  constexpr double kMin = 0x1p-126;
  const auto flushed = [](double x) { return std::abs(x) < kMin ? std::copysign(0.0, x) : x; };
  const double product = flushed(a) * flushed(b), term = flushed(c);  // both are exact for 24 bits
  const double sum = product + term;
  if (!std::isfinite(sum) || sum == 0) return static_cast<float>(sum);
  const double part = sum - product;
  const double error = (product - (sum - part)) + (term - part);  // Knuth's TwoSum: sum + error is exact
  int exponent = 0;
  const double scaled = std::frexp(sum, &exponent) * 0x1p24;  // in [2^23, 2^24)
  double rounded = std::nearbyint(scaled);
  if (std::abs(scaled - std::trunc(scaled)) == 0.5 && error != 0)
    rounded = (error > 0) ? std::ceil(scaled) : std::floor(scaled);
  const double result = std::ldexp(rounded, exponent - 24);
  if (std::abs(result) >= 0x1p128) return std::copysign(std::numeric_limits<float>::infinity(), result);
  return static_cast<float>(flushed(result));
}

// Any bits; numbers of any size; products and sums about 2^-126; sums that cancel but for a rest.
TEST(Numerics, FlushedFmaIsTheExactSumRoundedAndFlushed) {
  Prng prng(8);
  int zeros = 0, smallest = 0, nans = 0, infinities = 0;
  const auto bits = [&] { return std::bit_cast<float>(static_cast<uint32_t>(prng.Next())); };
  const auto near = [&](int exponent) {
    const float unit = static_cast<float>(1 + prng.Below(8) / 8.0);
    return std::ldexp(prng.Chance(0.5) ? unit : -unit, exponent + static_cast<int>(prng.Below(5)) - 2);
  };
  for (int i = 0; i < 2'000'000; ++i) {
    float a = bits(), b = bits(), c = bits();
    if (i % 4 == 1) a = near(-63), b = near(-63), c = near(-126);
    if (i % 4 == 2) a = near(-75), b = near(-75), c = std::copysign(0x1p-126f, bits());
    if (i % 4 == 3) c = -a * b * (prng.Chance(0.5) ? 1.0f : 1 + 0x1p-23f);
    const float want = ExactFlushedFma(a, b, c), got = FlushedFma(a, b, c);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got)) << a << " " << b << " " << c;
      ++nans;
      continue;
    }
    ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(want))
        << std::hexfloat << a << " " << b << " " << c;
    zeros += want == 0;
    smallest += std::abs(want) == 0x1p-126f;
    infinities += std::isinf(want);
  }
  EXPECT_GT(zeros, 1000);
  EXPECT_GT(smallest, 1000);
  EXPECT_GT(infinities, 1000);
  EXPECT_GT(nans, 1000);
  // Rounded up to 2^-126 with the bits of a subnormal, but below it with 24 bits; and just not so.
  EXPECT_EQ(FlushedFma(-0x1p-75f, 0x1p-75f, 0x1p-126f), 0.0f);
  EXPECT_EQ(FlushedFma(-0x1p-76f, 0x1p-75f, 0x1p-126f), 0x1p-126f);
}

TEST(Numerics, PartialsMergeAsATree) {
  float s[kPartialSums];
  for (int j = 0; j < kPartialSums; ++j) s[j] = static_cast<float>(1 << j);
  EXPECT_EQ(MergePartials(s), 65535.0f);
  // This case depends on the order: sums 0 and 8 cancel first, so the 1 is not lost.
  float t[kPartialSums] = {1e30f, 1.0f};
  t[8] = -1e30f;
  EXPECT_EQ(MergePartials(t), 1.0f);
}

// All elements, what lies between two of them, and what is beyond the largest.
TEST(Numerics, E4M3IsRoundedToNearestEven) {
  const auto element = [](int i) { return F32FromE4M3(static_cast<uint8_t>(i)); };
  EXPECT_EQ(element(1), 0x1p-9f);
  EXPECT_EQ(element(8), 0x1p-6f);
  EXPECT_EQ(element(0x7E), 448);
  EXPECT_TRUE(std::isnan(element(0x7F)) && std::isnan(element(0xFF)));
  for (int i = 0; i < 0x7F; ++i) {
    EXPECT_EQ(F32ToE4M3(element(i)), i);
    EXPECT_EQ(F32ToE4M3(-element(i)), i | 0x80);
    if (i == 0x7E) break;
    EXPECT_GT(element(i + 1), element(i));
    const float middle = (element(i) + element(i + 1)) / 2;
    EXPECT_EQ(F32ToE4M3(middle), i % 2 == 0 ? i : i + 1);
    EXPECT_EQ(F32ToE4M3(std::nextafter(middle, 0.0f)), i);
    EXPECT_EQ(F32ToE4M3(std::nextafter(middle, 1000.0f)), i + 1);
  }
  for (const float large : {449.0f, 464.0f, 3e38f}) {
    EXPECT_EQ(F32ToE4M3(large), 0x7E);
    EXPECT_EQ(F32ToE4M3(-large), 0xFE);
  }
  EXPECT_EQ(F32ToE4M3(std::numeric_limits<float>::infinity()), 0x7F);
  EXPECT_EQ(F32ToE4M3(std::nanf("")) & 0x7F, 0x7F);
}

}  // namespace
}  // namespace prefixd::numerics
