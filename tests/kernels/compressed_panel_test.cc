// Compressed panels of bf16 weights: every weight comes back, and products of matrices in which some panels
// are compressed have the bits of `ref`, in both versions of the numerics.
#include "kernels/cpu/compressed_panel.h"

#include <set>
#include <thread>

#include "kernels/cpu/packed_matrix.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

uint16_t Bits(float value) { return numerics::F32ToBF16(value); }

// A number as trained and random models have them: most are near 2^-6, and few are far from it.
float Weight(Prng& prng) {
  float sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<float>(prng.Unit()) - 0.5f;
  return sum * 0x1p-5f;
}
// One whose upper byte a table that has all of these lacks, but for zeros and subnormal numbers, which the
// table may have in place of the smallest.
uint16_t Odd(Prng& prng) {
  static constexpr float kOdd[] = {0.0f, -0.0f, 1e30f, -1e30f, 1e-30f, 1e-40f, INFINITY, -INFINITY, NAN};
  return Bits(kOdd[prng.Below(std::size(kOdd))]);
}

// The panel [terms / 2][outputs][2] of rows [outputs][terms].
std::vector<uint16_t> Packed(const std::vector<uint16_t>& rows, int outputs, int terms) {
  std::vector<uint16_t> panel(rows.size());
  for (int j = 0; j < outputs; ++j) {
    for (int k = 0; k < terms; ++k)
      panel[static_cast<size_t>((k / 2 * outputs + j) * 2 + k % 2)] =
          rows[static_cast<size_t>(j * terms + k)];
  }
  return panel;
}

// Compresses rows [outputs][terms] and returns what is read back; nothing if they cannot be compressed.
std::vector<uint16_t> ThereAndBack(const std::vector<uint16_t>& rows, int outputs, int terms) {
  const std::vector<uint16_t> plain = Packed(rows, outputs, terms);
  std::vector<uint16_t> panel = plain;
  auto* const bytes = reinterpret_cast<std::byte*>(panel.data());
  if (!cpu::CompressPanel(bytes, outputs, terms)) {
    EXPECT_EQ(panel, plain);
    return {};
  }
  EXPECT_LE(cpu::CompressedBytes(bytes, outputs, terms), panel.size() * 2);
  std::vector<uint16_t> read;
  std::vector<float> row(static_cast<size_t>(terms));
  for (int j = 0; j < outputs; ++j) {
    cpu::ReadCompressedRow(bytes, outputs, terms, j, row.data());
    for (const float value : row) read.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
  }
  return read;
}

TEST(CompressedPanel, EveryWeightComesBack) {
  Prng prng(1);
  for (const int outputs : {16, 32, 64}) {
    for (const int terms : {8, 64, 68, 576, 2048}) {
      std::vector<uint16_t> rows(static_cast<size_t>(outputs) * terms);
      for (uint16_t& weight : rows) weight = Bits(Weight(prng));
      for (size_t i = 0; i < rows.size() / 64; ++i) rows[prng.Below(rows.size())] = Odd(prng);
      EXPECT_EQ(ThereAndBack(rows, outputs, terms), rows) << outputs << " x " << terms;
    }
  }
}

// All 256 lower bytes with each of 16 upper ones, wherever in the range of bf16 these lie; with zeros in
// place of one of them, too.
TEST(CompressedPanel, TheTableIsWhereTheWeightsAre) {
  constexpr int kOutputs = 32, kTerms = 256;
  Prng prng(2);
  for (const bool has_zeros : {false, true}) {
    for (int base = 0; base + 8 <= 128; base += has_zeros ? 17 : 1) {
      std::vector<uint16_t> rows(kOutputs * kTerms);
      for (size_t i = 0; i < rows.size(); ++i) {
        const unsigned upper = has_zeros && i % 8 == 0 ? 0 : static_cast<unsigned>(base) + i % 8;
        rows[i] = static_cast<uint16_t>((i / 8 % 2) << 15 | upper << 8 | (i / 16 % 256));
      }
      for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[prng.Below(i)]);
      EXPECT_EQ(ThereAndBack(rows, kOutputs, kTerms), rows) << base;
    }
  }
}

TEST(CompressedPanel, OneWeightOf64MayBeAnException) {
  constexpr int kOutputs = 16, kTerms = 128, kMost = kOutputs * kTerms / 64;
  Prng prng(3);
  for (const int odd : {kMost, kMost + 1}) {
    std::vector<uint16_t> rows(kOutputs * kTerms, Bits(0.03f));
    std::set<uint64_t> places;
    while (static_cast<int>(places.size()) < odd) places.insert(prng.Below(rows.size()));
    for (const uint64_t place : places) rows[place] = Bits(1e30f);
    const std::vector<uint16_t> read = ThereAndBack(rows, kOutputs, kTerms);
    EXPECT_EQ(read, odd == kMost ? rows : std::vector<uint16_t>()) << odd;
  }
}

