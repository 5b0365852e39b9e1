// The quantised formats: the bytes that GGUF files have for the same numbers, and what reading them gives.
#include "kernels/quantize.h"

#include "kernels/quant_run.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

constexpr WeightFormat kQuantised[] = {WeightFormat::kQ8_0, WeightFormat::kQ4_0};  // that are made here

std::vector<std::byte> Quantised(WeightFormat format, const std::vector<float>& x) {
  std::vector<std::byte> bytes(format.RowBytes(static_cast<int>(x.size())));
  EXPECT_TRUE(QuantizeRow(format, x.data(), static_cast<int>(x.size()), bytes.data()));
  return bytes;
}

TEST(WeightFormat, HasItsSizes) {
  EXPECT_EQ(WeightFormat(DType::kBF16).RowBytes(7), 14u);
  EXPECT_EQ(WeightFormat(WeightFormat::kQ8_0).RowBytes(64), 68u);
  EXPECT_EQ(WeightFormat(WeightFormat::kQ4_0).RowBytes(64), 36u);
  for (const WeightFormat format : kQuantised) {
    EXPECT_FALSE(format.Fits(48));
    EXPECT_DEATH((void)format.RowBytes(48), "48 columns of q");
    EXPECT_DEATH((void)format.dtype(), "q");
  }
}

TEST(QuantFormat, CoversTheBytesOfItsBlocks) {
  for (int kind = WeightFormat::kQ8_0; kind < WeightFormat::kKinds; ++kind) {
    const WeightFormat format(static_cast<WeightFormat::Kind>(kind));
    const QuantFormat of = QuantFormatOf(format);
    EXPECT_EQ(of.runs() * kQuantBlock, format.block()) << format.name();
    EXPECT_EQ(of.runs() * kQuantBlock * of.bits / 8 + of.HeadBytes(), static_cast<int>(format.block_bytes()))
        << format.name();
    const std::vector<std::byte> block(format.block_bytes());
    EXPECT_DEATH((void)ReadRun(format, block.data(), of.runs()), "run . of ") << format.name();
    std::byte row[1];
    const float x[256] = {};
    if (kind <= WeightFormat::kQ4_0) continue;
    EXPECT_DEATH((void)QuantizeRow(format, x, 256, row), "256 columns of ") << format.name();
  }
  EXPECT_DEATH((void)ReadRun(WeightFormat::kF32, nullptr, 0), "f32");
}

// The largest sums of rule 9 are below 2^24, so that they are exact in f32.
TEST(QuantFormat, SumsAreExact) {
  for (int kind = WeightFormat::kQ8_0; kind < WeightFormat::kKinds; ++kind) {
    const WeightFormat format(static_cast<WeightFormat::Kind>(kind));
    const QuantFormat of = QuantFormatOf(format);
    int largest = 0;
    for (int code = 0; code < 1 << of.bits; ++code)
      largest = std::max(largest, std::abs(IntegerOf(of, static_cast<uint8_t>(code))));
    const int factor = std::max(-of.LeastFactor(), of.LargestFactor());
    EXPECT_LT(factor * largest * 127 * kQuantBlock, 1 << 24) << format.name();
  }
}

// Worked out by hand from the definition.
TEST(Quantize, Q8MakesTheseBytes) {
  std::vector<float> x(32);
  x[0] = 127;  // the scale is 1
  x[1] = -127, x[2] = 0.5f, x[3] = -0.5f, x[4] = 1.4999f, x[5] = -2.5f, x[31] = 3;
  std::vector<int> want(32);
  want[0] = 127, want[1] = -127, want[2] = 1, want[3] = -1, want[4] = 1, want[5] = -3, want[31] = 3;
  const auto bytes = Quantised(WeightFormat::kQ8_0, x);
  EXPECT_EQ(bytes[0], std::byte{0x00});
  EXPECT_EQ(bytes[1], std::byte{0x3C});
  for (size_t k = 0; k < 32; ++k) EXPECT_EQ(static_cast<int8_t>(bytes[2 + k]), want[k]) << k;
}

