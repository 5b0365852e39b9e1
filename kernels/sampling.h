// Sampling: which token is drawn from a row of logits. This is the definition for every backend: none of its
// steps depends on the order in which tokens are visited, so that a device may visit them in any order and
// draw the same tokens. Pure functions; any thread.
//
// Definition. x[i] is the logit of token i; a NaN counts as -inf, and -0 equals +0. All arithmetic is IEEE,
// rounded to nearest even, without contraction to fused operations.
//
//   1. Tokens that are not allowed do not take part. Banned tokens do not, either; if no token is left, the
//      ban is ignored.
//   2. `best` is the token with the largest logit m; of equals the one with the lowest id. With temperature
//      <= 0 or top_k 1 it is drawn.
//   3. The weight of a token is w[i] = WeightOf((x[i] - m) / temperature), in f32; that of `best` is 1.
//   4. min_p keeps `best` and the tokens with w[i] > 0 and w[i] >= min_p.
//   5. top_k > 0 keeps the k likeliest of them. Likelier is the token with the larger logit; of equals the
//      one with the lower id.
//   6. top_p < 1: q[i] is w[i] in units of 2^-40, rounded down, and Q the sum of q over the tokens kept so
//      far. The fewest likeliest tokens are kept whose q sum to at least top_p * Q, computed in f64 and
//      rounded up to an integer, but to at least 1. Sums of integers are exact in any order.
//   7. Tokens are in blocks: block b has those with i / kSampleBlock = b. Its mass is the sum of q[i] of its
//      tokens that are kept. Block b has the uniform number v[b] = UniformAt(seed, position, b, kOfBlock).
//      Of the blocks with a mass, the one with the smallest ExponentialOf(v[b]) / mass[b] wins, in f64; of
//      equals the lowest.
//   8. Token i has the uniform number u[i] = UniformAt(seed, position, i, kOfToken). Of the tokens of that
//      block that are kept, the one with the smallest ExponentialOf(u[i]) / w[i] is drawn, in f64; of equals
//      the one with the lowest id.
//
// Steps 7 and 8 are the Gumbel-max trick (Gumbel, "Statistical Theory of Extreme Values", 1954): -ln of an
// exponential variable has the Gumbel distribution, so the smallest E / w is the largest ln w + Gumbel. In
// this form it needs one logarithm, and only for few tokens: E >= u, so a token of large u / w cannot win.
// The block first, since most blocks are ruled out by their largest logit: then neither the weights nor the
// random numbers of their tokens are computed. A token of a weight below 2^-40 is drawn with its block alone.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/status.h"
#include "base/types.h"
#include "kernels/sample_loops.h"

namespace prefixd {

struct DrawParams {
  float temperature = 1.0f;
  float top_p = 1.0f;     // 1 or more, and NaN: off
  int top_k = 0;          // 0 or less: off
  float min_p = 0.0f;     // 0: off
  uint64_t seed = 0;      // of the sequence
  uint32_t position = 0;  // the index that the token will have in its sequence
};

struct LogitBias {
  TokenId token;
  float bias;  // added to its logit
};

// A token of the prompt or the answer.
struct TokenCount {
  TokenId token;
  int generated;  // occurrences in the answer; 0: only the prompt has it
};

// What a request changes in the logits before the draw (kernels/logit_adjustment.h).
struct LogitChanges {
  std::span<const LogitBias> bias;  // each token at most once
  float repetition_penalty = 1.0f;
  float frequency_penalty = 0.0f;
  float presence_penalty = 0.0f;
  std::span<const TokenCount> counts;  // each token at most once; may be empty without penalties
};

// A row of a step from which a token is drawn. The owner of the row keeps what it points to alive and
// unchanged during the draw.
struct SampleRow {
  const float* logits = nullptr;  // [vocab], host memory; stays unchanged
  DrawParams params;
  LogitChanges changes;
  std::span<const TokenId> banned;  // ids outside the vocabulary are ignored
  // Bit i % 32 of word i / 32: whether token i is allowed. Empty: every token is. Otherwise it has a bit for
  // each token of the vocabulary, and some token is allowed.
  std::span<const uint32_t> allowed;
  TokenId token = -1;  // the result
};

// Working memory of a draw. One thread at a time uses it. Its size is fixed by the largest vocabulary: some 8
// bytes per token. It has a copy of the logits, for rows that change them, and room for a quarter of the
// tokens as candidates. If more are candidates, as with flat logits and top_p, the draw visits all tokens
// once more. It does not store weights: every visit computes them.
class DrawScratch {
 public:
  // The draw does not depend on the instruction set of the loops.
  explicit DrawScratch(const SampleLoops& with = PlainSampleLoops()) : loops_(&with) {}

  // Returns the bytes that Reserve allocates. Requires vocab > 0.
  static size_t Bytes(int vocab);
  // Makes room for draws of up to `vocab` tokens; draws allocate nothing. Returns kResourceExhausted, with
  // the size, when the memory is not available; the scratch is then as before.
  Status Reserve(int vocab);