// Those which are zero or subnormal, too, because the table has eight others.
TEST(CompressedPanel, ExceptionsOfEveryKindComeBack) {
  constexpr int kOutputs = 32, kTerms = 128;
  Prng prng(4);
  std::vector<uint16_t> rows(kOutputs * kTerms);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint16_t>((0x38 + i % 8) << 8 | (i & 0xFF));
  for (size_t i = 0; i < rows.size() / 64; ++i) rows[prng.Below(rows.size())] = Odd(prng);
  EXPECT_EQ(ThereAndBack(rows, kOutputs, kTerms), rows);
}

TEST(CompressedPanel, ItSaysWhatAProductReads) {
  constexpr int kOutputs = 16, kTerms = 64, kOdd = 5;
  std::vector<uint16_t> panel(kOutputs * kTerms, Bits(0.03f));
  for (size_t i = 0; i < kOdd; ++i) panel[i * 100] = Bits(1e30f);
  auto* const bytes = reinterpret_cast<std::byte*>(panel.data());
  ASSERT_TRUE(cpu::CompressPanel(bytes, kOutputs, kTerms));
  EXPECT_EQ(cpu::CompressedBytes(bytes, kOutputs, kTerms), kTerms / 4 * 96u + 32 + kOdd * 8);
}

class CompressedProducts : public CompareVersionsWithRef {
 protected:
  // Weights of which one of `odd_of` is an exception; rows 64 to 95 cannot be compressed. The first two rows
  // have special numbers.
  static std::vector<std::byte> Rows(Prng& prng, int outputs, int terms, uint64_t odd_of) {
    std::vector<std::byte> rows(static_cast<size_t>(outputs) * terms * 2);
    for (size_t i = 0; i < rows.size() / 2; ++i) {
      const auto row = static_cast<int>(i / static_cast<size_t>(terms));
      const bool random = row >= 64 && row < 96;
      const bool odd = prng.Below(odd_of) == 0;
      const uint16_t bits = random         ? static_cast<uint16_t>(prng.Below(0x7F80))
                            : !odd         ? Bits(Weight(prng))
                            : row < 2      ? Odd(prng)
                            : row % 2 == 0 ? Bits(-1e-30f)
                                           : Bits(100.0f);
      std::memcpy(rows.data() + i * 2, &bits, 2);
    }
    return rows;
  }
  static std::vector<uint8_t> CompressedPanels(const Matrix& matrix) {
    const auto& packed = static_cast<const PackedMatrix&>(matrix);
    if (packed.compressed() == nullptr) return {};
    return {packed.compressed(), packed.compressed() + packed.panels()};
  }
  // All panels but those of rows 64 to 95.
  std::vector<uint8_t> ExpectedPanels(int outputs) const {
    const int width = fast->name() == "avx2" ? 16 : 32;
    std::vector<uint8_t> compressed;
    for (int row = 0; row < outputs; row += width) compressed.push_back(row < 64 || row >= 96);
    return compressed;
  }
  void Compare(int rows, int outputs, int terms, GemmOutput output) {
    Prng prng(rows * 1000003 + outputs * 1009 + terms);
    const auto w = Rows(prng, outputs, terms, 300);
    const auto x = RandomFloats(prng, static_cast<size_t>(rows) * terms);
    const auto y = RandomFloats(prng, static_cast<size_t>(rows) * outputs);
    for (const bool latest : {true, false}) {
      Operations &a = latest ? *fast : *fast_1, &b = latest ? *ref : *ref_1;
      const auto matrix = PackOrDie(a, w, DType::kBF16, outputs, terms);
      EXPECT_EQ(CompressedPanels(*matrix), ExpectedPanels(outputs)) << outputs << " x " << terms;
      EXPECT_LT(matrix->read_bytes(), matrix->bytes());
      std::vector<float> want = y, got = y;
      b.Gemm(*PackOrDie(b, w, DType::kBF16, outputs, terms), x.data(), rows, want.data(), output);
      a.Gemm(*matrix, x.data(), rows, got.data(), output);
      ASSERT_TRUE(SameBits(got, want)) << numerics::VersionName(a.version()) << " rows " << rows
                                       << " outputs " << outputs << " terms " << terms;
    }
  }
};