TEST(Quantize, Q4MakesTheseBytes) {
  std::vector<float> x(32);
  x[3] = -8, x[20] = 8;  // the first of the largest makes the scale, which is 1
  x[0] = 7.6f, x[16] = -7.6f, x[1] = 0.4f, x[17] = 0.6f;
  const auto bytes = Quantised(WeightFormat::kQ4_0, x);
  EXPECT_EQ(bytes[0], std::byte{0x00});
  EXPECT_EQ(bytes[1], std::byte{0x3C});
  EXPECT_EQ(bytes[2 + 0], std::byte{0x0F});  // 15 (not 16) and 0
  EXPECT_EQ(bytes[2 + 1], std::byte{0x98});
  EXPECT_EQ(bytes[2 + 3], std::byte{0x80});
  EXPECT_EQ(bytes[2 + 4], std::byte{0xF8});
  EXPECT_EQ(bytes[2 + 5], std::byte{0x88});
  const QuantRun run = ReadRun(WeightFormat::kQ4_0, bytes.data(), 0);
  EXPECT_EQ(IntegerOf(QuantFormatOf(WeightFormat::kQ4_0), run.codes[3]), -8);
  EXPECT_EQ(IntegerOf(QuantFormatOf(WeightFormat::kQ4_0), run.codes[20]), 7);
}

// Each number differs from its own by half of the distance between two at most, and by that of the scale.
TEST(Quantize, StaysNearTheNumbers) {
  Prng prng(3);
  for (const WeightFormat format : kQuantised) {
    std::vector<float> x(96 * 32), back(x.size());
    for (float& value : x) value = static_cast<float>(prng.Unit() * 2 - 1);
    const auto bytes = Quantised(format, x);
    WidenRow(format, bytes.data(), static_cast<int>(x.size()), back.data());
    for (size_t b = 0; b < x.size() / 32; ++b) {
      float largest = 0;
      for (size_t k = 0; k < 32; ++k) largest = std::max(largest, std::abs(x[b * 32 + k]));
      const float step = format == WeightFormat::kQ8_0 ? largest / 127 : largest / 8;
      const float most = format == WeightFormat::kQ8_0 ? step * 0.6f : step * 1.01f;  // 8 itself becomes 7
      for (size_t k = 0; k < 32; ++k) ASSERT_NEAR(back[b * 32 + k], x[b * 32 + k], most) << format.name();
    }
  }
}

TEST(Quantize, ZerosSubnormalsAndNumbersThatAreTooLarge) {
  for (const WeightFormat format : kQuantised) {
    for (const float value : {0.0f, 1e-45f, 1e-39f, 1e-10f}) {
      std::vector<float> x(32, value), back(32, 1.0f);
      const auto bytes = Quantised(format, x);
      WidenRow(format, bytes.data(), 32, back.data());
      for (const float number : back) EXPECT_EQ(number, 0.0f) << format.name() << " " << value;
    }
    std::vector<float> x(64, 1.0f);
    std::vector<std::byte> bytes(format.RowBytes(64));
    x[10] = 65504.0f * 127 * 2;
    EXPECT_FALSE(QuantizeRow(format, x.data(), 64, bytes.data())) << format.name();
  }
}

// Rule 9 of kernels/numerics.h.
TEST(QuantizeBlock, DoesWhatTheRuleSays) {
  int8_t integers[4];
  const auto of = [&](std::vector<float> x) { return numerics::QuantizeBlock(x.data(), 4, integers); };
  EXPECT_EQ(of({254, -1, 3, 5}), 2.0f);
  EXPECT_EQ(std::vector<int>(integers, integers + 4), (std::vector<int>{127, 0, 2, 2}));  // ties to even
  EXPECT_EQ(of({0, -0.0f, 0, 0}), 0.0f);
  EXPECT_EQ(of({0x1p-91f, 0, 0, 0}), 0.0f);
  EXPECT_EQ(integers[0], 0);
  EXPECT_EQ(of({0, -0x1p-90f, 0, 0}), 0x1p-90f / 127);
  EXPECT_EQ(integers[1], -127);
  for (const float bad : {INFINITY, -INFINITY, NAN}) {
    EXPECT_TRUE(std::isnan(of({1, bad, 2, 3})));
    EXPECT_EQ(std::vector<int>(integers, integers + 4), std::vector<int>(4));
  }
}

}  // namespace
}  // namespace prefixd
