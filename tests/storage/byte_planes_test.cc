#include "storage/byte_planes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/prng.h"

namespace prefixd {
namespace {

std::vector<std::byte> Noise(size_t bytes, uint64_t seed) {
  Prng random(seed);
  std::vector<std::byte> noise(bytes);
  for (std::byte& b : noise) b = static_cast<std::byte>(random.Next());
  return noise;
}

std::vector<const std::byte*> Pointers(size_t element_bytes, std::span<const std::byte> planes) {
  std::vector<const std::byte*> pointers;
  for (size_t p = 0; p < element_bytes; ++p) {
    pointers.push_back(planes.data() + p * (planes.size() / element_bytes));
  }
  return pointers;
}

TEST(BytePlanes, HaveTheirOrder) {
  const std::array<uint32_t, 2> words = {0x04030201, 0x14131211};
  std::array<unsigned char, 8> planes;
  SplitPlanes(4, std::as_bytes(std::span(words)), std::as_writable_bytes(std::span(planes)));
  EXPECT_EQ(planes, (std::array<unsigned char, 8>{0x01, 0x11, 0x02, 0x12, 0x03, 0x13, 0x04, 0x14}));
  SplitPlanes(2, std::as_bytes(std::span(words)), std::as_writable_bytes(std::span(planes)));
  EXPECT_EQ(planes, (std::array<unsigned char, 8>{0x01, 0x03, 0x11, 0x13, 0x02, 0x04, 0x12, 0x14}));
  SplitPlanes(1, std::as_bytes(std::span(words)), std::as_writable_bytes(std::span(planes)));
  EXPECT_EQ(planes, (std::array<unsigned char, 8>{0x01, 0x02, 0x03, 0x04, 0x11, 0x12, 0x13, 0x14}));
}

// Every count around the widths of vectors, at every alignment of the elements; the bytes around the result
// stay as they were.
TEST(BytePlanes, AgreeWithThePlainFunctionsAtOddSizes) {
  constexpr size_t kGuard = 16;
  for (const size_t element_bytes : {1, 2, 4}) {
    for (size_t count = 0; count <= 200; ++count) {
      const size_t bytes = count * element_bytes;
      const size_t shift = count % 7;
      const std::vector<std::byte> noise = Noise(shift + bytes, count);
      const std::span<const std::byte> elements = std::span(noise).subspan(shift);
      std::vector<std::byte> expected(bytes);
      PlainSplitPlanes(element_bytes, elements, expected);
      std::vector<std::byte> guarded(bytes + shift + kGuard, std::byte{0xA5});
      const std::span<std::byte> planes = std::span(guarded).subspan(shift, bytes);
      SplitPlanes(element_bytes, elements, planes);
      ASSERT_TRUE(std::ranges::equal(planes, expected)) << element_bytes << " x " << count;
      for (size_t i = 0; i < guarded.size(); ++i) {
        if (i >= shift && i < shift + bytes) continue;
        ASSERT_EQ(guarded[i], std::byte{0xA5});
      }

      std::vector<std::byte> plain(bytes);
      PlainJoinPlanes(element_bytes, Pointers(element_bytes, planes), plain);
      ASSERT_TRUE(std::ranges::equal(plain, elements)) << element_bytes << " x " << count;
      std::vector<std::byte> joined(bytes + shift + kGuard, std::byte{0x5A});
      JoinPlanes(element_bytes, Pointers(element_bytes, planes), std::span(joined).subspan(shift, bytes));
      ASSERT_TRUE(std::ranges::equal(std::span(joined).subspan(shift, bytes), elements));
      for (size_t i = 0; i < joined.size(); ++i) {
        if (i >= shift && i < shift + bytes) continue;
        ASSERT_EQ(joined[i], std::byte{0x5A});
      }
    }
  }
}

TEST(BytePlanes, AgreeWithThePlainFunctionsOnALargeArray) {
  for (const size_t element_bytes : {1, 2, 4}) {
    const std::vector<std::byte> elements = Noise(element_bytes * 100'003, 1);
    std::vector<std::byte> planes(elements.size());
    std::vector<std::byte> expected(elements.size());
    SplitPlanes(element_bytes, elements, planes);
    PlainSplitPlanes(element_bytes, elements, expected);
    EXPECT_EQ(planes, expected);
    std::vector<std::byte> joined(elements.size());
    JoinPlanes(element_bytes, Pointers(element_bytes, planes), joined);
    EXPECT_EQ(joined, elements);
  }
}

TEST(BytePlanesDeathTest, PreconditionsAreChecked) {
  std::vector<std::byte> six(6);
  std::vector<std::byte> out(6);
  const std::vector<const std::byte*> one = {six.data()};
  const std::vector<const std::byte*> two = {six.data(), six.data() + 3};
  EXPECT_DEATH(SplitPlanes(3, six, out), "3");
  EXPECT_DEATH(SplitPlanes(0, six, out), "0");
  EXPECT_DEATH(SplitPlanes(4, six, out), "6 and 6");
  EXPECT_DEATH(SplitPlanes(2, six, std::span(out).first(4)), "6 and 4");
  EXPECT_DEATH(JoinPlanes(2, one, out), "1, 6");
  EXPECT_DEATH(JoinPlanes(2, two, std::span(out).first(5)), "2, 5");
}

}  // namespace
}  // namespace prefixd
