// The numerics of the CPU backends, versions "cpu-1" and "cpu-4". The results of every CPU backend are bit
// for bit those of this definition. The backend `ref` is plain code for it; the others are fast code for it.
// The tests in tests/kernels compare them. Pure functions; any thread.
//
// Definition. All arithmetic is IEEE binary32, rounded to nearest even, with subnormals (but for rule 8);
// fma(a, b, c) is a * b + c, rounded once. The compiler neither contracts nor reorders anything. Where the
// result of an operation is a NaN, its sign and payload are not defined.
//
//   1. Stored types. f16 and bf16 widen to f32 exactly. F32ToF16 and F32ToBF16 below narrow f32.
//   2. Gemm. acc = +0; acc = fma(x[k], w[k], acc) for k = 0 .. K-1; then y = acc, or y = y + acc. A bias is
//      added afterwards to the stored value: y = y + bias. In version cpu-4 rule 8 replaces this rule for
//      bf16 weights, and rule 9 for quantised ones.
//   3. Sums along a row. Term i is added to partial sum i mod 16, in ascending i. The 16 partial sums start
//      at +0. They merge as s[j] = s[j] + s[j + h] for h = 8, 4, 2, 1.
//   4. RmsNorm, of a row or of a head. The sum of x*x follows rule 3, with partial sums s = fma(x, x, s).
//      scale = 1 / sqrt(sum / dim + eps); out = (x * scale) * weight.
//   5. Exp is the polynomial below. A gated activation is act(gate) * up, where act is Silu, GeluTanh or Relu
//      below.
//   6. Rope, for the pair a = x[i], b = x[i + head_dim / 2]:
//        a' = fma(a, cos, -(b * sin)), b' = fma(b, cos, a * sin).
//   7. Attention of the row at position p, for one head. q' = q * scale. The score of token t is a chain as
//      in rule 2, over head_dim, of q'[d] and K[t][d]. Tokens 0 .. p are divided into spans of kAttentionSpan
//      tokens, and spans into tiles of kAttentionTile tokens, both aligned to position 0. Tokens after p do
//      not take part.
//      A span starts with m = -inf, o[d] = +0 and 16 sums l[j] = +0. Each of its tiles, in order, computes
//        m' = max(m, scores); c = Exp(m - m'); p[t] = Exp(score[t] - m');
//        l[j] = l[j] * c, then l[t mod 16] = l[t mod 16] + p[t] for ascending t;
//        o[d] = o[d] * c, then o[d] = fma(p[t], V[t][d], o[d]) for ascending t; m = m'.
//      The l of a span is the merge of its l[j] by rule 3. The total (M, L, O) starts as (m, l, o) of the
//      first span. Each further span, in order, is folded into it by
//        M' = max(M, m); a = Exp(M - M'); b = Exp(m - M');
//        L = fma(l, b, L * a); O[d] = fma(o[d], b, O[d] * a); M = M'.
//      out[d] = O[d] * (1 / L).
//      With a window of w tokens only the tokens max(0, p - w + 1) .. p take part. A tile or span without
//      such a token is left out. So the first span is the one that holds the first token of the window, and
//      its first tile is the one that holds this token. Tiles, spans and t mod 16 stay aligned to position 0.
//   8. Gemm with bf16 weights, version cpu-4. x is rounded by F32ToBF16. acc = +0; then for k = 0, 2, 4 ...
//        acc = fma(x[k+1], w[k+1], acc); acc = fma(x[k], w[k], acc);
//      then y = acc, or y = y + acc. If K is odd, x[K] and w[K] are +0, and the step with them takes place:
//      it makes a zero of either sign +0. All of this flushes: a subnormal operand, y included, counts as
//      the zero of its sign (DAZ), and a result that, rounded to 24 bits as if the exponent had no limits,
//      lies below 2^-126 is the zero of its sign (FTZ). FlushedFma is one step. x86 computes it with FTZ and
//      DAZ set in MXCSR. The instruction VDPBF16PS computes the two steps of a pair: it always flushes and
//      rounds to nearest even, whatever MXCSR says.
//
//   9. Quantised weights (kernels/quant_format.h). Each 32 columns are a run; h = 0, 1 are its halves, of 16
//      columns. The weights of a run are the numbers d * c[h] * q[k], in formats with an offset plus
//      m * n[h]: d and m are f32, c, n and q integers, the products exact, and the sum rounded. Version cpu-1
//      multiplies these numbers by rule 2. Version cpu-4 quantises x, too, in the same runs: QuantizeBlock
//      below turns the numbers of a run into integers i[k] and a scale e. s[h] and t[h] are the sums of
//      q[k] * i[k] and of i[k] over half h. acc = +0; then for each run, in the order of columns,
//        acc = fma(D * e, S, acc), and in formats with an offset then acc = fma(M, T, acc),
//      where D = d * c[0], S = s[0] + s[1], M = m * n[0] and T = e * (t[0] + t[1]). In formats whose halves
//      have factors of their own it is instead, with h = 0 before h = 1,
//        of 8 bits: acc = fma((d * c[h]) * s[h], e, acc),
//        of fewer:  acc = fma(d * (c[0] * s[0] + c[1] * s[1]), e, acc), and in those with an offset then
//                   acc = fma(m * n[h], e * t[h], acc).
//      Products by d, m and e are rounded, though those with a factor alone are exact. All other sums and
//      products are exact integers, below 2^24. Then y = acc, or y = y + acc. Nothing is flushed.
//  10. KV of the type q8_0 (kernels/kv_layout.h). When K or V of a token and head is stored, QuantizeBlock
//      below turns each block b of kQuantBlock dimensions into integers q[d] and a scale, which F32ToF16
//      rounds to the stored s[b]. So what is stored is a function of that token and head alone. Rule 7 reads
//      the numbers s[b] * q[d], with s[b] as f32. The product is exact, so it does not matter when, how often
//      and for how many rows it is computed. Where a number of the block was infinite or a NaN, all its
//      numbers are NaN. Where a scale exceeds f16, s[b] is infinite; its numbers are infinite, or NaN where
//      q[d] is 0. Where a scale is at most 2^-25, all numbers of the block are zeros.
//  11. KV of the type fp8, which no backend of the CPU computes with. K and V are stored by F32ToE4M3 below:
//      1 sign, 4 bits of exponent and 3 of mantissa, rounded to nearest even; no infinities, and no scale.
//
// The versions are equal but for rules 8 and 9. Versions cpu-2 and cpu-3 had another rule 9. A change to any
// rule needs a new version. KV stored under one version is never reused under another.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

