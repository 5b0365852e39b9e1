// Compares GEMM and Embed of the fast backends with ref, bit for bit.
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

class GemmTest : public CompareWithRef {
 protected:
  // y starts with random values: kAccumulate must add to them and kStore must overwrite them.
  void Compare(DType dtype, int rows, int outputs, int terms, GemmOutput output) {
    Prng prng(rows * 1000003 + outputs * 1009 + terms);
    const auto w = RandomElements(prng, dtype, static_cast<size_t>(outputs) * terms);
    const auto x = RandomFloats(prng, static_cast<size_t>(rows) * terms);
    std::vector<float> want = RandomFloats(prng, static_cast<size_t>(rows) * outputs);
    std::vector<float> got = want;
    ref->Gemm(*PackOrDie(*ref, w, dtype, outputs, terms), x.data(), rows, want.data(), output);
    fast->Gemm(*PackOrDie(*fast, w, dtype, outputs, terms), x.data(), rows, got.data(), output);
    ASSERT_TRUE(SameBits(got, want)) << DTypeName(dtype) << " rows " << rows << " outputs " << outputs
                                     << " terms " << terms
                                     << (output == GemmOutput::kStore ? " store" : " accumulate");
  }
};

TEST_P(GemmTest, EveryRowCountAtEveryTail) {
  std::vector<int> row_counts(17);
  std::iota(row_counts.begin(), row_counts.end(), 1);
  row_counts.insert(row_counts.end(), {24, 25, 64, 67});
  for (const int rows : row_counts) {
    for (const int outputs : {1, 15, 16, 17, 31, 32, 33, 63, 65, 96, 130, 161}) {
      for (const int terms : {1, 2, 17, 33}) {
        for (const DType dtype : kAllDTypes) Compare(dtype, rows, outputs, terms, GemmOutput::kStore);
        Compare(DType::kBF16, rows, outputs, terms, GemmOutput::kAccumulate);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(GemmTest, SizesThatAreSplitAmongThreads) {
  for (const int rows : {1, 2, 5, 8, 13, 70}) {
    for (const DType dtype : kAllDTypes) {
      Compare(dtype, rows, 700, 192, GemmOutput::kStore);
      Compare(dtype, rows, 333, 401, GemmOutput::kAccumulate);
    }
  }
}

// With one term and x = 1 each output is one widened weight. Tests all 65536 of them, including NaNs and
// infinities.
TEST_P(GemmTest, EveryHalfPrecisionWeight) {
  std::vector<std::byte> all(0x10000 * 2);
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<uint16_t>(h);
    std::memcpy(&all[h * 2], &half, 2);
  }
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    const float one = 1.0f;
    std::vector<float> want(0x10000), got(0x10000);
    ref->Gemm(*PackOrDie(*ref, all, dtype, 0x10000, 1), &one, 1, want.data(), GemmOutput::kStore);
    fast->Gemm(*PackOrDie(*fast, all, dtype, 0x10000, 1), &one, 1, got.data(), GemmOutput::kStore);
    EXPECT_TRUE(SameBits(got, want)) << DTypeName(dtype);
    EXPECT_EQ(got[0x3F80], dtype == DType::kBF16 ? 1.0f : 1.875f);
  }
}

// Invariant 1 of backend.h: a row alone gives the same bits as among other rows.
TEST_P(GemmTest, ARowDoesNotDependOnItsNeighbours) {
  constexpr int kRows = 40, kOutputs = 210, kTerms = 75;
  Prng prng(11);
  const auto w = RandomElements(prng, DType::kBF16, kOutputs * kTerms);
  const auto x = RandomFloats(prng, kRows * kTerms);
  const auto matrix = PackOrDie(*fast, w, DType::kBF16, kOutputs, kTerms);
  std::vector<float> together(kRows * kOutputs);
  fast->Gemm(*matrix, x.data(), kRows, together.data(), GemmOutput::kStore);
  for (int first = 0; first < kRows;) {
    const int rows = std::min(kRows - first, 1 + first % 15);
    std::vector<float> alone(rows * kOutputs);
    fast->Gemm(*matrix, &x[first * kTerms], rows, alone.data(), GemmOutput::kStore);
    const std::vector<float> part(&together[first * kOutputs], &together[(first + rows) * kOutputs]);
    ASSERT_TRUE(SameBits(alone, part)) << rows << " rows from " << first;
    first += rows;
  }
}

TEST_P(GemmTest, StackedSourcesAreOneMatrix) {
  Prng prng(12);
  const int heights[] = {5, 33, 64};
  std::vector<std::vector<std::byte>> parts;
  std::vector<MatrixSource> sources;
  std::vector<std::byte> stacked;
  for (const int height : heights) {
    parts.push_back(RandomElements(prng, DType::kF16, height * 37));
    stacked.insert(stacked.end(), parts.back().begin(), parts.back().end());
  }
  for (int i = 0; i < 3; ++i) sources.push_back({parts[i].data(), DType::kF16, heights[i], 37});
  auto matrix = fast->Pack(sources);
  ASSERT_TRUE(matrix.ok()) << matrix.status().ToString();
  EXPECT_EQ((*matrix)->rows(), 102);
  EXPECT_GE((*matrix)->bytes(), 102u * 37 * 2);
  const auto x = RandomFloats(prng, 3 * 37);
  std::vector<float> got(3 * 102), want(3 * 102);
  fast->Gemm(**matrix, x.data(), 3, got.data(), GemmOutput::kStore);
  ref->Gemm(*PackOrDie(*ref, stacked, DType::kF16, 102, 37), x.data(), 3, want.data(), GemmOutput::kStore);
  EXPECT_TRUE(SameBits(got, want));
}

TEST_P(GemmTest, EmbedReadsRowsOfThePackedTable) {
  for (const DType dtype : kAllDTypes) {
    for (const int cols : {1, 40, 576}) {
      constexpr int kVocabulary = 77;
      Prng prng(cols);
      const auto data = RandomElements(prng, dtype, kVocabulary * cols);
      TestBatch batch(16, prng);
      batch.Add(0, 90, 16);
      for (TokenId& token : batch.tokens()) token = static_cast<TokenId>(prng.Below(kVocabulary));
      const BatchView view = batch.view();
      std::vector<float> want(90 * cols), got(90 * cols);
      ref->BeginStep(view);
      ref->Embed(*PackOrDie(*ref, data, dtype, kVocabulary, cols), want.data());
      fast->BeginStep(view);
      fast->Embed(*PackOrDie(*fast, data, dtype, kVocabulary, cols), got.data());
      EXPECT_TRUE(SameBits(got, want)) << DTypeName(dtype) << " " << cols;
    }
  }
}

PREFIXD_FOR_FAST_BACKENDS(GemmTest);

}  // namespace
}  // namespace prefixd
