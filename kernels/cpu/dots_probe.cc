#include "kernels/cpu/dots_probe.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/prng.h"
#include "kernels/numerics.h"

namespace prefixd::cpu {
namespace {

constexpr int kRounds = 600;
constexpr int kTimedTerms = 256;
constexpr int kTimedRuns = 40;

// What the numbers of a round are.
enum class Kind { kAnyBits, kOneSize, kCancelling, kSmallest, kEdge, kLargest, kMixed, kCount };

// Random sign and mantissa. The exponent is one of the four from 2^first on.
uint16_t OfSize(int first, uint64_t bits) {
  const uint64_t exponent = static_cast<uint64_t>(127 + first) + (bits >> 32) % 4;
  return static_cast<uint16_t>((bits & 0x807F) | exponent << 7);
}

// A bf16 number of term `term` of a sum.
uint16_t Number(Kind kind, size_t term, Prng& prng) {
  const uint64_t bits = prng.Next();
  switch (kind) {
    case Kind::kAnyBits:
      return static_cast<uint16_t>(bits);
    case Kind::kSmallest:
      return OfSize(-65, bits);
    case Kind::kEdge:  // the first two products are +-2^-126 and 0, the others about its last bit
      if (term < 2) return static_cast<uint16_t>(term == 0 ? (bits & 0x8000) | (127 - 63) << 7 : 0);
      return OfSize(-77, bits);
    case Kind::kLargest:
      return OfSize(61, bits);
    case Kind::kMixed:
      switch ((bits >> 48) % 16) {
        case 0:
          return static_cast<uint16_t>(bits & 0x8000);  // zero
        case 1:
        case 2:
          return static_cast<uint16_t>(bits & 0x807F);  // subnormal
        case 3:                                         // infinity or NaN, now and then
          return static_cast<uint16_t>(bits >> 40 & 7 ? bits & 0x807F : (bits & 0x8001) | 0x7F80);
        case 4:
        case 5:
          return OfSize(-77, bits);
        case 6:
        case 7:
        case 8:
          return OfSize(-65, bits);
        case 9:
          return OfSize(60, bits);
        default:
          break;
      }
      [[fallthrough]];
    case Kind::kOneSize:
    case Kind::kCancelling:
    case Kind::kCount:
      break;
  }
  return OfSize(-2, bits);
}

// The operands of one tile: weights [terms / 2][panel][2], and x [rows][terms].
struct Operands {
  int terms;
  std::vector<uint16_t> weights;
  std::vector<float> x;
};

Operands MakeOperands(Kind kind, int rows, int panel, int terms, Prng& prng) {
  Operands made{terms, std::vector<uint16_t>(static_cast<size_t>(terms) * panel),
                std::vector<float>(static_cast<size_t>(terms) * rows)};
  for (size_t i = 0; i < made.weights.size(); ++i)
    made.weights[i] = Number(kind, i / (2 * static_cast<size_t>(panel)) * 2 + i % 2, prng);
  for (size_t i = 0; i < made.x.size(); ++i)
    made.x[i] = numerics::F32FromBF16(Number(kind, i % static_cast<size_t>(terms), prng));
  if (kind != Kind::kCancelling) return made;
  // The second half of the terms takes away what the first half adds, but for the last bit of some products.
  const size_t half = made.weights.size() / 2;
  for (size_t i = 0; i < half; ++i)
    made.weights[half + i] = static_cast<uint16_t>((made.weights[i] ^ 0x8000) + (prng.Below(8) == 0));
  for (size_t i = 0; i < made.x.size(); ++i) {
    const size_t k = i % static_cast<size_t>(terms);
    if (k >= static_cast<size_t>(terms) / 2) made.x[i] = made.x[i - static_cast<size_t>(terms) / 2];
  }
  return made;
}

// The product of one tile by one table. `operands` must outlive it.
class TileProduct {
 public:
  TileProduct(const Ops& ops, const Operands& operands)
      : ops_(ops),
        operands_(operands),
        packed_(operands.x.size()),
        y_(static_cast<size_t>(ops.tile_rows) * static_cast<size_t>(ops.panel)) {
    ops.pack_rows(Chain::kPairs, operands.x.data(), ops.tile_rows, operands.terms, packed_.data());
  }
  const std::vector<float>& Compute() {
    ops_.gemm({.weights = operands_.weights.data(),
               .dtype = DType::kBF16,
               .outputs = ops_.panel,
               .terms = operands_.terms,
               .x = packed_.data(),
               .rows = ops_.tile_rows,
               .block_rows = ops_.tile_rows,
               .y = y_.data(),
               .accumulate = false,
               .chain = Chain::kPairs},
              0, 1, 0, 1);
    return y_;
  }
  double Seconds() {
    const auto start = std::chrono::steady_clock::now();
    Compute();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  const Ops& ops_;
  const Operands& operands_;
  std::vector<float> packed_;
  std::vector<float> y_;  // [tile_rows][panel]
};

bool SameBits(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

void CheckTables(const Ops& dots, const Ops& fma) {
  PREFIXD_CHECK(dots.panel == fma.panel && dots.tile_rows == fma.tile_rows)
      << "panels of " << dots.panel << " and " << fma.panel << ", tiles of " << dots.tile_rows << " and "
      << fma.tile_rows;
}

}  // namespace

DotsComparison CompareDots(const Ops& dots, const Ops& fma) {
  CheckTables(dots, fma);
  constexpr int kKinds = static_cast<int>(Kind::kCount);
  DotsComparison comparison;
  Prng prng(16);
  for (int round = 0; round < kRounds; ++round) {
    const int terms = 4 << round / kKinds % 3;
    const Operands operands =
        MakeOperands(static_cast<Kind>(round % kKinds), fma.tile_rows, fma.panel, terms, prng);
    TileProduct got(dots, operands), want(fma, operands);
    const std::vector<float>& a = got.Compute();
    const std::vector<float>& b = want.Compute();
    comparison.sums += static_cast<int64_t>(a.size());
    for (size_t i = 0; i < a.size(); ++i) comparison.different += !SameBits(a[i], b[i]);
  }
  return comparison;
}

double TimeOfDots(const Ops& dots, const Ops& fma) {
  CheckTables(dots, fma);
  Prng prng(17);
  const Operands operands = MakeOperands(Kind::kOneSize, fma.tile_rows, fma.panel, kTimedTerms, prng);
  TileProduct by_dots(dots, operands), by_fma(fma, operands);
  double dots_best = by_dots.Seconds(), fma_best = by_fma.Seconds();
  for (int run = 0; run < kTimedRuns; ++run) {
    dots_best = std::min(dots_best, by_dots.Seconds());
    fma_best = std::min(fma_best, by_fma.Seconds());
  }
  return dots_best / std::max(fma_best, 1e-9);
}

std::string WrongBits(const DotsComparison& comparison) {
  if (comparison.different == 0) return "";
  return "its bf16 instruction differs from fma in " + std::to_string(comparison.different) + " of " +
         std::to_string(comparison.sums) + " sums";
}

std::string TooSlow(double time_of_dots) {
  if (time_of_dots < 1) return "";
  return "its bf16 instruction takes " + std::to_string(std::lround(std::min(time_of_dots, 1e4) * 100)) +
         " % of the time of fma";
}

}  // namespace prefixd::cpu