namespace prefixd::numerics {

enum class Version {
  kCpu1,  // all weights multiply x as it is, by rule 2
  kCpu4,  // bf16 weights multiply x rounded to bf16, by rule 8; quantised ones integers, by rule 9
};
inline constexpr Version kLatest = Version::kCpu4;

// The text in the fingerprint.
constexpr std::string_view VersionName(Version version) {
  return version == Version::kCpu1 ? "cpu-1" : "cpu-4";
}

inline constexpr int kPartialSums = 16;
inline constexpr int kAttentionTile = 64;   // tokens; a multiple of kPartialSums
inline constexpr int kAttentionSpan = 512;  // tokens; a multiple of kAttentionTile

// Exp(x) = 2^n * P(r), where n is the integer nearest to x / ln 2 and r = x - n ln 2 lies in [-ln2/2, ln2/2].
// P = 1 + r (c1 + r (c2 + ...)) is the minimax polynomial for the relative error. A Remez exchange in 50
// digits gave it an error of 2^-28.5, before its coefficients were rounded to f32. Adding kRound
// leaves n in the low mantissa bits. Outside [kExpMin, kExpMax] the result is 0 or inf. Inside, 2^n is a
// normal number, so shifting n into the exponent bits gives 2^n.
inline constexpr float kExpMin = -87.3365f;
inline constexpr float kExpMax = 88.375f;
inline constexpr float kLog2E = 0x1.715476p+0f;
inline constexpr float kLn2High = 0x1.62e430p-1f;
inline constexpr float kLn2Low = -0x1.05c610p-29f;
inline constexpr float kRound = 0x1.8p+23f;
inline constexpr float kExp2 = 0x1.000002p-1f;
inline constexpr float kExp3 = 0x1.5553c2p-3f;
inline constexpr float kExp4 = 0x1.55515ep-5f;
inline constexpr float kExp5 = 0x1.12903ep-7f;
inline constexpr float kExp6 = 0x1.709b64p-10f;

inline float Exp(float x) {
  if (x < kExpMin) return 0.0f;
  if (x > kExpMax) return std::numeric_limits<float>::infinity();
  const float shifted = std::fma(x, kLog2E, kRound);
  const float n = shifted - kRound;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));
  float p = std::fma(kExp6, r, kExp5);
  p = std::fma(p, r, kExp4);
  p = std::fma(p, r, kExp3);
  p = std::fma(p, r, kExp2);
  p = std::fma(p, r, 1.0f);
  p = std::fma(p, r, 1.0f);
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3F800000u);
}

inline float Silu(float x) { return x / (1.0f + Exp(-x)); }

// 0.5 x (1 + tanh(u)) = x / (1 + Exp(-2u)) with u = sqrt(2 / pi) (x + 0.044715 x^3).
inline constexpr float kGelu1 = -0x1.988454p+0f;  // -2 sqrt(2 / pi)
inline constexpr float kGelu3 = -0x1.2444f2p-4f;  // -2 sqrt(2 / pi) 0.044715
inline float GeluTanh(float x) { return x / (1.0f + Exp(x * std::fma(kGelu3, x * x, kGelu1))); }

// Relu of a NaN is that NaN.
inline float Relu(float x) { return x < 0.0f ? 0.0f : x; }

// Rule 7: returns the first token that the row at `position` sees. `window` 0 means no window. Requires
// position >= 0 and window >= 0.
inline int WindowStart(int position, int window) {
  return window == 0 || position < window ? 0 : position - window + 1;
}

