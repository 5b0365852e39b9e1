#include "kernels/kv_plane.h"

#include "kernels/finite.h"
#include "tests/kernels/kernel_testing.h"

namespace prefixd {
namespace {

using namespace kernel_testing;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

KvLayout Quantised(int head_dim, int block_tokens) {
  return {
      .layers = 1, .kv_heads = 1, .head_dim = head_dim, .block_tokens = block_tokens, .type = KvType::kQ8_0};
}

uint16_t HalfAt(const std::byte* at) {
  uint16_t half;
  std::memcpy(&half, at, sizeof(half));
  return half;
}

TEST(KvTypes, HaveTheSizesOfTheirParts) {
  EXPECT_EQ(KvType(DType::kBF16).HeadBytes(80), 160u);
  EXPECT_EQ(KvType(KvType::kQ8_0).HeadBytes(64), 64u + 2 * 2);
  EXPECT_TRUE(KvType(DType::kF16).Fits(80));
  EXPECT_FALSE(KvType(KvType::kQ8_0).Fits(80));
  EXPECT_TRUE(KvType(KvType::kQ8_0).Fits(96));
  EXPECT_DEATH((void)KvType(KvType::kQ8_0).dtype(), "q8_0");
  EXPECT_EQ(KvType(KvType::kFp8).HeadBytes(80), 80u);
  EXPECT_TRUE(KvType(KvType::kFp8).Fits(80));
  EXPECT_DEATH((void)KvType(KvType::kFp8).dtype(), "fp8");
  const KvLayout layout = {2, 3, 64, 16, KvType::kQ8_0};
  EXPECT_EQ(layout.PlaneBytes(), 16u * 68);
  EXPECT_EQ(layout.BlockBytes(), 2u * 2 * 3 * 16 * 68);
  EXPECT_EQ(layout.TokenBytes(), 2u * 2 * 3 * 68);
  EXPECT_EQ(layout.VOffset(1, 2), (3u * 3 + 2) * 16 * 68);
  EXPECT_DEATH(AllocateKvOrDie({1, 1, 48, 16, KvType::kQ8_0}, 1), "head_dim 48 of q8_0");
}

// Of each token, and a NaN is found wherever it is.
TEST(KvPlane, KeepsTheElementsOfFp8) {
  const KvLayout layout{1, 1, 6, 4, KvType::kFp8};
  const std::vector<float> head = {0.5f, -448, 1000, 0.0017f, -0.0f, 1.06f},
                           read = {0.5f, -448, 448, 0x1p-9f, -0.0f, 1};
  for (const KvPart part : {KvPart::kK, KvPart::kV}) {
    std::vector<std::byte> block(layout.BlockBytes());
    std::byte* const plane = &block[part == KvPart::kK ? layout.KOffset(0, 0) : layout.VOffset(0, 0)];
    for (const int token : {3, 1}) StoreHead(layout, part, token, head.data(), plane);
    for (const int token : {3, 1}) {
      for (int d = 0; d < 6; ++d)
        EXPECT_EQ(LoadNumber(layout, part, plane, token, d), read[static_cast<size_t>(d)]) << d;
    }
    EXPECT_EQ(LoadNumber(layout, part, plane, 2, 1), 0);
    EXPECT_TRUE(AllFinite(block, layout));
    std::vector<float> bad = head;
    bad[4] = kInf;
    StoreHead(layout, part, 2, bad.data(), plane);
    EXPECT_FALSE(AllFinite(block, layout));
  }
}

TEST(KvPlane, NoBackendOfTheCpuComputesWithFp8) {
  for (const char* const name : {"ref", "auto"}) {
    const auto backend = CreateBackend(name, 1);
    ASSERT_TRUE(backend.ok());
    if ((*backend)->name() == "cuda") continue;
    const Status refused = (*backend)->AllocateKv({1, 1, 32, 16, KvType::kFp8}, 1).status();
    EXPECT_EQ(refused.code(), Code::kUnsupported) << refused.ToString();
    EXPECT_NE(refused.message().find("no kernels for fp8 KV"), std::string::npos) << refused.ToString();
  }
}

// Numbers k - 16 have a scale of 16 / 127, which is 1.0078... * 2^-3: 0x3008 in f16.
TEST(KvPlane, PlacesTheIntegersAndTheScalesOfAToken) {
  const KvLayout layout = Quantised(64, 4);
  std::vector<float> head(64);
  for (int d = 0; d < 64; ++d)
    head[static_cast<size_t>(d)] = static_cast<float>(d < 32 ? d - 16 : 2 * (d - 48));
  for (const KvPart part : {KvPart::kK, KvPart::kV}) {
    std::vector<std::byte> plane(layout.PlaneBytes());
    StoreHead(layout, part, 3, head.data(), plane.data());
    const std::byte* scales = plane.data() + 64 * 4;
    size_t written = 0;
    for (int d = 0; d < 64; ++d) {
      const size_t at = part == KvPart::kK ? static_cast<size_t>(d) * 4 + 3 : 3 * 64 + static_cast<size_t>(d);
      const int want = static_cast<int>(std::nearbyint((d % 32 - 16) * (127.0 / 16)));
      EXPECT_EQ(static_cast<int8_t>(plane[at]), want) << d;
      EXPECT_EQ(LoadNumber(layout, part, plane.data(), 3, d),
                static_cast<float>(want) * (d < 32 ? 0x1.02p-3f : 0x1.02p-2f))
          << d;
      EXPECT_EQ(LoadNumber(layout, part, plane.data(), 2, d), 0.0f) << d;
      written += want != 0 ? 1 : 0;
    }
    EXPECT_EQ(HalfAt(scales + (part == KvPart::kK ? 3 : 3 * 2) * 2), 0x3008);
    EXPECT_EQ(HalfAt(scales + (part == KvPart::kK ? 4 + 3 : 3 * 2 + 1) * 2), 0x3408);
    const auto others =
        std::count_if(plane.begin(), plane.end(), [](std::byte b) { return b != std::byte{0}; });
    EXPECT_EQ(static_cast<size_t>(others), written + 4) << "nothing else is written";
  }
}

TEST(KvPlane, StoresWhatCannotBeQuantised) {
  const KvLayout layout = Quantised(32, 1);
  std::vector<std::byte> plane(layout.PlaneBytes());
  const auto store = [&](float at_5, float others) {
    std::vector<float> head(32, others);
    head[5] = at_5;
    StoreHead(layout, KvPart::kK, 0, head.data(), plane.data());
    return HalfAt(plane.data() + 32);
  };
  const auto number = [&](int d) { return LoadNumber(layout, KvPart::kK, plane.data(), 0, d); };
  for (const float special : {kInf, -kInf, kNan}) {
    EXPECT_EQ(store(special, 1), 0x7E00);
    EXPECT_TRUE(std::isnan(number(5)) && std::isnan(number(6)));
  }
  EXPECT_EQ(store(127 * 65520.0f, 0), 0x7C00) << "the scale exceeds f16";
  EXPECT_EQ(number(5), kInf);
  EXPECT_TRUE(std::isnan(number(6)));
  EXPECT_EQ(store(127 * 65504.0f, -127 * 65504.0f), 0x7BFF);
  EXPECT_EQ(number(6), -127 * 65504.0f);
  EXPECT_EQ(store(127 * 0x1p-25f, 0), 0) << "a tie, which is rounded to 0";
  EXPECT_EQ(number(5), 0);
  EXPECT_EQ(store(127 * 0x1p-24f, -127 * 0x1p-24f), 1);
  EXPECT_EQ(number(6), -127 * 0x1p-24f);
  EXPECT_EQ(store(0x1p-91f, 0), 0);
  EXPECT_EQ(number(5), 0);
}

TEST(KvPlane, RoundsToWithinHalfAStep) {
  const KvLayout layout = Quantised(128, 16);
  Prng prng(3);
  std::vector<std::byte> plane(layout.PlaneBytes());
  for (int token = 0; token < 16; ++token) {
    std::vector<float> head(128);
    for (float& number : head)
      number = static_cast<float>(2 * prng.Unit() - 1) * static_cast<float>(1 + token);
    StoreHead(layout, KvPart::kV, token, head.data(), plane.data());
    for (int b = 0; b < 128; b += kQuantBlock) {
      float largest = 0;
      for (int d = b; d < b + kQuantBlock; ++d)
        largest = std::max(largest, std::abs(head[static_cast<size_t>(d)]));
      const float step = largest / 127, of_scale = largest * 0x1p-11f;  // of the scale, which f16 rounds
      for (int d = b; d < b + kQuantBlock; ++d) {
        EXPECT_NEAR(LoadNumber(layout, KvPart::kV, plane.data(), token, d), head[static_cast<size_t>(d)],
                    step / 2 * 1.0001f + of_scale);
      }
    }
  }
}

TEST(KvPlane, ABlockIsFiniteIfItsScalesAre) {
  const KvLayout layout = {2, 2, 64, 8, KvType::kQ8_0};
  std::vector<std::byte> block(layout.BlockBytes(), std::byte{0});
  for (size_t plane = 0; plane < 8; ++plane)
    std::fill_n(block.begin() + static_cast<std::ptrdiff_t>(plane * layout.PlaneBytes()),
                layout.ScalesOffset(), std::byte{0x7C});
  EXPECT_TRUE(AllFinite(block, layout)) << "integers are no exponents";
  for (const size_t plane : {size_t{0}, size_t{7}}) {
    for (const uint16_t half : {0x7C00, 0x7E00}) {
      for (const size_t scale : {size_t{0}, size_t{15}}) {
        std::vector<std::byte> other = block;
        std::memcpy(other.data() + plane * layout.PlaneBytes() + layout.ScalesOffset() + scale * 2, &half, 2);
        EXPECT_FALSE(AllFinite(other, layout)) << plane << ", " << scale;
      }
    }
  }
  const KvLayout plain = {1, 1, 2, 1, DType::kF32};
  const float numbers[] = {1, 2, 3, kInf};
  EXPECT_FALSE(AllFinite(std::as_bytes(std::span(numbers)), plain));
}

}  // namespace
}  // namespace prefixd
