#include "kernels/finite.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/prng.h"
#include "kernels/numerics.h"

namespace prefixd {
namespace {

template <typename Word>
void ExpectFinds(DType dtype, const std::vector<Word>& finite, const std::vector<Word>& others) {
  std::vector<Word> words(67, finite[0]);
  const auto bytes = [&] { return std::as_bytes(std::span(words)); };
  for (const Word word : finite) {
    words[13] = word;
    EXPECT_TRUE(AllFinite(bytes(), dtype)) << word;
  }
  for (const Word word : others) {
    for (const size_t at : {size_t{0}, size_t{33}, words.size() - 1}) {
      const Word before = std::exchange(words[at], word);
      EXPECT_FALSE(AllFinite(bytes(), dtype)) << word << " at " << at;
      words[at] = before;
    }
  }
}

TEST(Finite, FindsNanAndInfinityOfEveryType) {
  ExpectFinds<uint32_t>(DType::kF32, {0, 0x80000000, 0x7f7fffff, 0xff7fffff, 1},
                        {0x7f800000, 0xff800000, 0x7f800001, 0x7fc00000, 0xffffffff});
  ExpectFinds<uint16_t>(DType::kF16, {0, 0x8000, 0x7bff, 0xfbff, 1},
                        {0x7c00, 0xfc00, 0x7c01, 0x7e00, 0xffff});
  ExpectFinds<uint16_t>(DType::kBF16, {0, 0x8000, 0x7f7f, 0xff7f, 1},
                        {0x7f80, 0xff80, 0x7f81, 0x7fc0, 0xffff});
}

TEST(Finite, ReadsAtAnyAlignment) {
  std::vector<std::byte> bytes(41, std::byte{0});
  const uint32_t infinity = 0x7f800000;
  std::memcpy(bytes.data() + 1 + 8, &infinity, sizeof(infinity));
  EXPECT_FALSE(AllFinite(std::span(bytes).subspan(1), DType::kF32));
  EXPECT_TRUE(AllFinite(std::span(bytes).subspan(1, 8), DType::kF32));
  EXPECT_TRUE(AllFinite({}, DType::kF32));
}

// For every length up to a few blocks of 64 bytes and a remainder: one element that is not finite, at every
// index.
TEST(Finite, FindsEveryElement) {
  const float kBad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                        std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()};
  Prng prng(1);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const auto put = [&](std::string* out, float value) {
      if (dtype == DType::kF32) PutLittle<float>(out, value);
      if (dtype == DType::kF16) PutLittle<uint16_t>(out, numerics::F32ToF16(value));
      if (dtype == DType::kBF16) PutLittle<uint16_t>(out, numerics::F32ToBF16(value));
    };
    // The largest finite value, small ones and both zeros.
    const float largest = dtype == DType::kF16 ? 65504.0f : 3.3895e38f;
    const float kGood[] = {0.0f, -0.0f, 1e-7f, largest, -largest, 1.0f};
    for (int length = 1; length <= 75; ++length) {
      for (int bad = -1; bad < length; ++bad) {
        std::string bytes = "x";  // unaligned elements
        for (int i = 0; i < length; ++i) put(&bytes, i == bad ? kBad[prng.Below(4)] : kGood[prng.Below(6)]);
        EXPECT_EQ(AllFinite(std::as_bytes(std::span(bytes)).subspan(1), dtype), bad < 0)
            << DTypeName(dtype) << " " << length << " " << bad;
      }
    }
  }
  EXPECT_TRUE(AllFinite({}, DType::kF32));
}

}  // namespace
}  // namespace prefixd