 private:
  friend class TokenDraw;
  struct Candidate {
    uint32_t key;  // ordered as the logits
    TokenId id;
    float weight;
  };
  const SampleLoops* loops_;
  size_t vocab_ = 0;
  std::unique_ptr<std::byte[]> memory_;
  // Arrays in memory_.
  float* changed_ = nullptr;     // the logits after LogitChanges and bans
  float* largest_ = nullptr;     // logit of each block
  float* sorted_ = nullptr;      // as many
  Candidate* kept_ = nullptr;    // room for a quarter of the tokens and a block
  Candidate* equals_ = nullptr;  // room for a sixteenth of the tokens and a block
};

// Adjusts the logits of a row, in a copy, and draws its token. Requires vocab > 0, that the ids of
// row->changes are in the vocabulary, what SampleRow says of `allowed`, and that the scratch has room for the
// vocabulary.
void DrawRow(SampleRow& row, int vocab, DrawScratch& scratch);

// Draws a token from logits, [vocab], as they are. Requires that they are not empty and that the scratch has
// room for them.
TokenId DrawToken(const DrawParams& params, std::span<const float> logits, std::span<const TokenId> banned,
                  DrawScratch& scratch);

namespace sampling {

// Philox4x32 with 10 rounds: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3",
// 2011.
inline constexpr int kPhiloxRounds = 10;
inline constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u;
inline constexpr uint32_t kPhiloxMultiplier1 = 0xCD9E8D57u;
inline constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u;
inline constexpr uint32_t kPhiloxWeyl1 = 0xBB67AE85u;
using PhiloxWords = std::array<uint32_t, 4>;

constexpr PhiloxWords Philox(PhiloxWords c, uint64_t key) {
  uint32_t key0 = static_cast<uint32_t>(key), key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * c[0];
    const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * c[2];
    c = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return c;
}

// Whose random numbers: the value is the first of two places in the counter of Philox.
enum class Uniform : uint32_t { kOfToken = 0, kOfBlock = 2 };

// The random word number `half` of a token or block. Four neighbours share a block of Philox: the key is the
// seed, the counter (index / 4, position, of + half, 0), and the index has the word index mod 4.
constexpr uint32_t WordAt(uint64_t seed, uint32_t position, uint32_t index, uint32_t half, Uniform of) {
  return Philox({index / 4, position, static_cast<uint32_t>(of) + half, 0}, seed)[index % 4];
}

// Returns (2 n + 1) 2^-53, where the 52 bits of n are word 0 and the upper 20 bits of word 1. It is exact and
// in (0, 1), and not below word 0 times 2^-32.
constexpr double UniformAt(uint64_t seed, uint32_t position, uint32_t index, Uniform of) {
  const uint64_t n = static_cast<uint64_t>(WordAt(seed, position, index, 0, of)) << 20 |
                     WordAt(seed, position, index, 1, of) >> 12;
  return static_cast<double>(2 * n + 1) * 0x1.0p-53;
}

// Returns -ln(1 - u), for 2^-53 <= u <= 1 - 2^-53, with a relative error below 2^-50. 1 - u = m 2^e with m in
// [2/3, 4/3), and ln m = 2 atanh(s) with s = (m - 1) / (m + 1), so |s| <= 1/5. For u <= 1/3, m - 1 = -u
// without rounding.
constexpr double ExponentialOf(double u) {
  int exponent = 0;
  double from_one = -u;  // m - 1
  if (u > 1.0 / 3) {
    const uint64_t bits = std::bit_cast<uint64_t>(1 - u);
    exponent = static_cast<int>(bits >> 52) - 1023;
    double m = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull);  // in [1, 2)
    if (m >= 4.0 / 3) {
      m *= 0.5;
      ++exponent;
    }
    from_one = m - 1;
  }
  const double s = from_one / (2 + from_one);
  const double square = s * s;
  double sum = 0;
  for (int k = 11; k >= 0; --k) sum = sum * square + 1.0 / (2 * k + 1);
  return -(2 * s * sum) - static_cast<double>(exponent) * 0x1.62e42fefa39efp-1;
}

// Returns e^x for -87 <= x <= 0, with a relative error below 2e-7, and 0 for all others and NaN. Cody-Waite
// reduction by ln 2, and a Taylor polynomial of degree 7 on [-ln2/2, ln2/2]. It has no branches, so that the
// compiler can vectorise it.
constexpr float WeightOf(float from) {
  const float bounded = from >= -87.0f ? from : -87.0f;
  const float x = bounded <= 0.0f ? bounded : 0.0f;
  const float scaled = x * 1.44269504088896341f;
  // 1.5 * 2^23: the rounding to an integer happens in this addition
  const float shifted = scaled + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const int32_t exponent = static_cast<int32_t>(n) + 127;
  const float result = p * std::bit_cast<float>(exponent << 23);
  return from == x ? result : 0.0f;
}

// A weight in units of 2^-40.
constexpr uint64_t FixedPoint(float weight) {
  return static_cast<uint64_t>(static_cast<int64_t>(weight * 0x1.0p+40f));
}

// The weight whose units these are.
constexpr double FromFixedPoint(uint64_t q) { return static_cast<double>(q) * 0x1.0p-40; }

// Returns the sum of q that top_p asks for.
constexpr uint64_t SumForTopP(float top_p, uint64_t total) {
  const double share = static_cast<double>(total) * static_cast<double>(top_p);
  if (!(share > 1)) return 1;
  const uint64_t whole = static_cast<uint64_t>(share);
  return static_cast<double>(whole) < share ? whole + 1 : whole;
}

}  // namespace sampling
}  // namespace prefixd
