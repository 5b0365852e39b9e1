// Logarithm and exponential as sequences of IEEE additions, multiplications and divisions. libm selects
// different code on different CPUs, but these results must be the same on every machine, because answers
// depend on them. Pure functions; any thread.
#pragma once

#include <array>
#include <cmath>
#include <numbers>

namespace prefixd::portable {

inline constexpr int kTerms = 18;

constexpr std::array<double, kTerms> InverseFactorials() {
  std::array<double, kTerms> inverse{};
  double factorial = 1;  // exact: 17! < 2^53
  for (int n = 0; n < kTerms; ++n) {
    if (n > 0) factorial *= n;
    inverse[n] = 1 / factorial;
  }
  return inverse;
}
inline constexpr std::array<double, kTerms> kInverseFactorial = InverseFactorials();

// ln x for normal x > 0: x = m 2^e with m in [sqrt 1/2, sqrt 2), ln m = 2 atanh s, s = (m - 1) / (m + 1),
// |s| < 0.172.
inline double Log(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < std::numbers::sqrt2 / 2) {
    m *= 2;
    --exponent;
  }
  const double s = (m - 1) / (m + 1);
  double sum = 0;
  for (int n = 25; n >= 1; n -= 2) sum = sum * (s * s) + 1.0 / n;
  return exponent * std::numbers::ln2 + 2 * s * sum;
}

// e^x for |x| < 700: x = n ln 2 + r with |r| <= ln 2 / 2. The Taylor series of e^r has a remainder below
// 2^-60.
inline double Exp(double x) {
  const double n = std::nearbyint(x / std::numbers::ln2);
  const double r = x - n * std::numbers::ln2;
  double sum = 0;
  for (int k = 15; k >= 0; --k) sum = sum * r + kInverseFactorial[k];
  return std::ldexp(sum, static_cast<int>(n));
}

}  // namespace prefixd::portable
