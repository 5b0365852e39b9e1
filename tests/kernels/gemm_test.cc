// Compares GEMM and Embed of the fast backends with ref, bit for bit, in both versions of the numerics.
#include <xmmintrin.h>

#include <thread>

#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

class GemmTest : public CompareVersionsWithRef {
 protected:
  static void ExpectSameProduct(Operations& fast, Operations& ref, DType dtype,
                                const std::vector<std::byte>& w, const std::vector<float>& x,
                                const std::vector<float>& y, int rows, int outputs, int terms,
                                GemmOutput output) {
    std::vector<float> want = y, got = y;
    ref.Gemm(*PackOrDie(ref, w, dtype, outputs, terms), x.data(), rows, want.data(), output);
    fast.Gemm(*PackOrDie(fast, w, dtype, outputs, terms), x.data(), rows, got.data(), output);
    ASSERT_TRUE(SameBits(got, want)) << DTypeName(dtype) << " " << numerics::VersionName(fast.version())
                                     << " rows " << rows << " outputs " << outputs << " terms " << terms
                                     << (output == GemmOutput::kStore ? " store" : " accumulate");
  }
  // y starts with random values: kAccumulate must add to them and kStore must overwrite them.
  void Compare(DType dtype, int rows, int outputs, int terms, GemmOutput output) {
    Prng prng(rows * 1000003 + outputs * 1009 + terms);
    const auto w = RandomElements(prng, dtype, static_cast<size_t>(outputs) * terms);
    const auto x = RandomFloats(prng, static_cast<size_t>(rows) * terms);
    const auto y = RandomFloats(prng, static_cast<size_t>(rows) * outputs);
    ExpectSameProduct(*fast, *ref, dtype, w, x, y, rows, outputs, terms, output);
    if (dtype == DType::kBF16)
      ExpectSameProduct(*fast_1, *ref_1, dtype, w, x, y, rows, outputs, terms, output);
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

// Long chains of many rows are computed in parts; the last part may have an odd number of terms. One more row
// and one more panel than a chunk has, with AVX2 and with AVX-512.
TEST_P(GemmTest, LongChainsOfManyRows) {
  for (const DType dtype : kAllDTypes) {
    if (testing_support::kSanitized && dtype != DType::kBF16) continue;
    Compare(dtype, 50, 40, 2051, GemmOutput::kStore);
    Compare(dtype, 97, 270, 1025, GemmOutput::kAccumulate);
    Compare(dtype, 505, 34, 2049, GemmOutput::kAccumulate);
  }
}

// Also that the arithmetic of the caller still has subnormals afterwards.
TEST_P(GemmTest, SubnormalsInfinitiesNansAndSumsThatCancel) {
  Prng prng(21);
  int differ = 0, zeros = 0, finite = 0;
  for (const int rows : {1, 2, 3, 7, 12, 13, 30, 67}) {
    for (const int outputs : {1, 17, 32, 50, 129}) {
      for (const int terms : {1, 2, 3, 6, 9}) {
        const auto x = AwkwardFloats(prng, static_cast<size_t>(rows) * terms);
        const auto y = AwkwardFloats(prng, static_cast<size_t>(rows) * outputs);
        std::vector<std::byte> w;
        for (const DType dtype : kAllDTypes) {  // w is of bf16 afterwards
          w.resize(static_cast<size_t>(outputs) * terms * DTypeBytes(dtype));
          for (int i = 0; i < outputs * terms; ++i) StoreElement(w.data(), dtype, i, AwkwardFloat(prng));
          for (const GemmOutput output : {GemmOutput::kStore, GemmOutput::kAccumulate}) {
            ExpectSameProduct(*fast, *ref, dtype, w, x, y, rows, outputs, terms, output);
            ExpectSameProduct(*fast_1, *ref_1, dtype, w, x, y, rows, outputs, terms, output);
            if (HasFatalFailure()) return;
          }
        }
        std::vector<float> one = y, two = y;
        ref_1->Gemm(*PackOrDie(*ref_1, w, DType::kBF16, outputs, terms), x.data(), rows, one.data(),
                    GemmOutput::kStore);
        ref->Gemm(*PackOrDie(*ref, w, DType::kBF16, outputs, terms), x.data(), rows, two.data(),
                  GemmOutput::kStore);
        for (size_t i = 0; i < one.size(); ++i) {
          differ += !SameBits(one[i], two[i]);
          zeros += two[i] == 0;
          finite += std::isfinite(two[i]);
        }
      }
    }
  }
  EXPECT_GT(differ, 1000) << "results that tell the versions apart";
  EXPECT_GT(zeros, 1000);
  EXPECT_GT(finite, 10000);
  volatile float smallest = std::numeric_limits<float>::min();
  EXPECT_GT(smallest / 2, 0.0f);
  EXPECT_EQ(_mm_getcsr() & 0x8040u, 0u);
}

// One product of x and w, whose elements bf16 has.
float Product(Operations& operations, std::vector<float> x, const std::vector<float>& w, float y = 0) {
  std::vector<std::byte> stored(w.size() * 2);
  for (size_t i = 0; i < w.size(); ++i) StoreElement(stored.data(), DType::kBF16, i, w[i]);
  const auto matrix = PackOrDie(operations, stored, DType::kBF16, 1, static_cast<int>(w.size()));
  operations.Gemm(*matrix, x.data(), 1, &y, GemmOutput::kAccumulate);
  return y;
}

// Rules 2 and 8 of kernels/numerics.h, by hand. The results of version cpu-1 stand beside those of cpu-4.
TEST_P(GemmTest, BothVersionsDoWhatTheirRulesSay) {
  struct Case {
    const char* what;
    std::vector<float> x, w;
    float y, cpu_1, cpu_2;
  };
  constexpr float kBig = 0x1p24f, kTiny = 0x1p-70f, kMin = 0x1p-126f;
  const Case cases[] = {
      {"the second of a pair is added first", {1, kBig, 1, -kBig}, {1, 1, 1, 1}, 0, 0, 1},
      {"x is rounded, and ties to even", {1 + 0x1p-8f, 0}, {1, 1}, 0, 1 + 0x1p-8f, 1},
      {"to even upwards", {1 + 3 * 0x1p-8f}, {1}, 0, 1 + 3 * 0x1p-8f, 1 + 0x1p-6f},
      {"a result below 2^-126 is zero", {kTiny, 0}, {kTiny, 0}, 0, kTiny * kTiny, 0},
      {"a subnormal x is zero", {kMin / 2, 0}, {kBig, 0}, 0, kMin / 2 * kBig, 0},
      {"a subnormal weight is zero", {kBig, 0}, {kMin / 2, 0}, 0, kMin / 2 * kBig, 0},
      {"a subnormal y is zero", {kMin, 0}, {1, 0}, -kMin / 2, kMin / 2, kMin},
      {"a sum that is subnormal is zero", {kMin, 0}, {1, 0}, -kMin * 1.5f, -kMin / 2, -0.0f},
      {"2^-126 - 2^-150 has 24 bits and is zero",
       {0x1p-63f, 0, 0, 0x1p-75f},
       {0x1p-63f, 0, 0, -0x1p-75f},
       0,
       kMin,
       0},
      {"2^-126 - 2^-151 is rounded to 2^-126",
       {0x1p-63f, 0, 0, 0x1p-76f},
       {0x1p-63f, 0, 0, -0x1p-75f},
       0,
       kMin,
       kMin},
      {"infinity times a subnormal is no number", {INFINITY, 0}, {kMin / 2, 0}, 0, INFINITY, NAN},
      {"overflow on the way stays", {1, 0, -0x1p127f, 0x1p127f}, {1, 0, 2, 2}, 0, -INFINITY, INFINITY},
      {"and the order decides whether it comes", {0x1p127f, -0x1p127f}, {2, 1}, 0, INFINITY, 0x1p127f},
  };
  for (const Case& c : cases) {
    for (Operations* const operations : {fast_1.get(), ref_1.get()})
      EXPECT_TRUE(SameBits(Product(*operations, c.x, c.w, c.y), c.cpu_1))
          << c.what << ": " << std::hexfloat << Product(*operations, c.x, c.w, c.y);
    for (Operations* const operations : {fast.get(), ref.get()})
      EXPECT_TRUE(SameBits(Product(*operations, c.x, c.w, c.y), c.cpu_2))
          << c.what << ": " << std::hexfloat << Product(*operations, c.x, c.w, c.y);
  }
}

// The sum -0 comes from a small negative product. The absent element of an odd number of terms makes it +0.
TEST_P(GemmTest, AnAbsentElementOfAPairIsMultipliedToo) {
  const std::vector<float> x = {-0x1p-70f, 0, -0.0f, 0}, w = {0x1p-70f, 0, 1, 0};
  for (const size_t terms : {size_t{1}, size_t{3}, size_t{4}}) {
    for (Operations* const operations : {fast.get(), ref.get()}) {
      std::vector<std::byte> stored(terms * 2);
      for (size_t i = 0; i < terms; ++i) StoreElement(stored.data(), DType::kBF16, i, w[i]);
      const auto matrix = PackOrDie(*operations, stored, DType::kBF16, 1, static_cast<int>(terms));
      float y = 1;
      operations->Gemm(*matrix, x.data(), 1, &y, GemmOutput::kStore);
      EXPECT_TRUE(SameBits(y, terms == 1 ? -0.0f : 0.0f)) << operations->name() << ", " << terms;
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

// In pieces of any number of rows, in any order, and from two threads.
TEST_P(GemmTest, RowsThatComeInPiecesAreOneMatrix) {
  constexpr int kRows = 131, kCols = 70;
  for (const DType dtype : kAllDTypes) {
    Prng prng(13);
    const auto data = RandomElements(prng, dtype, kRows * kCols);
    const auto matrix = *fast->AllocateMatrix(kRows, kCols, dtype);
    EXPECT_EQ(matrix->bytes(), fast->PackedBytes(kRows, kCols, dtype));
    const auto upload = [&](int first, int end, int step) {
      for (int row = end; row > first; row -= step) {  // from the last piece to the first
        const int begin = std::max(first, row - step);
        fast->UploadRows(*matrix, begin,
                         {data.data() + static_cast<size_t>(begin) * kCols * DTypeBytes(dtype), dtype,
                          row - begin, kCols});
      }
    };
    std::thread other([&] { upload(0, 57, 5); });  // 57 lies within a panel
    upload(57, kRows, 33);
    other.join();
    const auto x = RandomFloats(prng, 2 * kCols);
    std::vector<float> got(2 * kRows), want(2 * kRows);
    fast->Gemm(*matrix, x.data(), 2, got.data(), GemmOutput::kStore);
    ref->Gemm(*PackOrDie(*ref, data, dtype, kRows, kCols), x.data(), 2, want.data(), GemmOutput::kStore);
    EXPECT_TRUE(SameBits(got, want)) << DTypeName(dtype);
    const MatrixSource rows{data.data(), dtype, 2, kCols};
    EXPECT_DEATH(fast->UploadRows(*matrix, kRows - 1, rows), "at row 130 of 131");
    EXPECT_DEATH(fast->UploadRows(*matrix, -1, rows), "at row -1");
  }
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
INSTANTIATE_TEST_SUITE_P(Dots, GemmTest,
                         testing::Combine(testing::Values("avx512bf16"),
                                          testing::Range(testing_support::kSanitized ? 2 : 1, 3)),
                         ParamName);

}  // namespace
}  // namespace prefixd