TEST_P(CompressedProducts, EveryRowCount) {
  std::vector<int> row_counts(17);
  std::iota(row_counts.begin(), row_counts.end(), 1);
  row_counts.insert(row_counts.end(), {24, 25, 36, 47, 49, 64, 67});
  if (testing_support::kSanitized) row_counts = {1, 2, 5, 12, 13, 31, 49};
  for (const int rows : row_counts) {
    for (const int outputs : {16, 33, 130}) {
      for (const int terms : {64, 68, 260}) {
        Compare(rows, outputs, terms, rows % 2 == 0 ? GemmOutput::kStore : GemmOutput::kAccumulate);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(CompressedProducts, LongChains) {
  for (const int rows : {1, 4, 12, 30, 50, 97}) {
    Compare(rows, 34, 2052, GemmOutput::kStore);
    if (!testing_support::kSanitized) Compare(rows, 70, 4100, GemmOutput::kAccumulate);
    if (HasFatalFailure()) return;
  }
  if (!testing_support::kSanitized) Compare(505, 34, 2052, GemmOutput::kAccumulate);
}

// The last chunk of rows has few blocks.
TEST_P(CompressedProducts, ManyRows) { Compare(1176, 32, 64, GemmOutput::kStore); }

TEST_P(CompressedProducts, OtherMatricesStayAsTheyAre) {
  Prng prng(7);
  for (const int terms : {60, 62, 63, 65, 66, 70}) {
    const auto matrix = PackOrDie(*fast, Rows(prng, 40, terms, 1000), DType::kBF16, 40, terms);
    EXPECT_TRUE(CompressedPanels(*matrix).empty()) << terms;
    EXPECT_EQ(matrix->read_bytes(), matrix->bytes());
  }
  const auto halves = PackOrDie(*fast, RandomElements(prng, DType::kF16, 40 * 64), DType::kF16, 40, 64);
  EXPECT_TRUE(CompressedPanels(*halves).empty());
}

TEST_P(CompressedProducts, RowsOfATable) {
  constexpr int kVocabulary = 77, kCols = 576;
  Prng prng(5);
  const auto w = Rows(prng, kVocabulary, kCols, 100);
  const auto table = PackOrDie(*fast, w, DType::kBF16, kVocabulary, kCols);
  ASSERT_EQ(CompressedPanels(*table), ExpectedPanels(kVocabulary));
  TestBatch batch(16, prng);
  batch.Add(0, kVocabulary, 16);
  std::iota(batch.tokens().begin(), batch.tokens().end(), 0);
  const BatchView view = batch.view();
  std::vector<float> want(kVocabulary * kCols), got(kVocabulary * kCols);
  ref->BeginStep(view);
  ref->Embed(*PackOrDie(*ref, w, DType::kBF16, kVocabulary, kCols), want.data());
  fast->BeginStep(view);
  fast->Embed(*table, got.data());
  EXPECT_TRUE(SameBits(got, want));
}

// Two threads write rows of the same panels; the one that writes the last row of a panel compresses it.
TEST_P(CompressedProducts, APanelIsCompressedWhenItIsWhole) {
  constexpr int kRows = 64, kCols = 128;
  Prng prng(6);
  const auto w = Rows(prng, kRows, kCols, 1000);
  const auto matrix = *fast->AllocateMatrix(kRows, kCols, DType::kBF16);
  const auto upload = [&](int first, int step) {
    for (int row = first; row < kRows; row += step) {
      fast->UploadRows(*matrix, row,
                       {w.data() + static_cast<size_t>(row) * kCols * 2, DType::kBF16, 1, kCols});
    }
  };
  upload(3, 4);
  EXPECT_TRUE(CompressedPanels(*matrix).empty());
  std::thread other([&] { upload(1, 4); });
  upload(0, 2);
  other.join();
  EXPECT_EQ(CompressedPanels(*matrix), ExpectedPanels(kRows));
  const auto x = RandomFloats(prng, kCols);
  std::vector<float> got(kRows), want(kRows);
  fast->Gemm(*matrix, x.data(), 1, got.data(), GemmOutput::kStore);
  ref->Gemm(*PackOrDie(*ref, w, DType::kBF16, kRows, kCols), x.data(), 1, want.data(), GemmOutput::kStore);
  EXPECT_TRUE(SameBits(got, want));
  EXPECT_DEATH(upload(0, kRows), "was written before");
}

std::vector<std::tuple<std::string, int>> Backends() {
  auto backends = FastBackends();
  backends.emplace_back("avx512bf16", 2);
  return backends;
}
INSTANTIATE_TEST_SUITE_P(Cpu, CompressedProducts, testing::ValuesIn(Backends()), ParamName);

}  // namespace
}  // namespace prefixd
