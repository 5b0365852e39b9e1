#include "kernels/cpu/compressed_panel.h"

#include <emmintrin.h>

#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "kernels/numerics.h"

namespace prefixd::cpu {
namespace {

constexpr int kLanes = 16, kRun = 8;    // outputs; weights of two terms that lie side by side in a step
constexpr int kUppers = 128;            // upper bytes without the sign
constexpr int kInTable = 8;             // of these
constexpr size_t kExceptionShare = 64;  // one weight of so many
constexpr size_t kCounted = 2048;       // about so many weights choose the table; all of a small panel

// Upper bytes without the sign: `base` and the seven after it, but zero in place of `base` where has_zero.
struct Table {
  uint8_t base;
  bool has_zero;

  uint8_t Upper(int code) const {
    const int upper = code % kInTable == 0 && has_zero ? 0 : base + code % kInTable;
    return static_cast<uint8_t>(code / kInTable << 7 | upper);
  }
};

// The table that leaves the fewest exceptions among the weights that are counted.
Table ChooseTable(const uint16_t* weights, size_t n) {
  std::array<uint32_t, kUppers> counts{};
  const size_t distance = n / kCounted | 1;  // odd, so that all of 16 or 32 outputs are counted
  for (size_t i = 0; i < n; i += distance) ++counts[(weights[i] >> 8) & 0x7F];
  Table best = {0, false};
  uint32_t most = 0;
  for (int base = 0; base + kInTable <= kUppers; ++base) {
    uint32_t others = 0;
    for (int i = 1; i < kInTable; ++i) others += counts[static_cast<size_t>(base + i)];
    for (const bool has_zero : {false, true}) {
      const uint32_t found = others + counts[has_zero ? 0 : static_cast<size_t>(base)];
      if (found > most) {
        most = found;
        best = {static_cast<uint8_t>(base), has_zero};
      }
    }
  }
  return best;
}

// The lower and upper bytes of eight weights at `first` and eight at `last`.
struct Bytes {
  __m128i lower, upper;
};
Bytes ReadBytes(const uint16_t* first, const uint16_t* last) {
  const __m128i a = _mm_load_si128(reinterpret_cast<const __m128i*>(first));
  const __m128i b = _mm_load_si128(reinterpret_cast<const __m128i*>(last));
  const __m128i low = _mm_set1_epi16(0xFF);
  return {_mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low)),
          _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8))};
}

// The codes of upper bytes without their signs, wrong where the table lacks one.
__m128i MagnitudeCodes(__m128i magnitude, Table table) {
  const __m128i base = _mm_set1_epi8(static_cast<char>(table.base));
  return _mm_min_epu8(_mm_subs_epu8(magnitude, base), _mm_set1_epi8(kInTable - 1));
}

// The same with the signs.
__m128i Encode(__m128i upper, Table table) {
  const __m128i sign = _mm_set1_epi8(static_cast<char>(0x80));
  return _mm_or_si128(MagnitudeCodes(_mm_andnot_si128(sign, upper), table),
                      _mm_srli_epi16(_mm_and_si128(upper, sign), 4));
}

// Which of 16 upper bytes the table lacks, a bit for each.
unsigned Missing(__m128i upper, Table table) {
  const __m128i magnitude = _mm_and_si128(upper, _mm_set1_epi8(0x7F));
  const __m128i code = MagnitudeCodes(magnitude, table);
  const __m128i first = _mm_cmpeq_epi8(code, _mm_setzero_si128());
  const __m128i is_zero = _mm_and_si128(first, _mm_set1_epi8(table.has_zero ? -1 : 0));
  const __m128i base = _mm_set1_epi8(static_cast<char>(table.base));
  const __m128i decoded = _mm_andnot_si128(is_zero, _mm_add_epi8(code, base));
  return ~static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(decoded, magnitude))) & 0xFFFFu;
}

// Appends the exceptions of a panel. Returns false if there are too many.
bool FindExceptions(const uint16_t* weights, size_t n, Table table, std::vector<CompressedException>* found) {
  for (size_t i = 0; i < n; i += 2 * kRun) {
    unsigned missing = Missing(ReadBytes(weights + i, weights + i + kRun).upper, table);
    for (; missing != 0; missing &= missing - 1) {
      const size_t place = i + static_cast<size_t>(std::countr_zero(missing));
      if (found->size() == n / kExceptionShare) return false;
      found->push_back({static_cast<uint32_t>(place), weights[place], 0});
    }
  }
  return true;
}