// Rule 3: merges 16 partial sums, in place, and returns the sum.
inline float MergePartials(float (&s)[kPartialSums]) {
  for (int half = kPartialSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) s[j] = s[j] + s[j + half];
  }
  return s[0];
}

constexpr float F32FromBF16(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }

// Rounds to nearest even. Overflow gives infinity. A NaN becomes quiet and keeps its sign and its upper
// payload bits.
constexpr uint16_t F32ToBF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

// Rule 8: a subnormal number as a zero.
inline float Flushed(float x) {
  return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
}

// Rule 8: fma under FTZ and DAZ.
inline float FlushedFma(float a, float b, float c) {
  constexpr float kMin = std::numeric_limits<float>::min();  // 2^-126
  a = Flushed(a);
  b = Flushed(b);
  c = Flushed(c);
  const float sum = std::fma(a, b, c);
  if (!(std::abs(sum) <= kMin)) return sum;
  if (std::abs(sum) < kMin) return std::copysign(0.0f, sum);
  // Subnormals have fewer bits, so that this sum may have been rounded up from one that is to be flushed. All
  // terms are below 2^-76 then: of 2^64 times as much, the sum shows which of the two it is.
  constexpr float kScale = 0x1p64f;
  const float scaled =
      std::abs(a) < std::abs(b) ? std::fma(a * kScale, b, c * kScale) : std::fma(a, b * kScale, c * kScale);
  return std::abs(scaled) < kMin * kScale ? std::copysign(0.0f, sum) : sum;
}

// Rule 9: quantises a block of n numbers and returns its scale. With a = max |x[k]|:
//   a number is infinite or a NaN:  the integers are 0 and the scale is a NaN
//   a < kQuantLeast:                the integers are 0 and the scale is 0
//   else i[k] = x[k] * (127 / a), rounded to the nearest integer, ties to even; the scale is a / 127.
// The integers are within -127 .. 127. No scale is subnormal, nor is a product with an f16 scale of weights.
inline constexpr float kQuantLeast = 0x1p-90f;
inline float QuantizeBlock(const float* x, int n, int8_t* integers) {
  float largest = 0;
  bool finite = true;
  for (int k = 0; k < n; ++k) {
    finite = finite && std::isfinite(x[k]);
    if (std::abs(x[k]) > largest) largest = std::abs(x[k]);
  }
  const bool some = finite && largest >= kQuantLeast;
  const float inverse = some ? 127.0f / largest : 0.0f;
  for (int k = 0; k < n; ++k)
    integers[k] = some ? static_cast<int8_t>(std::nearbyint(x[k] * inverse)) : int8_t{0};
  return some ? largest / 127.0f : finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
}

constexpr float F32FromF16(uint16_t h) {
  const uint32_t sign = (h & 0x8000u) << 16;
  const uint32_t exponent = (h >> 10) & 31u;
  const uint32_t mantissa = h & 0x3FFu;
  if (exponent == 31) {  // infinity, or a NaN that becomes quiet
    return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u));
  }
  if (exponent == 0) {  // zero and subnormals: exact in f32
    return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-24f) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

// Rounds, overflows and treats NaN like F32ToBF16. Results below 2^-14 are subnormal. The result is that of
// the instruction vcvtps2ph.
constexpr uint16_t F32ToF16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u | ((magnitude >> 13) & 0x3FFu));
  if (magnitude >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // 65520 and above
  if (magnitude < 0x38800000u) {  // below 2^-14: the last mantissa bit of the sum is worth 2^-24
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x3F000000u));
  }
  return static_cast<uint16_t>(sign | ((magnitude + 0xFFFu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
}

// Rule 11. What is finite and beyond 448 becomes 448, with its sign; infinities and NaN become the NaN.
// Results below 2^-6 are subnormal.
constexpr uint8_t F32ToE4M3(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80u, magnitude = bits & 0x7FFFFFFFu;
  if (magnitude >= 0x7F800000u) return static_cast<uint8_t>(sign | 0x7Fu);
  if (magnitude >= 0x43E00000u) return static_cast<uint8_t>(sign | 0x7Eu);  // 448
  if (magnitude < 0x3C800000u) {  // below 2^-6: the last mantissa bit of the sum is worth 2^-9
    const float sum = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(sum) - 0x46800000u));
  }
  return static_cast<uint8_t>(sign | ((magnitude + 0x7FFFFu + ((magnitude >> 20) & 1u) - 0x3C000000u) >> 20));
}
constexpr float F32FromE4M3(uint8_t bits) {
  const uint32_t sign = (bits & 0x80u) << 24, exponent = (bits >> 3) & 15u, mantissa = bits & 7u;
  if ((bits & 0x7Fu) == 0x7Fu) return std::bit_cast<float>(sign | 0x7FC00000u);
  if (exponent == 0)
    return std::bit_cast<float>(std::bit_cast<uint32_t>(static_cast<float>(mantissa) * 0x1p-9f) | sign);
  return std::bit_cast<float>(sign | ((exponent + 120) << 23) | (mantissa << 20));
}

}  // namespace prefixd::numerics
