#include "kernels/finite.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

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

}  // namespace
}  // namespace prefixd
