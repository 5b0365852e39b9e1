// Dummy weights: their definition, and that the backends of the CPU make the matrices that it says.
#include "kernels/dummy_weights.h"

#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

TEST(DummyWeights, TheirBitsAreThoseOfSplitMix64) {
  // The first numbers of the generator with the state 0, as published with it.
  EXPECT_EQ(DummyBits(0, 0), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(DummyBits(0, 1), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(DummyBits(0, 2), 0x06C45D188009454Fu);
}

TEST(DummyWeights, AreSpreadEvenlyBetweenTheirLimits) {
  constexpr int kCount = 1 << 16;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < kCount; ++i) {
    const float weight = DummyWeight(7, (uint64_t{1} << 33) + i, 0.5f);
    ASSERT_GE(weight, -0.5f);
    ASSERT_LT(weight, 0.5f);
    sum += weight;
    squares += weight * weight;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.005);
  EXPECT_NEAR(squares / kCount, 0.25 / 3, 0.002);
}

class DummyMatrices : public CompareWithRef {};

// A matrix that was packed from the weights of the definition gives the same products.
TEST_P(DummyMatrices, HaveTheWeightsOfTheDefinition) {
  constexpr int kRows = 3;
  for (const DType dtype : kAllDTypes) {
    for (const auto& [rows, cols] : {std::pair(1, 1), {5, 96}, {70, 33}, {129, 7}}) {
      const DummyMatrix dummy{.format = dtype, .rows = rows, .cols = cols, .seed = 11, .largest = 0.3f};
      std::vector<std::byte> data(static_cast<size_t>(rows) * cols * DTypeBytes(dtype));
      for (size_t i = 0; i < static_cast<size_t>(rows) * cols; ++i)
        StoreElement(data.data(), dtype, i, DummyWeight(dummy.seed, i, dummy.largest));
      Prng prng(static_cast<uint64_t>(rows));
      const std::vector<float> x = RandomFloats(prng, static_cast<size_t>(kRows) * cols);
      const auto product = [&](Operations& operations, const Matrix& matrix) {
        std::vector<float> y(static_cast<size_t>(kRows) * rows);
        operations.Gemm(matrix, x.data(), kRows, y.data(), GemmOutput::kStore);
        return y;
      };
      const auto packed = PackOrDie(*ref, data, dtype, rows, cols);
      const auto of_ref = *ref->MakeDummy(dummy), of_fast = *fast->MakeDummy(dummy);
      EXPECT_EQ(of_fast->bytes(), fast->PackedBytes(rows, cols, dtype));
      const std::vector<float> want = product(*ref, *packed);
      ASSERT_TRUE(SameBits(product(*ref, *of_ref), want)) << rows << " x " << cols;
      ASSERT_TRUE(SameBits(product(*fast, *of_fast), want)) << rows << " x " << cols;
    }
  }
}

TEST(DummyWeights, PreconditionsOfMatricesAreChecked) {
  const auto ref = MakeOperations("ref", 1);
  const DummyMatrix good{.format = DType::kF32, .rows = 2, .cols = 2, .seed = 1, .largest = 1};
  DummyMatrix no_rows = good, no_cols = good, no_size = good;
  no_rows.rows = 0;
  no_cols.cols = -1;
  no_size.largest = INFINITY;
  for (const DummyMatrix& bad : {no_rows, no_cols, no_size})
    EXPECT_DEATH((void)ref->MakeDummy(bad), "dummy.rows > 0");
}

PREFIXD_FOR_FAST_BACKENDS(DummyMatrices);

}  // namespace
}  // namespace prefixd