// Compresses a step: weights [2][outputs][2].
void CompressStep(const uint16_t* weights, int outputs, Table table, std::byte* to) {
  constexpr int kQuarters = 4;
  constexpr size_t kQuarter = 2 * kRun;  // weights of 4 outputs
  const auto pair = static_cast<size_t>(outputs) * 2;
  std::byte* lowers = to + static_cast<size_t>(outputs / kLanes) * kCompressedCodes;
  for (int v = 0; v < outputs / kLanes; ++v, weights += 2 * kLanes) {
    __m128i codes[kQuarters];
    for (size_t q = 0; q < kQuarters; ++q) {
      const Bytes bytes = ReadBytes(weights + q * kRun, weights + q * kRun + pair);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(lowers), bytes.lower);
      codes[q] = Encode(bytes.upper, table);
      lowers += kQuarter;
    }
    for (size_t q = 0; q < kQuarters / 2; ++q) {
      const __m128i upper_half = _mm_slli_epi16(codes[q + kQuarters / 2], 4);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_or_si128(codes[q], upper_half));
      to += kQuarter;
    }
  }
}

// The bytes of the steps of so many terms.
size_t StepsBytes(int outputs, int terms) {
  return static_cast<size_t>(terms / kCompressedTerms) * static_cast<size_t>(outputs / kLanes) *
         (kCompressedCodes + kCompressedLowers);
}

uint32_t CountOf(const std::byte* header) {
  uint32_t count;
  std::memcpy(&count, header + kCompressedTable, sizeof count);
  return count;
}

}  // namespace

bool CompressPanel(std::byte* panel, int outputs, int terms) {
  PREFIXD_CHECK(outputs > 0 && outputs % kLanes == 0 && outputs <= kMostCompressedOutputs &&
                terms % kCompressedTerms == 0 && terms >= 2 * kCompressedTerms)
      << outputs << " x " << terms;
  const auto* const weights = reinterpret_cast<const uint16_t*>(panel);
  const size_t n = static_cast<size_t>(outputs) * static_cast<size_t>(terms);
  const Table table = ChooseTable(weights, n);
  std::vector<CompressedException> exceptions;
  if (!FindExceptions(weights, n, table, &exceptions)) return false;

  // A step is copied before it is written: it lies over the weights of this step and those before it.
  alignas(16) uint16_t step[kCompressedTerms * kMostCompressedOutputs];
  const size_t of_step = static_cast<size_t>(outputs) * kCompressedTerms;
  std::byte* to = panel;
  for (size_t i = 0; i < n; i += of_step, to += StepsBytes(outputs, kCompressedTerms)) {
    std::memcpy(step, weights + i, of_step * sizeof *weights);
    CompressStep(step, outputs, table, to);
  }
  for (int code = 0; code < 2 * kInTable; ++code) to[code] = std::byte{table.Upper(code)};
  const auto count = static_cast<uint32_t>(exceptions.size());
  std::memcpy(to + kCompressedTable, &count, sizeof count);
  if (count > 0) std::memcpy(to + kCompressedHeader, exceptions.data(), count * sizeof(CompressedException));
  return true;
}

void ReadCompressedRow(const std::byte* panel, int outputs, int terms, int output, float* row) {
  const int vectors = outputs / kLanes, vector = output / kLanes, lane = output % kLanes;
  const std::byte* const header = panel + StepsBytes(outputs, terms);
  for (int k = 0; k < terms; ++k) {
    const std::byte* const step = panel + StepsBytes(outputs, k / kCompressedTerms * kCompressedTerms);
    const std::byte* const codes = step + static_cast<size_t>(vector) * kCompressedCodes;
    const std::byte* const lowers = step + static_cast<size_t>(vectors) * kCompressedCodes +
                                    static_cast<size_t>(vector) * kCompressedLowers;
    const int i = lane / 4 * (2 * kRun) + k % kCompressedTerms / 2 * kRun + lane % 4 * 2 + k % 2;
    const auto both = std::to_integer<unsigned>(codes[i % static_cast<int>(kCompressedCodes)]);
    const unsigned code = i < static_cast<int>(kCompressedCodes) ? both & 0xF : both >> 4;
    const unsigned bits = std::to_integer<unsigned>(header[code]) << 8 | std::to_integer<unsigned>(lowers[i]);
    row[k] = numerics::F32FromBF16(static_cast<uint16_t>(bits));
  }
  const uint32_t count = CountOf(header);
  for (uint32_t i = 0; i < count; ++i) {
    CompressedException exception;
    std::memcpy(&exception, header + kCompressedHeader + i * sizeof exception, sizeof exception);
    const int at = static_cast<int>(exception.place / 2);  // [pair][output]
    if (at % outputs == output)
      row[at / outputs * 2 + static_cast<int>(exception.place % 2)] = numerics::F32FromBF16(exception.value);
  }
}

size_t CompressedBytes(const std::byte* panel, int outputs, int terms) {
  const size_t steps = StepsBytes(outputs, terms);
  return steps + kCompressedHeader + CountOf(panel + steps) * sizeof(CompressedException);
}

}  // namespace prefixd::cpu
